"""The page: what stands on it, and what happens when something is pressed. The only user of Gradio."""

from __future__ import annotations

import html
import logging
import math
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

# Before Gradio is imported, which looks for them then: it asks nobody, and browsers keep no runs.
os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False"}
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
from gradio.events import api

from audiotrans.audio import AUDIO_SUFFIXES
from audiotrans.convert.photos import PhotoConverter
from audiotrans.errors import AudiotransError, UsageError, lookup
from audiotrans.options import OPTIONS, Option
from audiotrans.photo.pillow import PHOTO_SUFFIXES
from audiotrans.spectrogram.phase import PHASES
from audiotrans.web.listening import player
from audiotrans.web.work import (
    MORE_OPTIONS,
    OWN_FORMAT,
    SOUND_FORMATS,
    Order,
    Outcome,
    Stopped,
    Workshop,
    check_format,
    plainly,
)

BENCH = "bench"
"""Jobs of this name wait for each other."""

_log = logging.getLogger(__name__)

_LABELS = {
    "phase": "Phases",
    "seed": "Seed",
    "articulation": "Articulation",
    "shifts": "Averaged translations",
    "vibrato": "Vibrato",
    "remove_vibrato": "Removed vibrato",
}

_FORMATS = [("As it came", OWN_FORMAT), ("WAV", "wav"), ("FLAC", "flac")]


def asset(name: str) -> str:
    """Return a file beside the page."""
    return files("audiotrans.web").joinpath("assets", name).read_text(encoding="utf-8")


def head() -> str:
    """Return the page's script: the listening page's player, and the element that wraps it."""
    shared = files("audiotrans.evaluation.report").joinpath("assets")
    parts = [shared.joinpath(name).read_text(encoding="utf-8") for name in ("dom.js", "player.js")]
    style = asset("listen.css").replace("`", "")
    script = "\n".join([*parts, f"const LISTEN_STYLE = `{style}`;", asset("listen.js")])
    return f"<script>(() => {{\n{script}\n}})();</script>"


