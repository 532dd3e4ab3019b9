"""Part the chips of a territory by the method that is asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.split.blocks import split_by_blocks, split_by_folds
from geo_p2p.chips.split.config import PARTS, SplitConfig
from geo_p2p.chips.split.draw import Unit, draw
from geo_p2p.chips.split.ground import Ground, ground_of
from geo_p2p.chips.split.overlap import overlapping
from geo_p2p.chips.split.result import Split
from geo_p2p.errors import ChipError
from geo_p2p.raster import Frame

__all__ = ["split_territory"]


def split_territory(
    windows: Sequence[Window],
    size: int,
    *,
    scenes: Sequence[str] | None = None,
    frames: Mapping[str, Frame] | None = None,
    angles: Sequence[float] | None = None,
    labels: Sequence[str] | None = None,
    **settings: Any,
) -> Split:
    """Split chips into training, validation and, if asked for, test.

    "blocks" cuts the ground into square blocks and holds some out, drawn by the seed. A chip
    validates if it lies wholly in a validation block, trains if it keeps the buffer from every
    block held out, and is left out otherwise: no pixel, and no near neighbour of a pixel, is in two
    parts. A block's side is that of four chips, the autocorrelation range, or two halos and a
    chip, whichever is largest, and is halved down to one chip until every share is between half and
    twice what was asked for (5 to 20 % for 10 %) and half of the chips are left to train on, or
    else what comes nearest to it is taken. Where
    the ground is a few chips across, one block and its buffer are a large part of it, and the share
    cannot be small: then the block is taken that costs least, often one in a corner, and
    ``str(split)`` says what was asked for beside what came out.

    "kfold" deals such blocks out to folds, one of which validates. "scene" gives whole scenes to
    one part; those that share ground go together. "polygons" takes the parts from ``labels``, see
    `parts_in_polygons`. "random" is for chips that do not overlap; "random-overlapping" is for any,
    and flatters. "none" trains on all.

    Parameters
    ----------
    windows : of the chips, px of one raster, or of their scenes.
    size : side of a chip, px.
    scenes : name of the scene of each chip, where there are several.
    frames : of the scenes, so that those that share ground are known; without them none does.
    angles : degrees by which each chip is turned about its centre; None where none is.
    labels : "train", "val", "test" or "" for each chip, for "polygons".
    **settings : fields of `SplitConfig`.

    Raises
    ------
    ChipError
        For settings that cannot be, chips at random that overlap, scenes or folds that the ground
        is too small for, or parts that would share a pixel.

    References
    ----------
    Roberts et al. 2017, "Cross-validation strategies for data with temporal, spatial,
    hierarchical, or phylogenetic structure", https://doi.org/10.1111/ecog.02881
    """
    config = SplitConfig(**settings)
    everything = ("train",) * len(windows)
    held = config.method in ("kfold", "polygons") or bool(config.asked)
    if config.method == "none" or not held:
        return Split("none", everything, 0.0, config.seed)
    ground = ground_of(windows, scenes, frames, angles, reach=_reach(size, config))
    if config.method == "blocks":
        split = split_by_blocks(ground, size, config) or Split(
            "none", everything, config.val_pct, config.seed, test_pct=config.test_pct
        )
    elif config.method == "kfold":
        split = split_by_folds(ground, size, config)
    elif config.method == "scene":
        split = _by_scene(ground, scenes, config)
    elif config.method == "polygons":
        split = _by_labels(ground, labels, config)
    else:
        split = _at_random(ground, config)
    return _counted(split, ground)


def _reach(size: int, config: SplitConfig) -> int:
    """Px within which scenes count as one territory."""
    if config.buffer is not None:
        return config.buffer
    return size if config.method in ("blocks", "kfold") else 0


def _counted(split: Split, ground: Ground) -> Split:
    """Count the pixels in common, and refuse any where none was promised."""
    common = ground.common_pixels(split.parts)
    if common and split.method != "random-overlapping":
        raise ChipError(
            f"split {split.method!r}: {common} px would lie in two parts; this must not be, "
            "so please report it with the settings"
        )
    return replace(split, common=common, nearest=ground.nearest(split.parts))


def _at_random(ground: Ground, config: SplitConfig) -> Split:
    """Hold out chips wherever they are, at least one a part, but never all."""
    if config.method == "random" and any(
        overlapping(ground.boxes[ground.territory == t]) for t in np.unique(ground.territory)
    ):
        raise ChipError(
            "split 'random': the chips overlap, so that training would see what it is validated "
            "on; split by blocks, cut with a stride of a whole chip, or say 'random-overlapping'"
        )
    parts = np.full(len(ground), "train", dtype="<U5")
    order = np.random.default_rng(config.seed).permutation(len(ground))
    for part, share in config.asked.items():
        number = min(math.ceil(len(ground) * share), len(order) - 1)
        parts[order[:number]] = part
        order = order[number:]
    return replace(_outcome(parts, config), buffer=0)


def _by_scene(ground: Ground, scenes: Sequence[str] | None, config: SplitConfig) -> Split:
    """Hold out whole territories: scenes that share ground are in one."""
    if scenes is None:
        raise ChipError("split 'scene': needs the name of each chip's scene; split by blocks")
    units = [
        Unit(members, members)
        for members in (np.flatnonzero(ground.territory == t) for t in range(len(ground.lattices)))
    ]
    order = np.random.default_rng(config.seed).permutation(len(units)).tolist()
    state = draw(len(ground), order, units.__getitem__, config.asked)
    if not all(state.held.values()):
        raise ChipError(
            f"split 'scene': {len(set(scenes))} scenes make {len(units)} pieces of ground that "
            f"share none, too few for {len(config.asked) + 1} parts; split by blocks"
        )
    return _outcome(state.parts, config)


def _by_labels(ground: Ground, labels: Sequence[str] | None, config: SplitConfig) -> Split:
    """Take the parts as given, but leave out what comes near a part that is held out."""
    if labels is None:
        raise ChipError("split 'polygons': needs a vector file whose polygons name their part")
    if len(labels) != len(ground) or not set(labels) <= {*PARTS, ""}:
        raise ChipError(
            f"split 'polygons': {len(labels)} labels for {len(ground)} chips; give one of "
            f"{', '.join(map(repr, (*PARTS, '')))} for each"
        )
    parts = np.array(labels, dtype="<U5")
    for kept, given_up in (("test", "val"), ("test", "train"), ("val", "train")):
        parts[_near(ground, parts == given_up, parts == kept, config.buffer or 0)] = ""
    if not (parts == "train").any():
        raise ChipError("split 'polygons': no chip lies wholly in a polygon of training")
    return _outcome(parts, replace(config, val_pct=0.0, test_pct=0.0))


def _near(
    ground: Ground, some: NDArray[np.bool_], others: NDArray[np.bool_], buffer: int
) -> NDArray[np.intp]:
    """Places of the chips among ``some`` that lie nearer than ``buffer`` px to ``others``."""
    ours, theirs = np.flatnonzero(some), np.flatnonzero(others)
    # A little less, because boxes that only touch share no pixel.
    grown = ground.boxes[ours] + (buffer - 0.25) * np.array([-1, -1, 1, 1])
    tree = shapely.STRtree(shapely.box(*ground.boxes[theirs][:, [1, 0, 3, 2]].T))
    here, there = tree.query(shapely.box(*grown[:, [1, 0, 3, 2]].T), predicate="intersects")
    together = ground.territory[ours[here]] == ground.territory[theirs[there]]
    return np.unique(ours[here[together]])


def _outcome(parts: NDArray[np.str_], config: SplitConfig) -> Split:
    return Split(
        config.method,
        tuple(parts.tolist()),
        config.val_pct,
        config.seed,
        buffer=config.buffer or 0,
        test_pct=config.test_pct,
    )
