"""Wave -> translated wave, for sound of any length, rate and number of channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.audio import Wave, resample_blocks, resampled_length
from audiotrans.convert.articulation import articulate, window
from audiotrans.convert.noise import aligned_noise
from audiotrans.convert.options import Request, Side, make_request
from audiotrans.convert.shifts import reach, shift_average
from audiotrans.convert.sound_options import with_sound_options
from audiotrans.convert.tiles import TilePlan, convert_tiles, plan_tiles
from audiotrans.convert.tilt import tilt as tilted
from audiotrans.convert.waves import check_wave
from audiotrans.errors import AudiotransError, UsageError, lookup
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings, check_level
from audiotrans.spectrogram.phase import PHASES
from audiotrans.spectrogram.vibrato import Vibrato, VibratoRemover

if TYPE_CHECKING:
    from audiotrans.convert.domain_check import Listener, Profile
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.recipe import Recipe


class Converter:
    """A model with the imaging that it was trained with.

    Args:
        model: moved to ``device`` and set to evaluation.
        recipe: as it was trained.
        device: where to run.
        profile: of its training data; without one, there are no warnings.

    Raises:
        AudiotransError: if the model translates pictures.
    """

    def __init__(
        self, model: AVBGTN, recipe: Recipe, device: torch.device | str = "cpu", profile: Profile | None = None
    ) -> None:
        if not isinstance(recipe.imaging, AudioSettings):
            raise AudiotransError("this model translates pictures, not sound: choose another with --model")
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.recipe, self.profile = recipe, profile
        self.settings = recipe.imaging
        self.imaging = AudioImaging(recipe.imaging)
        self.plan = plan_tiles(recipe.imaging, self.imaging.representation.rows, model)

    @property
    def domains(self) -> tuple[str, str]:
        """The names of the model's two domains, a and b."""
        return self.recipe.domains.a, self.recipe.domains.b

    def request(
        self,
        to: str,
        source: str | None = None,
        strength: float = 100.0,
        phase: str | None = None,
        seed: int = 0,
        articulation: float | None = None,
        shifts: int | None = None,
        vibrato: float | None = None,
        remove_vibrato: float | None = None,
        tilt: float | None = None,
    ) -> Request:
        """Check what a user asks for, see `make_request`; the phase also against what this model's images hold.

        Args:
            to: see `make_request`.
            source: see `make_request`.
            strength: see `make_request`.
            phase: a phase method, or None for the model's own.
            seed: see `make_request`.
            articulation: how much clearer notes begin and end than the network paints them (1); None for the model's
                own choice, which is 1 for reconstructions.
            shifts: translations that are averaged, 1 to 8, as many times the work; None for the model's own choice.
            vibrato: cents that the pitch of lasting notes swings to each side, 0 to 100; None for the model's own
                choice, which is 0 for reconstructions. It fades with ``strength``.
            remove_vibrato: percent of the input's vibrato that is taken out first, 0 to 100; None for the model's own
                choice, which is 0 for reconstructions. It fades with ``strength``.
            tilt: how much darker (below 0) or brighter than it is the network hears the input, dB per octave, -6 to 6;
                None for the model's own choice, which is 0 for reconstructions.

        Raises:
            UsageError: naming the argument, and what it may be.
        """
        if phase is not None:
            lookup(PHASES, phase, "phase method")
            if phase == "network" and self.settings.representation != "magnitude_phase":
                raise UsageError("phase network needs a model of magnitude_phase images: choose another, such as auto")
        request = make_request(self.domains, to, source, strength, phase, seed)
        return with_sound_options(request, self.recipe, articulation, shifts, vibrato, remove_vibrato, tilt)

    def convert(
        self,
        wave: NDArray[np.floating],
        sample_rate: int,
        *,
        to: str,
        source: str | None = None,
        strength: float = 100.0,
        phase: str | None = None,
        seed: int = 0,
        articulation: float | None = None,
        shifts: int | None = None,
        vibrato: float | None = None,
        remove_vibrato: float | None = None,
        tilt: float | None = None,
    ) -> Wave:
        """Translate a wave.

        Args:
            wave: float, ``(channels, samples)`` or ``(samples,)``, nominally in [-1, 1]; not changed.
            sample_rate: its rate in Hz; any.
            to: name of the domain to translate to, such as ``"piano"``.
            source: name of the input's domain; the other one if None. Equal to ``to``: the model's reconstruction.
            strength: 0 (the input) to 100 (the translation); between, decibels are interpolated.
            phase: a phase method, or None for the model's own.
            seed: the same seed gives the same samples.
            articulation: see `request`.
            shifts: see `request`.
            vibrato: see `request`.
            remove_vibrato: see `request`.
            tilt: see `request`.

        Returns:
            float32 wave of the same shape; it may exceed 1 where the translation is louder than the input.

        Raises:
            AudiotransError: if the wave is empty, silent, not finite or of another shape or type.
        """
        request = self.request(to, source, strength, phase, seed, articulation, shifts, vibrato, remove_vibrato, tilt)
        checked, sample_rate = check_wave(wave, sample_rate), int(sample_rate)
        channels, frames = checked.shape
        _, level_db = self.measure([checked], sample_rate, channels)
        out = self.stream([checked], frames, sample_rate, channels, request, level_db)
        return np.concatenate(list(out), axis=1).reshape(wave.shape)

    def convert_file(
        self,
        input: Path | str,
        output: Path | str,
        *,
        to: str,
        source: str | None = None,
        strength: float = 100.0,
        phase: str | None = None,
        seed: int = 0,
        articulation: float | None = None,
        shifts: int | None = None,
        vibrato: float | None = None,
        remove_vibrato: float | None = None,
        tilt: float | None = None,
        samples: int = 1,
        force: bool = False,
        progress: Callable[[float, float], None] | None = None,
    ) -> list[Path]:
        """Translate a sound file of any length, in bounded memory.

        Args:
            input: file to read.
            output: file to write; rate, channels and length are the input's, the format follows the extension.
            to: name of the domain to translate to.
            source: name of the input's domain; the other one if None.
            strength: 0 (the input) to 100 (the translation).
            phase: a phase method, or None for the model's own.
            seed: the same seed gives the same bytes.
            articulation: see `request`.
            shifts: see `request`.
            vibrato: see `request`.
            remove_vibrato: see `request`.
            tilt: see `request`.
            samples: how many draws to make, with seeds ``seed``, ``seed + 1``, ...; with more than one, the files are
                called ``name.1.wav``, ``name.2.wav``, ...
            force: whether to overwrite an output that exists.
            progress: called with seconds of sound done and seconds of sound in all.

        Returns:
            The files written.

        Raises:
            AudiotransError: naming the file, when it cannot be read, translated or written.
        """
        from audiotrans.convert.files import convert_file, numbered

        request = self.request(to, source, strength, phase, seed, articulation, shifts, vibrato, remove_vibrato, tilt)
        outputs = numbered(Path(output), samples)
        written = convert_file(self, Path(input), outputs, request, force=force, progress=progress)
        return [item.path for item in written]

    def check(self, wave: NDArray[np.floating], sample_rate: int, *, source: str) -> list[str]:
        """Say what of a wave, as `convert` takes it, is unlike the training data of the domain ``source``.

        Returns:
            One line for each finding, as ``audiotrans convert`` warns; none for a model without a profile.

        Raises:
            AudiotransError: as `convert` does.
        """
        from audiotrans.convert.domain_check.inputs import listen

        listener = self.listener(self.request(source, source).source)
        return [] if listener is None else listen(self, listener, check_wave(wave, sample_rate), int(sample_rate))

    def listener(self, source: Side) -> Listener | None:
        """Return what hears one input and says what is unlike the model's training data; None without a profile."""
        from audiotrans.convert.domain_check import Listener

        return None if self.profile is None else Listener(self.profile, self.imaging, source)

    def measure(self, blocks: Iterable[Wave], sample_rate: int, channels: int) -> tuple[int, float]:
        """Count the samples of a stream and measure its level: the first of two passes.

        Args:
            blocks: waves ``(channels, n)`` at ``sample_rate``.
            sample_rate: Hz.
            channels: of the stream.

        Returns:
            Samples at ``sample_rate``, and the level in dB that the model's images are made with.

        Raises:
            AudiotransError: for an empty or silent stream, or one of a level that no sound has.
        """
        meter = self.imaging.level_meter()
        frames = 0

        def counted() -> Iterator[Wave]:
            nonlocal frames
            for block in blocks:
                frames += block.shape[1]
                yield block

        for block in resample_blocks(counted(), sample_rate, self.settings.sample_rate, channels):
            meter.update(torch.from_numpy(np.ascontiguousarray(block)))
        if not frames:
            raise AudiotransError("the sound is empty: it has no samples")
        level_db = meter.level_db()
        check_level(level_db)
        return frames, level_db

    def stream(
        self,
        blocks: Iterable[Wave],
        frames: int,
        sample_rate: int,
        channels: int,
        request: Request,
        level_db: float,
        listener: Listener | None = None,
    ) -> Iterator[Wave]:
        """Translate a stream in bounded memory: the second pass.

        Args:
            blocks: waves ``(channels, n)`` at ``sample_rate``.
            frames: their samples in all, from `measure`.
            sample_rate: Hz.
            channels: of the stream.
            request: what to do.
            level_db: from `measure`.
            listener: sees the images as they are made.

        Returns:
            The translated stream at the same rate, ``frames`` samples in all.
        """
        if request.strength == 0:
            return iter(blocks)  # exactly the input: not even resampled
        rate = self.settings.sample_rate
        # Phase estimation needs some windows to work with: shorter sounds are followed by silence, cut off again below.
        length = max(resampled_length(frames, sample_rate, rate), 2 * self.settings.n_fft)
        plan = self.plan_for(request)
        if listener is not None:
            listener.expect(plan.tiles(length))
        inner = resample_blocks(blocks, sample_rate, rate, channels, length=length)
        if request.remove_vibrato:
            inner = VibratoRemover(rate, channels, request.remove_vibrato / 100).through(inner)

        def convert(piece: Wave, start: int) -> Wave:
            return self._convert_piece(piece, start, request, level_db, listener)

        outer = convert_tiles(inner, length, plan, convert)
        if request.vibrato:
            outer = Vibrato(rate, channels, request.vibrato, request.seed).through(outer)
        return resample_blocks(outer, rate, sample_rate, channels, length=frames)

    def plan_for(self, request: Request) -> TilePlan:
        """Return how a request's sounds are cut."""
        further = self.further_columns(request)
        return (
            plan_tiles(self.settings, self.imaging.representation.rows, self.model, further) if further else self.plan
        )

    def further_columns(self, request: Request) -> int:
        """Return how many columns on each side a translation depends on beyond those that the model sees."""
        articulated = 0 if request.articulation == 1 else window(self.imaging) // 2
        return articulated + reach(request.shifts, self.model.stride)

    @torch.inference_mode()
    def _convert_piece(
        self, piece: Wave, start: int, request: Request, level_db: float, listener: Listener | None = None
    ) -> Wave:
        wave = torch.from_numpy(np.ascontiguousarray(piece)).to(self.device)
        image, context = self.imaging.to_image(wave, level_db)
        if listener is not None:
            listener.see(image, start)
        column = start // (self.settings.hop_length * self.settings.time_stride)
        blended = self.translate_image(image, column, request)
        out = self.imaging.from_image(blended, context, phase=request.phase, seed=request.seed)
        return cast(Wave, out.cpu().numpy())

    def translate_image(self, image: Tensor, column: int, request: Request) -> Tensor:
        """Translate a piece of a sound's image.

        Args:
            image: ``(groups, channels, rows, columns)`` in [-1, 1].
            column: position of its first column in the whole image; a multiple of the model's stride.
            request: what to do.

        Returns:
            The same shape, blended with ``image`` by the request's strength.

        Raises:
            AudiotransError: if the device's memory does not suffice.
        """

        def once(moved: Tensor) -> Tensor:
            noise = aligned_noise(self.model, moved, column, request.seed)
            return self.model.translate(moved, request.source, request.target, noise)

        heard = tilted(image, request.tilt, self.imaging)
        try:
            with _repeatable_kernels():
                translated = shift_average(heard, once, request.shifts, self.model.stride)
        except torch.OutOfMemoryError as error:
            raise AudiotransError(f"not enough memory on {self.device}: use --device cpu") from error
        translated = articulate(image, translated, request.articulation, window(self.imaging))
        return blend(image, translated, request.strength / 100, self.settings.representation)


def blend(source: Tensor, translated: Tensor, share: float, representation: str) -> Tensor:
    """Interpolate between two images.

    Args:
        source: ``(groups, channels, rows, columns)`` in [-1, 1].
        translated: the same shape.
        share: 0 gives ``source``, 1 ``translated``.
        representation: of the images; the logarithmic ones are interpolated in decibels, and the phase channels of
            ``magnitude_phase`` go the shorter way round the circle.
    """
    if share == 1:
        return translated
    step = translated - source
    if representation != "magnitude_phase":
        return source + share * step
    mixed = source + share * step
    turn = torch.remainder(step[:, 1::2] + 1, 2) - 1  # an image's phase of 1 is half a turn
    mixed[:, 1::2] = torch.remainder(source[:, 1::2] + share * turn + 1, 2) - 1
    return mixed


def _repeatable_kernels() -> AbstractContextManager[None]:
    """Keep CUDA to kernels that give the same bytes every time, in full float32; without effect on a CPU."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    return cast("AbstractContextManager[None]", flags)
