"""Where the chips of one or several scenes lie: boxes on one lattice wherever they may meet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geo_p2p.chips.outline import outline
from geo_p2p.chips.split.config import PARTS
from geo_p2p.chips.split.overlap import Boxes, common_area, distance
from geo_p2p.errors import ChipError
from geo_p2p.raster import Frame

__all__ = ["Ground", "ground_of"]

TOUCH = 0.01
"""Px by which two scenes may overlap and still only touch: edges that rounding has moved."""

FINER = 0.9
"""Share of another's pixel area below which a scene's pixels are finer: no projection does that."""

STEPS = 9
"""Points along a side of a chip or a scene when it is drawn on another scene's lattice."""


@dataclass(frozen=True)
class Ground:
    """Boxes of chips, px, each on the lattice of its territory.

    Parameters
    ----------
    boxes : (n, 4) row, col, stop row, stop col.
    territory : (n,) which territory a chip lies in; different ones share no ground.
    lattices : name of the scene whose lattice a territory has; "" for windows of one raster.
    """

    boxes: Boxes
    territory: NDArray[np.int64]
    lattices: tuple[str, ...] = ("",)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.boxes)

    @cached_property
    def longest(self) -> int:
        """Longest side of a chip, px."""
        return int((self.boxes[:, 2:] - self.boxes[:, :2]).max(initial=0))

    def pairs(self, parts: Sequence[str]) -> Iterator[tuple[Boxes, Boxes]]:
        """Boxes of every two parts that could meet, territory by territory."""
        names = np.array(parts)
        order = np.argsort(self.territory, kind="stable")
        cuts = np.flatnonzero(np.diff(self.territory[order])) + 1
        for members in np.split(order, cuts):
            boxes = [self.boxes[members[names[members] == part]] for part in PARTS]
            for one, other in ((0, 1), (0, 2), (1, 2)):
                yield boxes[one], boxes[other]

    def common_pixels(self, parts: Sequence[str]) -> int:
        """Pixels that lie in chips of two parts, counted once for every two parts."""
        return sum(common_area(one, other) for one, other in self.pairs(parts))

    def nearest(self, parts: Sequence[str]) -> float | None:
        """Px between the nearest chips of two parts; None where no two share a territory."""
        found = (distance(one, other) for one, other in self.pairs(parts))
        return min((gap for gap in found if gap is not None), default=None)


def ground_of(
    windows: Sequence[Window],
    scenes: Sequence[str] | None = None,
    frames: Mapping[str, Frame] | None = None,
    angles: Sequence[float] | None = None,
    *,
    reach: int = 0,
) -> Ground:
    """Lay chips on the ground.

    Scenes that overlap, or come nearer than ``reach``, make up one territory, on the lattice of
    the finest of them; a chip that is turned, or of another lattice, counts as the box around it.

    Parameters
    ----------
    windows : of the chips, px of their scene.
    scenes : name of the scene of each chip; None if they are all of one raster.
    frames : of the scenes; without them, scenes are taken to share no ground.
    angles : degrees by which each chip is turned about its centre; None where none is.
    reach : px.

    Raises
    ------
    ChipError
        If scenes, angles and windows differ in number, a frame is missing, or scenes of one
        territory lie too far apart to have one lattice.
    """
    low = np.array([(w.row_off, w.col_off) for w in windows], np.int64).reshape(-1, 2)
    size = np.array([(w.height, w.width) for w in windows], np.int64).reshape(-1, 2)
    boxes = np.hstack([low, low + size])
    if angles is not None:
        boxes = _turned(boxes, np.array(angles, np.float64))
    if scenes is None:
        return Ground(boxes, np.zeros(len(boxes), np.int64))
    if len(scenes) != len(windows):
        raise ChipError(f"{len(scenes)} scene names for {len(windows)} chips; give one for each")
    names = list(dict.fromkeys(scenes))
    lattices = {name: name for name in names}
    if frames is not None:
        missing = [name for name in names if name not in frames]
        if missing:
            raise ChipError(f"scene {missing[0]!r} has no frame; give the frames of all scenes")
        lattices = _lattices({name: frames[name] for name in names}, reach)
        boxes = _on_lattices(boxes, np.array(scenes), lattices, frames)
    territories = list(dict.fromkeys(lattices.values()))
    place = {name: territories.index(lattice) for name, lattice in lattices.items()}
    return Ground(boxes, np.array([place[s] for s in scenes], np.int64), tuple(territories))