def theme() -> Any:
    """Return the page's colours and fonts; none of them is fetched from anywhere."""
    plum = "fbf4f9 f4e3ef e8c6de d494c0 b95d9d 9c3580 8a2270 701a5b 581547 431036 2b0a23"
    accent = gr.themes.Color(*(f"#{colour}" for colour in plum.split()))
    made = gr.themes.Default(
        primary_hue=accent,
        secondary_hue=accent,
        neutral_hue="slate",
        font=["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return made.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_text_color="white",
        button_primary_background_fill_dark="*primary_300",
        button_primary_background_fill_hover_dark="*primary_200",
        link_text_color_dark="*primary_300",
        button_primary_text_color_dark="*primary_950",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
    )


class Page:
    """The page of a workshop.

    Args:
        shop: does the work.
        examples: sounds that may be tried.
        place: where the files are worked on, in the users' words: ``on this computer`` or ``on this server``.
    """

    def __init__(self, shop: Workshop, examples: Sequence[Path] = (), place: str = "on this computer") -> None:
        self.shop, self.examples, self.place = shop, examples, place
        self.default = next(iter(shop.paths))

    def blocks(self) -> gr.Blocks:
        """Put the page together."""
        page = gr.Blocks(title="audiotrans", analytics_enabled=False, fill_width=False)
        with page:
            gr.HTML(self._heading(), elem_id="heading")
            with gr.Row(equal_height=False, elem_id="choose"):
                with gr.Column(scale=1, min_width=300):
                    sources = self._sources()
                with gr.Column(scale=1, min_width=300):
                    model, to, strength, more = self._settings()
                    with gr.Row():
                        go = gr.Button("Convert", variant="primary", size="lg", elem_id="go", scale=2)
                        stop = gr.Button("Cancel", size="lg", elem_id="stop", visible=False, scale=1)
            notes = gr.HTML("", elem_id="notes")
            listen = gr.HTML("", elem_id="listen")
            done = gr.State(None)
            with gr.Row(visible=False, elem_id="take-home") as take_home:
                kind = gr.Radio(_FORMATS, value=OWN_FORMAT, label="Download as", elem_id="format", scale=2)
                fetch = gr.DownloadButton("Download", variant="primary", size="lg", elem_id="download", scale=1)
            self._convert_event(
                go, stop, sources, (model, to, strength, *more.values()), (notes, listen, done, take_home, kind, fetch)
            )
            kind.input(self._fetch, [done, kind], [fetch], api_visibility="private", show_progress="minimal")
            model.input(self._chosen, [model, to], [to, *more.values()], queue=False, api_visibility="private")
            to.input(self._defaults, [model, to], [*more.values()], queue=False, api_visibility="private")
            page.unload(self._leave)
            self._api()
        page.queue(max_size=self.shop.limits.waiting, default_concurrency_limit=4, api_open=False)
        return page

    def _heading(self) -> str:
        converter = self.shop.converter(self.default)
        first, second = map(html.escape, converter.domains)
        photo = isinstance(converter, PhotoConverter)
        way = (
            "Choose a photo, press Convert, and look."
            if photo
            else "Choose or record a sound, press Convert, and listen."
        )
        kept = f"Your files stay {self.place}; after {self.shop.limits.keep_minutes:g} minutes they are deleted."
        return f"<h1>Turn {first} into {second}, and back</h1><p>{way} {kept}</p>"

    def _sources(self) -> gr.File:
        suffixes = [*AUDIO_SUFFIXES, *PHOTO_SUFFIXES]
        sources = gr.File(
            label=f"Your {self._kinds()}", file_count="multiple", height=180, elem_id="files", type="filepath"
        )
        with gr.Row():
            folder = gr.UploadButton(
                "A whole folder", file_count="directory", size="sm", min_width=90, elem_id="folder"
            )
            for path in self.examples:
                button = gr.Button(f"Try {path.stem}", size="sm", min_width=90, elem_classes="example")
                button.click(lambda path=path: [str(path)], None, sources, queue=False, api_visibility="private")
        with gr.Accordion("Record", open=False, elem_id="record", visible="sounds" in self._kinds()):
            recording = gr.Audio(
                sources=["microphone"], type="filepath", format="wav", label="Microphone", elem_id="microphone",
                buttons=[], editable=False,
            )  # fmt: skip
        recording.stop_recording(
            lambda path: [path] if path else None, recording, sources, queue=False, api_visibility="private"
        )
        folder.upload(
            lambda paths: [path for path in paths if Path(path).suffix.lower() in suffixes],
            folder, sources, queue=False, api_visibility="private",
        )  # fmt: skip
        return sources

    def _kinds(self) -> str:
        """Return what the models take, in the page's words."""
        photo = [isinstance(self.shop.converter(name), PhotoConverter) for name in self.shop.paths]
        return "photos" if all(photo) else "sounds, videos or photos" if any(photo) else "sounds, or short videos"

    def _settings(self) -> tuple[Any, Any, Any, dict[str, Any]]:
        names = list(self.shop.paths)
        model = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, elem_id="model")
        choices = self._directions(names[0])
        to = gr.Radio(choices, value=choices[0][1], label="Direction", elem_id="to")
        strength = gr.Slider(0, 100, 100, step=1, label="Strength", info=OPTIONS["strength"].ends, elem_id="strength")
        with gr.Accordion("More", open=False, elem_id="more"):
            more = {name: _control(name, info) for name, info in MORE_OPTIONS.items()}
            for control, values in zip(more.values(), self._values(names[0], choices[0][1]), strict=True):
                control.value, control.visible = values
        return model, to, strength, more

    def _directions(self, model: str) -> list[tuple[str, str]]:
        first, second = self.shop.converter(model).domains
        return [(f"{first} → {second}", second), (f"{second} → {first}", first)]

    def _values(self, model: str, to: str) -> list[tuple[Any, bool]]:
        """Return the model's own value of each further option, and whether it has the option.

        Controls that are not shown are sent as well, and Gradio takes no slider without a value.
        """
        converter = self.shop.converter(model)
        options = converter.options(to)
        photo = isinstance(converter, PhotoConverter)
        found = []
        for name, info in MORE_OPTIONS.items():
            value, there = getattr(options, name), not (photo and info.sound)
            neutral = "auto" if name == "phase" else info.neutral
            found.append((neutral if value is None else value, there))
        return found

    def _defaults(self, model: str, to: str) -> list[Any]:
        return [gr.update(value=value, visible=there) for value, there in self._values(model, to)]

    def _chosen(self, model: str, to: str) -> list[Any]:
        choices = self._directions(model)
        known = [name for _, name in choices]
        to = to if to in known else known[0]
        return [gr.update(choices=choices, value=to), *self._defaults(model, to)]

    def _convert_event(self, go: Any, stop: Any, sources: Any, asked: Any, shown: Any) -> None:
        begun = go.click(lambda: gr.update(visible=True), None, stop, queue=False, api_visibility="private")
        work = begun.then(
            self._convert, [sources, *asked], [*shown, stop], concurrency_limit=1, concurrency_id=BENCH,
            show_progress_on=[shown[0]], api_visibility="private", trigger_mode="once",
        )  # fmt: skip
        work.failure(lambda: gr.update(visible=False), None, stop, queue=False, api_visibility="private")
        stop.click(self._stop, None, [shown[0], stop], queue=False, cancels=[work], api_visibility="private")

    def _convert(
        self, request: gr.Request, sources: list[str] | None, model: str, to: str, strength: float, *more: Any
    ) -> list[Any]:
        """Convert what is chosen; the answer is what the page shows."""
        progress = gr.Progress()
        try:
            options = {"strength": strength, **self._asked(model, more)}
            outcome = self._work(sources, model, to, options, request, progress)
            progress(1.0, desc="drawing")
            listen = player(outcome.pairs, outcome.folder, self._names(model, to), _address)
            notes = [(note, "note") for pair in outcome.pairs for note in pair.notes]
            said = _said([*((line, "error") for line in outcome.refused), *notes])
            fetch = gr.update(value=str(self.shop.download(outcome, OWN_FORMAT)))
            kind = gr.update(value=OWN_FORMAT, visible=not outcome.pairs[0].photo)
            return [said, listen, outcome, gr.update(visible=True), kind, fetch, gr.update(visible=False)]
        except Exception as error:
            line = (_line(error), "note" if isinstance(error, Stopped) else "error")
        return [_said([line]), "", None, gr.update(visible=False), gr.skip(), gr.skip(), gr.update(visible=False)]

    def _work(
        self, sources: Any, model: str, to: str, options: dict[str, Any], request: gr.Request, progress: Any
    ) -> Outcome:
        def tell(share: float, left: float, label: str) -> None:
            progress(share, desc=label if math.isnan(left) else f"{label}, {_clock(left)} left")

        order = Order([Path(path) for path in sources or ()], model, to, options)
        return self.shop.convert(str(request.session_hash), order, tell)

    def _asked(self, model: str, more: Sequence[Any]) -> dict[str, Any]:
        photo = isinstance(self.shop.converter(model), PhotoConverter)
        found = {
            name: info.kind(value)
            for (name, info), value in zip(MORE_OPTIONS.items(), more, strict=True)
            if not (photo and info.sound) and value is not None
        }
        if found.get("phase") == "auto":
            del found["phase"]
        return found

    def _names(self, model: str, to: str) -> tuple[str, str]:
        first, second = self.shop.converter(model).domains
        return (second, first) if to == first else (first, second)

    def _fetch(self, done: Outcome | None, kind: str) -> Any:
        if done is None:
            return gr.skip()
        try:
            return gr.update(value=str(self.shop.download(done, kind)))
        except Exception as error:
            raise gr.Error(_line(error), print_exception=False) from None

    def _stop(self, request: gr.Request) -> list[Any]:
        self.shop.stop(str(request.session_hash))
        return [_said([("Cancelled.", "note")]), gr.update(visible=False)]

    def _leave(self, request: gr.Request) -> None:
        self.shop.stop(str(request.session_hash))

    def _api(self) -> None:
        """Offer the same to programs, see docs/serve.md."""

        def convert(
            files: list[gr.FileData],
            to: str,
            model: str = self.default,
            strength: float = 100.0,
            sound_format: str = OWN_FORMAT,
            options: dict[str, Any] = {},  # noqa: B006  # Gradio reads the default; nobody changes it
            request: gr.Request = None,  # type: ignore[assignment]  # Gradio gives it
        ) -> tuple[gr.FileData, list[str]]:
            try:
                check_format(sound_format)
                asked = {"strength": strength, **_options(options)}
                outcome = self._work(_paths(files), model, to, asked, request, gr.Progress())
                result = self.shop.download(outcome, sound_format)
            except Exception as error:
                raise gr.Error(_line(error), print_exception=False) from None
            lines = [*outcome.refused, *(note for pair in outcome.pairs for note in pair.notes)]
            return gr.FileData(path=str(result), orig_name=result.name), lines

        convert.__annotations__ = get_type_hints(convert)  # Gradio would read the returned types as text
        api(convert, api_name="convert", concurrency_id=BENCH, concurrency_limit=1)


