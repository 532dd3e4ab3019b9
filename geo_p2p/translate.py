"""Translate and score with a model that lies on disk; fastai is not needed for it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from geo_p2p.chips import Chip, open_pairs
from geo_p2p.errors import ModelError
from geo_p2p.evaluate import chips_of, scores_for
from geo_p2p.model_file import Translator, find_model, load_model
from geo_p2p.predict import PredictConfig, Prediction, predict
from geo_p2p.raster import RasterSource

__all__ = ["evaluate_model", "open_source", "predict_raster", "translate", "translate_chips"]

log = logging.getLogger(__name__)

Paths = str | Path | Iterable[str | Path]


def predict_raster(
    src: Paths,
    dst: str | Path | None = None,
    *,
    model: str | Path | Translator | None = None,
    bidx: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Path:
    """Translate a raster into a georeferenced mosaic of the target kind.

    Parameters
    ----------
    src : the raster, of any size; several co-registered files stack as bands.
    dst : where the mosaic shall appear; ``<stem>_translated.tif`` in the working directory if None.
    model : a model's folder, .emd or name under ``./models``; None for ``$GEO_P2P_MODEL``, else
        the newest one there.
    bidx : bands to translate, from 1; None for those the model was trained on.
    overwrite : whether to replace a file of that name.
    progress : called with (blocks done, blocks in all).
    **settings : fields of `geo_p2p.predict.PredictConfig`.

    Returns
    -------
    Where the mosaic is.

    Raises
    ------
    ModelError
        If there is no such model, or the raster's bands are not what it takes.
    RasterError
        If the raster cannot be read or the mosaic not written.
    """
    translator = model if isinstance(model, Translator) else load_model(_told(model))
    config = PredictConfig(**settings)
    return translate(
        translator, src, dst, config, bidx=bidx, overwrite=overwrite, progress=progress
    ).output


def translate(
    translator: Translator,
    src: Paths,
    dst: str | Path | None,
    config: PredictConfig,
    *,
    bidx: Sequence[int] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """Do what `predict_raster` does, with a loaded model, and say how it went."""
    source = open_source(translator, src, bidx)
    if dst is None:
        dst = f"{Path(source.paths[0]).stem}_translated.tif"
    if source.warped_to_map:
        log.warning(
            "%s is placed by control points; the output lies on its warped lattice", source.name
        )
    _compare_pixels(translator, source)
    return predict(translator, source, dst, config, overwrite=overwrite, progress=progress)


def _told(model: str | Path | None) -> Path:
    """Find the model, and say which if the user did not."""
    path = find_model(model)
    if model is None:
        log.warning("model: %s", path)
    return path


def open_source(translator: Translator, src: Paths, bidx: Sequence[int] | None) -> RasterSource:
    """Open a raster to translate: its bands by number, or those the model was trained on."""
    source, card = RasterSource(src, bidx), translator.card
    if bidx is None and card.bands and source.count > card.input.count:
        return RasterSource(source.paths, card.bands)
    return source


def _compare_pixels(translator: Translator, source: RasterSource) -> None:
    """Warn of a raster much coarser or finer than what the model has seen."""
    card, frame = translator.card, source.frame
    if card.pixel_size is None or card.crs != frame.crs_name:
        return
    ratio = frame.res[0] / card.pixel_size[0]
    if not 0.8 < ratio < 1.25:
        log.warning(
            "%s: pixels of %.4g are %.2g times those the model was trained on (%.4g)",
            source.name,
            frame.res[0],
            ratio,
            card.pixel_size[0],
        )


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