def _turned(boxes: Boxes, angles: NDArray[np.float64]) -> Boxes:
    """Boxes around boxes that are turned about their centres, by degrees."""
    if len(angles) != len(boxes):
        raise ChipError(f"{len(angles)} angles for {len(boxes)} chips; give one for each")
    turn = np.deg2rad(angles)
    cos, sin = np.abs(np.cos(turn))[:, None], np.abs(np.sin(turn))[:, None]
    size = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
    middle, half = boxes[:, :2] + size / 2, (size * cos + size[:, ::-1] * sin) / 2
    low, high = np.floor(middle - half + TOUCH), np.ceil(middle + half - TOUCH)
    return np.hstack([low, high]).astype(np.int64)


def _lattices(frames: Mapping[str, Frame], reach: int) -> dict[str, str]:
    """For each scene, the scene whose lattice it shares: the finest of those it hangs together."""
    names = list(frames)
    outlines = [outline(frame) for frame in frames.values()]
    group = list(range(len(names)))
    for one, other in _candidates(list(frames.values()), outlines, reach):
        if group[one] != group[other] and _near(frames[names[one]], frames[names[other]], reach):
            old, new = sorted((group[one], group[other]), reverse=True)
            group = [new if g == old else g for g in group]
    # Square degrees a pixel: scenes of one territory lie at one latitude.
    grain = [
        (shape.area or np.inf) / (frame.height * frame.width)
        for shape, frame in zip(outlines, frames.values(), strict=True)
    ]
    finest: dict[int, int] = {}
    for index, number in enumerate(group):
        if number not in finest or grain[index] < FINER * grain[finest[number]]:
            finest[number] = index
    return {name: names[finest[number]] for name, number in zip(names, group, strict=True)}


def _candidates(
    frames: Sequence[Frame], outlines: Sequence[shapely.Geometry], reach: int
) -> NDArray[np.int64]:
    """Pairs of scenes whose boxes in longitude and latitude meet: (n, 2) places in the list."""
    bounds = np.array([shape.bounds for shape in outlines]).reshape(-1, 4)
    longest = np.array([max(frame.shape) for frame in frames])
    spans = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    wide = (2 * reach + 1) * spans / longest
    grown = bounds + wide[:, None] * [-1, -1, 1, 1]
    tree = shapely.STRtree(shapely.box(*grown.T))
    pairs: NDArray[np.int64] = tree.query(tree.geometries, predicate="intersects").T
    return pairs[pairs[:, 0] < pairs[:, 1]]


def _near(one: Frame, other: Frame, reach: int) -> bool:
    """Whether two frames come nearer than ``reach`` px of either, or overlap where that is 0."""
    return _reaches(one, other, reach) or _reaches(other, one, reach)


def _reaches(one: Frame, other: Frame, reach: int) -> bool:
    """Whether another frame comes nearer than ``reach`` px of the first."""
    whole = np.array([[0, 0, other.height, other.width]])
    points = _borders(whole, other, one)[:, 0].T
    points = points[np.isfinite(points).all(1)]
    if len(points) < 3:
        return False
    far = reach - TOUCH
    around = shapely.box(-far, -far, one.width + far, one.height + far)
    return bool(around.intersects(shapely.make_valid(shapely.Polygon(points))))


def _borders(boxes: Boxes, frame: Frame, onto: Frame) -> NDArray[np.float64]:
    """Points around boxes of a frame, px of another: (2, n, points) of column and row."""
    share = np.linspace(0, 1, STEPS)[:-1]
    still = np.zeros_like(share)
    down = np.concatenate([still, share, still + 1, 1 - share])
    across = np.concatenate([share, still + 1, 1 - share, still])
    low, size = boxes[:, :2].astype(float), (boxes[:, 2:] - boxes[:, :2]).astype(float)
    rows = low[:, :1] + down * size[:, :1]
    cols = low[:, 1:] + across * size[:, 1:]
    return frame.pixels_in(onto, cols.ravel(), rows.ravel()).reshape(2, *rows.shape)


def _on_lattices(
    boxes: Boxes,
    scenes: NDArray[np.str_],
    lattices: Mapping[str, str],
    frames: Mapping[str, Frame],
) -> Boxes:
    """Boxes of all scenes on the lattices of their territories."""
    boxes = boxes.copy()
    for name, lattice in lattices.items():
        if name == lattice:
            continue
        mine = scenes == name
        points = _borders(boxes[mine], frames[name], frames[lattice])
        if not np.isfinite(points).all():
            raise ChipError(
                f"scene {name!r} lies beyond where the CRS of {lattice!r} leads, with which it "
                "shares ground; bring the scenes to one CRS first"
            )
        low = np.floor(points.min(2) + TOUCH)[::-1]
        high = np.ceil(points.max(2) - TOUCH)[::-1]
        boxes[mine] = np.vstack([low, high]).T.astype(np.int64)
    return boxes