def _control(name: str, info: Option) -> Any:
    """Return the control of an option."""
    label = _LABELS.get(name, name.replace("_", " ").capitalize())
    said = info.help + (f", {info.unit}" if info.unit else "") + (f"; {info.ends}" if info.ends else "")
    facts: dict[str, Any] = {"label": label, "info": said, "elem_id": f"option-{name}"}
    if name == "phase":
        return gr.Dropdown(list(PHASES), **(facts | {"info": "How the phases are found"}))
    if info.least is not None and info.most is not None and info.most <= 1000:
        return gr.Slider(info.least, info.most, step=1 if info.kind is int or info.most > 10 else 0.1, **facts)
    return gr.Number(precision=0 if info.kind is int else None, **facts)


def _said(lines: Sequence[tuple[str, str]]) -> str:
    """Return messages as the page shows them; ``error`` or ``note`` each."""
    return "".join(
        f'<p class="{kind}" role="{"alert" if kind == "error" else "status"}">{html.escape(line)}</p>'
        for line, kind in lines
    )


def _line(error: Exception) -> str:
    """Return what a user is told of an error; what is no fault of theirs goes to the server's log."""
    if isinstance(error, Stopped):
        return "Cancelled."
    if isinstance(error, AudiotransError):
        return plainly(str(error))
    _log.error("a job failed", exc_info=error)
    return "something went wrong on the server; its log tells what"


def _paths(sent: Any) -> list[str]:
    """Return the paths of files as a program sent them: what these are is unchecked."""
    found = [dict(each).get("path") if isinstance(each, dict | gr.FileData) else None for each in sent or ()]
    if not isinstance(sent, list) or not all(isinstance(path, str) and "\0" not in path for path in found):
        raise UsageError("files: give a list of uploaded files")
    return [str(path) for path in found]


def _options(sent: Any) -> dict[str, Any]:
    """Return further options as a program sent them; their values are for `ConvertOptions` to check."""
    if not isinstance(sent, dict):
        raise UsageError(f"options: give a dictionary of {', '.join(MORE_OPTIONS)}")
    for name in sent:
        lookup(MORE_OPTIONS, str(name)[:100], "option")
    return sent


def _address(path: Path) -> str:
    return f"gradio_api/file={path}"


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


__all__ = ["SOUND_FORMATS", "Page", "asset", "head", "theme"]
