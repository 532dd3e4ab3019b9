"""Part a set of pairs into training and validation."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from rasterio.windows import Window

from geo_p2p.chips import Chip, Pairs, split_territory
from geo_p2p.chips.several import Several
from geo_p2p.chips.split import HOW
from geo_p2p.errors import ChipError
from geo_p2p.raster import PIXELS, UNKNOWN, Frame

__all__ = ["Parts", "part"]

VAL_SHARE = 0.1
"""Share of chips to validate on, 0-1, for sets that come without a split."""

SLACK = 0.01
"""Px by which chips may overlap, by rounding, and yet share no ground."""

log = logging.getLogger(__name__)


@dataclass
class Parts:
    """Names of the training and validation chips, and how they were parted.

    ``open`` are those that nobody has parted yet.
    """

    train: list[str] = field(default_factory=list)
    val: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    how: list[dict[str, Any]] = field(default_factory=list)

    @property
    def split(self) -> dict[str, Any]:
        """How they were parted, for a model card."""
        ways = [way for i, way in enumerate(self.how) if way not in self.how[:i]]
        if len(ways) == 1:
            return ways[0]
        methods = ", ".join(dict.fromkeys(way["method"] for way in ways))
        share = 100 * len(self.val) / max(1, len(self.val) + len(self.train))
        whole = {"method": methods, "val_pct": share, "seed": ways[0]["seed"]}
        return {**whole, "side": 0, "buffer": 0, "sets": ways}


def part(
    pairs: Pairs,
    read: Callable[[Sequence[str]], Mapping[str, Chip]],
    share: float | None,
    seed: int,
) -> tuple[Parts, Mapping[str, Chip]]:
    """Part a set, and read what is trained and validated on.

    A split that came with the set wins. Where none did, chips with a place are split by blocks of
    territory; pictures without one by whole picture, so that no patch of a picture is on both
    sides. Of several sets, those without a split are split together, and training chips that lie
    on the validation ground of another set are left out.

    Parameters
    ----------
    pairs : the set.
    read : reads chips by their names.
    share : of chips to validate on, 0-1; None for 0.1, or for whatever the set's split has.
    seed : of the choice.

    Raises
    ------
    ChipError
        If another share is asked for than that of the set's own split.
    """
    members = pairs.members if isinstance(pairs, Several) else {"": pairs}
    parts = Parts()
    for label, member in members.items():
        _take(parts, member, f"{label}/" if label else "", share)
    chips = read([*parts.train, *parts.val, *parts.open])
    _by_place(parts, {name: chips[name] for name in parts.open}, pairs, (share, seed))
    if len(members) > 1:
        _leave_out(parts, chips)
    return parts, chips


def _take(parts: Parts, member: Pairs, prefix: str, share: float | None) -> None:
    """Take the split that came with a set, as far as one did."""
    saved = member.split
    if saved is None:
        parts.open += [prefix + name for name in member.names]
        return
    train, val = ([prefix + name for name in saved[side]] for side in ("train", "val"))
    if not val and saved["method"] == "folders":
        # Folders train/ and test/ leave open what to validate on; never on what is for the test.
        parts.open += train
        return
    if share is not None and abs(share - saved["val_pct"] / 100) > 1e-9:
        raise ChipError(
            f"{member.path}: {_whence(saved)}, {saved['val_pct']:g} % for validation, which "
            f"val_split_pct={share:g} would change; {_remedy(saved)}"
        )
    parts.train += train
    parts.val += val
    parts.how.append({key: saved[key] for key in HOW})


def _whence(saved: Mapping[str, Any]) -> str:
    if saved["method"] == "folders":
        return "its folders train/ and val/ are its split"
    return "its chips were split when they were exported"


def _remedy(saved: Mapping[str, Any]) -> str:
    if saved["method"] == "folders":
        return "leave it out, or put all pictures into one folder"
    return "export again with that share"


def _by_place(
    parts: Parts, chips: Mapping[str, Chip], pairs: Pairs, choice: tuple[float | None, int]
) -> None:
    """Split what is open: by territory where chips have a place, else by picture."""
    share, seed = VAL_SHARE if choice[0] is None else choice[0], choice[1]
    groups: dict[str, list[str]] = {}
    for name, chip in chips.items():
        groups.setdefault(chip.frame.crs.to_wkt(), []).append(name)
    for names in groups.values():
        frames = [chips[name].frame for name in names]
        if frames[0].crs == PIXELS:
            sides, how = _by_picture([pairs.picture(name) for name in names], share, seed)
        else:
            windows = _windows(frames)
            size = max(max(window.height, window.width) for window in windows)
            split = split_territory(windows, size, val_pct=100 * share, seed=seed)
            sides, how = split.parts, split.how
        for name, side in zip(names, sides, strict=True):
            if side in ("train", "val"):
                (parts.train if side == "train" else parts.val).append(name)
        parts.how.append(how)
    parts.open = []


def _by_picture(
    pictures: Sequence[str], share: float, seed: int
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Hold out whole pictures, at least one but never all, until the share is reached."""
    if not 0 <= share < 1:
        raise ChipError(f"a validation share of {100 * share} %: give 0 up to, not including, 100")
    several = list(dict.fromkeys(pictures))
    count = min(math.ceil(round(len(several) * share, 9)), len(several) - 1)
    order = np.random.default_rng(seed).permutation(len(several))
    held = {several[i] for i in order[:count]}
    sides = tuple("val" if picture in held else "train" for picture in pictures)
    how = {"method": "pictures" if count else "none", "val_pct": 100 * share, "seed": seed}
    return sides, {**how, "side": 0, "buffer": 0}


