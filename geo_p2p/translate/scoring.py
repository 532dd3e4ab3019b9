"""Score with a model that lies on disk, and measure how far off it may be."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card import Confidence, fit_confidence, scores_of
from geo_p2p.chips import Chip, open_pairs
from geo_p2p.chips.halves import halves
from geo_p2p.errors import ModelError
from geo_p2p.evaluate import chips_of, scores_for
from geo_p2p.model_file import Translator, find_model, load_model

__all__ = ["calibrate", "evaluate_model", "translate_chips"]

SAMPLE = 8_000_000
"""About how many validation pixels confidence is calibrated on, in both halves together."""

Scores = NDArray[np.float64]


def evaluate_model(
    model: str | Path | Translator,
    chips: str | Path,
    *,
    split: str = "val",
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score a model on the chips of one part of a folder, in data units.

    Parameters
    ----------
    model : a model, its folder, .emd or name under ``./models``.
    chips : chip folder.
    split : "train", "val" or "all".
    device : where to run it.
    progress : called with (chips done, chips in all).

    Returns
    -------
    dict
        See `geo_p2p.metrics`; with "split" and "chips", and of a model with confidence "coverage":
        per level and band the share of the truth that intervals hold, on the half of the
        validation ground that was not calibrated on, or on all of another part.

    Raises
    ------
    ModelError
        If the model is missing, or the chips are not of the kind it was trained on.
    ChipError
        If there are no such chips.
    """
    loaded = model if isinstance(model, Translator) else load_model(find_model(model), device)
    pairs = chips_of(open_pairs(chips), split)
    wanted = loaded.card.input.count, loaded.card.target.count
    if (len(pairs[0].x), len(pairs[0].y)) != wanted:
        raise ModelError(
            f"{chips}: pairs of {len(pairs[0].x)} and {len(pairs[0].y)} bands, but the model "
            f"translates {wanted[0]} into {wanted[1]}; export chips of the same bands"
        )
    target, sure = loaded.card.target, loaded.card.confidence
    scores = scores_for(target)
    # Of validation chips half were calibrated on: what that holds there tells nothing.
    seen = halves(pairs)[0] if split == "val" else [np.zeros(c.valid.shape, bool) for c in pairs]
    unexpected = []
    made = _made(loaded if sure is None else loaded.with_scales(), pairs)
    for index, (chip, output) in enumerate(zip(pairs, made, strict=True)):
        scores.update(target.inverse(output[: target.channels]), chip.y, chip.valid)
        if sure is not None:
            unexpected.append(scores_of(target, output, chip.y, chip.valid & ~seen[index]))
        if progress is not None:
            progress(index + 1, len(pairs))
    told = {} if sure is None else {"coverage": sure.told(sure.held(unexpected))}
    return {**scores.result(), **told, "split": split, "chips": len(pairs)}


def translate_chips(translator: Translator, chips: Sequence[Chip]) -> Iterator[NDArray[Any]]:
    """Translate chips, one by one: (bands, rows, cols) in the target's type and unit."""
    for output in _made(translator, chips):
        yield translator.card.target.inverse(output)


def calibrate(translator: Translator, chips: Sequence[Chip]) -> Confidence:
    """Measure how far off a model's translations are, on chips it was not trained on.

    Half of their ground gives the factors, the other half the coverage that is told of them.

    Raises
    ------
    ModelError
        If the model tells nothing of its errors, or one half has no valid pixel.
    """
    telling, target = translator.with_scales(), translator.card.target
    masks, blocks = halves(chips)
    step = math.ceil(sum(chip.valid.size for chip in chips) / SAMPLE) // 2 * 2 + 1
    sides: tuple[list[Scores], list[Scores]] = ([], [])
    for chip, mask, output in zip(chips, masks, _made(telling, chips), strict=True):
        for side, kept in zip(sides, (chip.valid & mask, chip.valid & ~mask), strict=True):
            side.append(scores_of(target, output, chip.y, kept)[:, ::step])
    return fit_confidence(*sides, blocks)


def _made(translator: Translator, chips: Sequence[Chip]) -> Iterator[NDArray[np.float32]]:
    """What the network gives of each chip, (channels, rows, cols) scaled."""
    for index, chip in enumerate(chips):
        yield translator(translator.card.input.forward(chip.x, chip.valid)[None], index)[0]
