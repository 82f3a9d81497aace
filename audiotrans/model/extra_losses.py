"""Generator losses that are not in the paper: a warm-up, a teacher, pairs, and two that keep a sound's notes in place.

They have the form of those in `audiotrans.model.losses`, which lists all of them. Levels are in units of the image: one
is 50 dB of a logarithmic spectrogram.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from audiotrans.model.avb_gtn import DiscriminatorOutputs, LossSettings, Translation

FINE_ROWS = 21
"""Width of the moving mean that the fine-structure term takes for the spectral envelope, in rows."""

SOUNDING = 0.5
"""Image units below a frame's loudest row at which a row still counts as sounding: 25 dB."""

SOUNDING_ON_AVERAGE = 0.3
"""The same for the mean of many frames, 15 dB: at 25 dB the rumble of most recordings would count."""

FIRST_NOTE_ROW = 3
"""Rows below hold no notes: 65 Hz at the default STFT."""

RUMBLE_MARGIN = 0.1
"""Image units by which rows under the lowest note may rise: 5 dB."""


def identity(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """L1 between translation and source: a warm-up that starts the translation at the identity."""
    del d, s
    return F.l1_loss(t.ab, t.a) + F.l1_loss(t.ba, t.b)


def imitation(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """L1 between translation and a teacher's translation of the same source, of the directions that are taught."""
    del d, s
    taught = ((t.ab, t.wanted_ab), (t.ba, t.wanted_ba))
    return sum((F.l1_loss(made, wanted) for made, wanted in taught if wanted is not None), t.ab.new_zeros(()))


def paired(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """L1 between translation and the same notes in the target domain; 0 for crops that are not pairs."""
    del d, s
    if t.true_ab is None or t.true_ba is None:
        return t.ab.new_zeros(())
    return F.l1_loss(t.ab, t.true_ab) + F.l1_loss(t.ba, t.true_ba)


def feature_matching(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """L1 between what D's layers give for a translation and for its pair's true other side, relative to the latter.

    The mean over layers and scales, of both directions together; 0 for crops that are not pairs. D learns which
    differences tell the two apart, so that this asks for textures and attacks where `paired` asks for their mean.

    Source: Wang et al. 2018, "High-resolution image synthesis and semantic manipulation with conditional GANs",
    eq. (4); there a layer's mean distance counts as it is, here as a share of the truth's mean size.
    """
    del s
    if not d.made_layers:
        return t.ab.new_zeros(())
    apart = [
        (made.float() - true.float()).abs().mean((1, 2, 3)) / (true.float().abs().mean((1, 2, 3)) + 1e-3)
        for made, true in zip(d.made_layers, d.true_layers, strict=True)
    ]
    # Both directions have as many layers: twice the mean over all is the sum of theirs, which all terms are.
    mean: Tensor = 2 * torch.stack([each.mean() for each in apart]).mean()
    return mean


def fine_structure(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """1 - cosine between the fine structures of translation and source, per frame.

    A transposition that the inverse translation undoes is invisible to the cycle and the GAN terms. Partials that must
    stay on their rows are not free to move; the envelope (a moving mean over `FINE_ROWS` rows) and the level are.
    """
    del d, s
    return fine_distance(t.ab, t.a) + fine_distance(t.ba, t.b)


def below_notes(t: Translation, d: DiscriminatorOutputs, s: LossSettings) -> Tensor:
    """New energy under the source's lowest sounding row, per frame; for logarithmic spectrograms.

    Where the target domain plays lower notes than the source, D asks for them. No note can be made there, and what the
    gain lifts instead is noise: rumble. Energy up to `RUMBLE_MARGIN` above the source's own is free (knocks, breath).
    """
    del d, s
    return _raised_below(t.ab, t.a) + _raised_below(t.ba, t.b)


def _raised_below(made: Tensor, source: Tensor) -> Tensor:
    level = source.detach().mean(1, keepdim=True)
    sounding = level >= level.amax(2, keepdim=True) - SOUNDING
    sounding[:, :, :FIRST_NOTE_ROW] = False  # always rumble
    # A partial is spread over its neighbours by the window: two rows under the first sounding one still belong to it.
    first = sounding.float().argmax(2, keepdim=True) - 2
    rows = torch.arange(source.shape[2], device=source.device)[None, None, :, None]
    below = ((rows < first) | (rows < FIRST_NOTE_ROW)).float()
    raised = (F.relu(made - source - RUMBLE_MARGIN) * below).sum((1, 2, 3))
    mean: Tensor = (raised / (below.sum((1, 2, 3)) * source.shape[1] + 1)).mean()  # of images, however they are divided
    return mean


def fine_distance(made: Tensor, source: Tensor) -> Tensor:
    """Return 1 - cosine of two images' fine structures, 0 .. 2; frames count as far as ``source`` has structure.

    It is the mean over the images: a batch that is divided among processes has the mean of their distances.
    """
    u, w = _fine(made), _fine(source)
    norm = w.norm(dim=(1, 2))  # (batch, frames): flat frames hold no pitch and must not count
    cosine = (u * w).sum((1, 2)) / (u.norm(dim=(1, 2)) * norm + 1e-3)
    distance: Tensor = (((1 - cosine) * norm).sum(1) / (norm.sum(1) + 1e-6)).mean()
    return distance


def _fine(image: Tensor) -> Tensor:
    half = FINE_ROWS // 2
    padded = F.pad(image, (0, 0, half, half), mode="replicate")
    envelope: Tensor = F.avg_pool2d(padded, (FINE_ROWS, 1), 1)
    return image - envelope