def _windows(frames: Sequence[Frame]) -> list[Window]:
    """Where frames lie on the lattice of the first, px, shifted so that none is negative.

    The box around each: a frame that is turned, or lies off the lattice, claims what it touches.
    """
    inverse = ~frames[0].transform
    boxes = []
    for frame in frames:
        # Rounded, because a corner that misses a pixel's edge by a hair must not claim it.
        corners = np.array([inverse * (x, y) for x, y in frame.corners]).round(3)
        boxes.append((*np.floor(corners.min(0)), *np.ceil(corners.max(0))))
    low = np.array(boxes).min(0)[:2]
    whole = (np.array(boxes) - [*low, *low]).astype(int).tolist()
    return [Window(left, top, right - left, bottom - top) for left, top, right, bottom in whole]


def _leave_out(parts: Parts, chips: Mapping[str, Chip]) -> None:
    """Leave out training chips that share ground with a validation chip of another set."""
    placed = [
        name
        for name in (*parts.train, *parts.val)
        if chips[name].frame.crs not in (PIXELS, UNKNOWN)
    ]
    if not placed:
        return
    first = chips[placed[0]].frame
    outlines = {name: _outline(chips[name].frame, first) for name in placed}
    ground = shapely.STRtree([outlines[name] for name in parts.val if name in outlines])
    clash = {
        name
        for name in parts.train
        if name in outlines
        and len(ground.query(outlines[name].buffer(-SLACK), predicate="intersects"))
    }
    if clash:
        log.warning(
            "%d training chips lie on the validation ground of another set and are left out, the "
            "first is %s",
            len(clash),
            min(clash),
        )
    parts.train = [name for name in parts.train if name not in clash]


def _outline(frame: Frame, other: Frame) -> shapely.Polygon:
    """Outline of a frame, px of another; empty where no transformation reaches."""
    cols, rows = np.array([0, frame.width] * 2), np.array([0, 0, frame.height, frame.height])
    points = frame.pixels_in(other, cols[[0, 1, 3, 2]], rows)
    return shapely.Polygon(points.T) if np.isfinite(points).all() else shapely.Polygon()
