"""Score translations against the truth, on the stitched raster and on chips."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from rasterio.windows import Window
from shapely import Polygon

from geo_p2p.card import Scaling, confidence_path, range_of
from geo_p2p.card.confidence import TAG
from geo_p2p.chips import Chip, Pairs, open_pairs
from geo_p2p.errors import ChipError, RasterError
from geo_p2p.grid import BlockPlan, intersection, overlap_of, span_window
from geo_p2p.metrics import CONTEXT, STEP, ChipScores, ClassScores, ImageScores
from geo_p2p.raster import Frame, RasterSource

__all__ = ["PARTS", "chips_of", "evaluate_rasters", "scores_for"]

PARTS = ("train", "val", "test", "all")
"""Parts of a chip folder that scores can be taken on."""

BLOCK = 1024
"""Side of the windows that rasters are read by, px: a multiple of `STEP`."""

SAMPLE = 4_000_000
"""About how many pixels of a whole raster its ranges are taken from."""


def scores_for(target: Scaling) -> ChipScores:
    """Return the measures that suit a target: of classes, or of values with their ranges."""
    if target.classes:
        return ChipScores(ClassScores(target.values.tolist()))
    return ChipScores(ImageScores(target.data_range))


def chips_of(folder: Pairs, split: str) -> list[Chip]:
    """Read the chips of one part of a set.

    Raises
    ------
    ChipError
        If there is no such part, or it is empty.
    """
    if split not in PARTS:
        raise ChipError(f"split {split!r}: choose one of {', '.join(PARTS)}")
    saved = folder.split
    if split == "all":
        names: Sequence[str] = folder.names
    elif saved is None:
        raise ChipError(f"{folder.path}: its chips carry no split; take split 'all'")
    else:
        names = saved.get(split, ())
    if not names:
        raise ChipError(f"{folder.path}: holds no chips in its part '{split}'")
    return [folder.read(name) for name in names]


def evaluate_rasters(
    predicted: str | Path,
    truth: str | Path,
    *,
    chips: str | Path | None = None,
    split: str = "val",
    truth_bidx: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Score a translated raster against the truth, pixel by pixel and once each.

    Parameters
    ----------
    predicted : the translated raster.
    truth : what it should be; warped onto the translated raster's lattice.
    chips : chip folder; only the ground of its part ``split`` counts, and ranges are those of its
        training part. Without, the whole raster counts.
    split : part of the chip folder: one of `PARTS`.
    truth_bidx : bands of the truth, from 1; None for all of them.

    Returns
    -------
    dict
        See `geo_p2p.metrics`; with "split": the part, or "whole raster"; and "per_chip": how the
        scores of single chips spread, each cut out of the raster, or None without chips. Ground
        that chips share counts once for the measures, and once a chip for the spread. Where
        half-widths lie beside the raster (see `geo_p2p.card.confidence_path`) also "coverage": the
        share of the truth within them, of their level and per band.

    Raises
    ------
    RasterError
        If a raster cannot be read, or the two differ in bands or share no ground.
    ChipError
        If there are no such chips.
    """
    mosaic = RasterSource(predicted)
    # Blends of class numbers are other classes, whether or not the truth says it holds classes.
    resampling = "nearest" if mosaic.info.categorical else "auto"
    target = RasterSource(truth, truth_bidx, mosaic.frame, resampling)
    if mosaic.count != target.count:
        raise RasterError(
            f"{predicted} has {mosaic.count} bands and {truth} {target.count}: choose those of "
            "the truth by number (--bidx)"
        )
    folder = None if chips is None else open_pairs(chips)
    ground = None if folder is None else _outlines(chips_of(folder, split), mosaic.frame)
    scores: ImageScores | ClassScores
    if mosaic.info.categorical:
        scores = ClassScores(_class_numbers(mosaic))
    else:
        scores = ImageScores(_ranges(target, folder))
    for values, true, valid, core in _windows(mosaic, target, ground):
        scores.update(values, true, valid, core)
    per_chip = None if ground is None else _per_chip(mosaic, target, ground, scores)
    part = "whole raster" if folder is None else split
    held = _held(predicted, mosaic, target, ground)
    return {**scores.result(), **held, "per_chip": per_chip, "split": part}


