"""Score with a model that lies on disk."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from geo_p2p.chips import Chip, open_pairs
from geo_p2p.errors import ModelError
from geo_p2p.evaluate import chips_of, scores_for
from geo_p2p.model_file import Translator, find_model, load_model

__all__ = ["evaluate_model", "translate_chips"]


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
        See `geo_p2p.metrics`; with "split" and "chips".

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
    scores = scores_for(loaded.card.target)
    for index, (chip, image) in enumerate(zip(pairs, translate_chips(loaded, pairs), strict=True)):
        scores.update(image, chip.y, chip.valid)
        if progress is not None:
            progress(index + 1, len(pairs))
    return {**scores.result(), "split": split, "chips": len(pairs)}


def translate_chips(translator: Translator, chips: Sequence[Chip]) -> Iterator[NDArray[Any]]:
    """Translate chips, one by one: (bands, rows, cols) in the target's type and unit."""
    for index, chip in enumerate(chips):
        x = translator.card.input.forward(chip.x, chip.valid)
        yield translator.card.target.inverse(translator(x[None], index)[0])