def _held(
    predicted: str | Path, mosaic: RasterSource, target: RasterSource, ground: list[Polygon] | None
) -> dict[str, Any]:
    """Share of the truth within the half-widths that lie beside a raster of values, if any do."""
    beside = confidence_path(predicted)
    if mosaic.info.categorical or not beside.exists():
        return {}
    widths = RasterSource(beside)
    if TAG not in widths.tags or (widths.count, widths.frame) != (mosaic.count, mosaic.frame):
        return {}
    inside, pixels = np.zeros(mosaic.count), 0
    for block in BlockPlan(*mosaic.frame.shape, 1, 0, BLOCK):
        on_ground = _mask(block.core, ground)
        (values, one), (true, two), (width, three) = (
            source.read(block.core) for source in (mosaic, target, widths)
        )
        valid = one & two & three & on_ground
        error = np.abs(values[:, valid].astype(np.float64) - true[:, valid])
        inside += (error <= width[:, valid]).sum(1)
        pixels += int(np.count_nonzero(valid))
    shares = [round(share, 4) for share in (inside / max(1, pixels)).tolist()]
    return {"coverage": {widths.tags[TAG]: shares}}


def _windows(
    mosaic: RasterSource, target: RasterSource, ground: list[Polygon] | None
) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], tuple[slice, slice]]]:
    """Read both rasters window by window, with context; ``core`` is what counts."""
    frame = mosaic.frame
    for block in BlockPlan(frame.height, frame.width, STEP, CONTEXT, BLOCK):
        on_ground = _mask(block.read, ground)
        if not on_ground.any():
            continue
        (values, valid), (true, true_valid) = mosaic.read(block.read), target.read(block.read)
        core = overlap_of(block.read, block.core)
        yield values, true, valid & true_valid & on_ground, core


def _per_chip(
    mosaic: RasterSource,
    target: RasterSource,
    ground: Sequence[Polygon],
    measures: ImageScores | ClassScores,
) -> dict[str, Any]:
    """Return how the measures spread over the outlines, each an image of its own."""
    scores = ChipScores(measures.blank())
    for outline in ground:
        window = _window_around(outline, mosaic.frame)
        if window is not None:
            (values, valid), (true, true_valid) = mosaic.read(window), target.read(window)
            scores.update(values, true, valid & true_valid & _mask(window, [outline]))
    spread: dict[str, Any] = scores.result()["per_chip"]
    return spread


def _window_around(outline: Polygon, frame: Frame) -> Window | None:
    """Smallest window of a raster that holds an outline's pixels; None where there are none."""
    left, top, right, bottom = outline.bounds
    rows = math.floor(top), math.ceil(bottom)
    cols = math.floor(left), math.ceil(right)
    return intersection(span_window(rows, cols), frame.window)


def _outlines(chips: Sequence[Chip], frame: Frame) -> list[Polygon]:
    """Outlines of chips, px of a frame."""
    outlines = []
    for chip in chips:
        height, width = chip.frame.shape
        cols, rows = np.array([0, width, width, 0]), np.array([0, 0, height, height])
        outlines.append(Polygon(chip.frame.pixels_in(frame, cols, rows).T.round(3)))
    return outlines


def _mask(window: Window, ground: list[Polygon] | None) -> NDArray[np.bool_]:
    """Which pixels of a window lie on the ground that counts: their centres decide."""
    shape = (window.height, window.width)
    if ground is None:
        return np.ones(shape, bool)
    place = Affine.translation(window.col_off, window.row_off)
    inside: NDArray[np.bool_] = geometry_mask(ground, shape, place, invert=True)
    return inside


def _class_numbers(mosaic: RasterSource) -> list[int]:
    """Class numbers that a translated raster holds."""
    found: set[int] = set()
    for block in BlockPlan(*mosaic.frame.shape, 1, 0, BLOCK):
        values, valid = mosaic.read(block.core)
        found |= set(np.unique(values[0][valid]).tolist())
    return sorted(found)


def _ranges(target: RasterSource, folder: Pairs | None) -> list[float]:
    """Range of each band of the truth: of the training chips where there are some."""
    if folder is None or folder.split is None:
        samples = list(_sampled(target))
    else:
        samples = [chip.y[:, chip.valid] for chip in chips_of(folder, "train")]
        if len(samples[0]) != target.count:
            raise RasterError(
                f"{target.name}: {target.count} bands, but the chips' target has "
                f"{len(samples[0])}; choose those of the truth by number (--bidx)"
            )
    ends = [range_of(target.dtype, [bands[i] for bands in samples]) for i in range(target.count)]
    return [high - low for low, high in ends]


def _sampled(source: RasterSource) -> Iterator[NDArray[Any]]:
    """Valid pixels of a raster, (bands, n) a window, thinned so that memory does not grow."""
    step = math.isqrt(math.prod(source.frame.shape) // SAMPLE) | 1
    for block in BlockPlan(*source.frame.shape, 1, 0, BLOCK):
        values, valid = source.read(block.core)
        yield values[:, ::step, ::step][:, valid[::step, ::step]]
