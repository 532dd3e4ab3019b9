"""Whether two rasters line up: measured where both show edges, told before anybody trains."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from rasterio.windows import Window

from geo_p2p.chips.chip import Source
from geo_p2p.chips.ground import metres
from geo_p2p.chips.phase import Spectrum, cross_spectrum, edges, highest, peak_of, spectrum
from geo_p2p.chips.sample import SMALLEST, CommonBlock, common_blocks
from geo_p2p.errors import ChipError

__all__ = ["BlockShift", "Registration", "measure_registration"]

PROBES = 16
"""Places looked at for each block wanted, before giving up: most may hold no common ground."""

BARREN = 4
"""Blocks read for each block wanted, before giving up: some have ground but no edges."""

SHUFFLES = 16
"""How often blocks are paired that do not belong together, to see what chance makes."""

SURE = 0.5
"""Confidence from which a shift is more than chance."""

VISIBLE = 1.0
"""Px: a longer shift is seen by eye, and learned by the model."""

NEAR = 2.0
"""Px between a block's shift and that of all, up to which the two agree."""

WITNESSES = 3
"""Blocks that must agree, where there are as many."""


@dataclass(frozen=True)
class BlockShift:
    """What one block says.

    Parameters
    ----------
    col_off, row_off, side : the block, px of the input.
    shift : (columns, rows) by which the additional raster lies further right and down, px.
    confidence : 0-1, of this block alone.
    """

    col_off: int
    row_off: int
    side: int
    shift: tuple[float, float]
    confidence: float


@dataclass(frozen=True)
class Registration:
    """Where an additional raster lies in relation to the input, as measured.

    Parameters
    ----------
    shift : (columns, rows) by which it lies further right and down, px of the input; what all
        blocks say together.
    ground : the same as (east, north), metres on the ground along the axes of the CRS; None where
        it does not lead to the globe.
    confidence : 0-1: 0 where chance makes peaks as high, 1 where they are half as high. Below
        0.5 nothing is known.
    blocks : what each block says alone.
    """

    shift: tuple[float, float]
    ground: tuple[float, float] | None
    confidence: float
    blocks: tuple[BlockShift, ...]

    @property
    def length(self) -> float:
        """Length of the shift, px."""
        return math.hypot(*self.shift)

    @property
    def agreeing(self) -> tuple[BlockShift, ...]:
        """Blocks whose own shift is that of all, to 2 px."""
        return tuple(block for block in self.blocks if self._off(block) <= NEAR)

    @property
    def against(self) -> tuple[BlockShift, ...]:
        """Blocks that are sure of another shift."""
        return tuple(b for b in self.blocks if b.confidence >= SURE and self._off(b) > NEAR)

    @property
    def doubt(self) -> float:
        """How far the shift may be off, px: twice its standard error by the agreeing blocks."""
        off = [self._off(block) for block in self.agreeing]
        return 2 * float(np.median(off)) / len(off) ** 0.5 if off else math.inf

    @property
    def scattered(self) -> bool:
        """Whether more blocks are sure of shifts of their own than agree on one."""
        return len(self.against) > max(WITNESSES - 1, len(self.agreeing))

    @property
    def known(self) -> bool:
        """Whether the shift is more than chance, and blocks agree on it."""
        enough = len(self.agreeing) >= min(WITNESSES, len(self.blocks))
        return self.confidence >= SURE and enough and not self.scattered

    @property
    def visible(self) -> bool:
        """Whether the rasters do not line up, by more than a pixel and beyond doubt."""
        return self.known and self.length - self.doubt > VISIBLE

    def _off(self, block: BlockShift) -> float:
        return math.dist(block.shift, self.shift)

    def __str__(self) -> str:
        """Say what was measured, in one line for people."""
        if not self.blocks:
            return "alignment unknown: the rasters share no ground on which both show edges"
        votes = (
            f"{len(self.agreeing)} of {len(self.blocks)} blocks agree "
            f"(confidence {self.confidence:.1f})"
        )
        if self.scattered:
            return (
                f"the additional raster lies differently from block to block, {votes}: it may be "
                "turned, scaled or bent; check its georeference before training"
            )
        if not self.known:
            return f"alignment unknown: the rasters' edges have too little in common; {votes}"
        if not self.visible:
            return f"the rasters line up to {self.length:.1f} px; {votes}"
        return (
            f"the additional raster seems {self.length:.1f} px off the input, {self._where()}; "
            f"{votes}: check its georeference before training"
        )

    def _where(self) -> str:
        """The shift in words: "1.6 m to the east and 0.2 m to the north"."""
        along, words, unit = self.ground, ("east", "west", "north", "south"), "m"
        if along is None:
            along, words, unit = self.shift, ("right", "left", "bottom", "top"), "px"
        ways = zip(along, (words[:2], words[2:]), strict=True)
        least = 0.05 * max(map(abs, along))
        return " and ".join(
            f"{float(f'{abs(length):.2g}'):g} {unit} to the {ahead if length > 0 else behind}"
            for length, (ahead, behind) in ways
            if abs(length) > least
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **asdict(self),
            "agreeing": len(self.agreeing),
            "against": len(self.against),
            "doubt": self.doubt if self.agreeing else None,
            "known": self.known,
            "visible": self.visible,
        }


class _Pair(NamedTuple):
    """A block of both rasters: its window, and the spectra of their edges."""

    window: Window
    x: Spectrum
    y: Spectrum


def measure_registration(
    x: Source,
    y: Source,
    *,
    block: int = 256,
    blocks: int = 16,
    seed: int = 42,
    within: Window | None = None,
) -> Registration:
    """Measure by how much an additional raster lies beside the input.

    Blocks are drawn over the ground where both are valid and show edges; the edges of each are
    phase-correlated, and the correlations of all blocks added up: where photograph and map share
    so little that a block alone is lost, sixteen of them are not. The peak is compared to those
    that chance makes, when blocks of different places are paired. A few blocks are read, however
    large the rasters are.

    Parameters
    ----------
    x : the input.
    y : the additional raster, on the lattice of ``x``.
    block : side of a block, px; smaller where the raster is. Shifts of up to a quarter of it are
        found.
    blocks : how many blocks to measure.
    seed : of the draw.
    within : px of ``x`` to look in: see `shared_window`. None for everywhere.

    Raises
    ------
    ChipError
        For blocks too small to tell anything, or less than one of them.
    AlignmentError
        If the two lie on different lattices.
    RasterError
        If a block cannot be read.

    References
    ----------
    Kuglin & Hines 1975, "The phase correlation image alignment method"; Fitch et al. 2002,
    "Orientation correlation", https://doi.org/10.5244/C.16.11
    """
    if block < SMALLEST or blocks < 1:
        raise ChipError(f"{blocks} blocks of {block} px: give at least 1, of {SMALLEST} px")
    x.frame.require_same(y.frame, x.name, y.name)
    found = common_blocks((x, y), within or x.frame.window, block, PROBES * blocks, seed)
    sides = x.info.categorical, y.info.categorical
    pairs = list(islice(_pairs(islice(found, BARREN * blocks), sides), blocks))
    if not pairs:
        return Registration((0.0, 0.0), None, 0.0, ())
    reach = pairs[0].window.width // 4
    crosses = [cross_spectrum(pair.x, pair.y) for pair in pairs]
    joint = peak_of(_total(crosses), reach)
    chance = max(joint.second, _chance(pairs, reach))
    alone = tuple(_alone(p, c, reach) for p, c in zip(pairs, crosses, strict=True))
    return Registration(
        joint.shift, metres(x.frame, joint.shift), _confidence(joint.height, chance), alone
    )


def _pairs(found: Iterable[CommonBlock], sides: tuple[bool, bool]) -> Iterator[_Pair]:
    """Spectra of the blocks that show edges in both; ``sides`` says which raster is of classes."""
    for common in found:
        images = [
            edges(*read, categorical)
            for read, categorical in zip((common.x, common.y), sides, strict=True)
        ]
        if images[0] is not None and images[1] is not None:
            yield _Pair(common.window, spectrum(images[0]), spectrum(images[1]))


def _total(crosses: Iterable[Spectrum]) -> Spectrum:
    """Sum of cross spectra, which is that of the blocks' correlations."""
    total: Spectrum = np.sum(list(crosses), axis=0)
    return total


def _chance(pairs: list[_Pair], reach: int) -> float:
    """Height of the highest peak that pairs of blocks make which do not belong together.

    Blocks of one raster are paired with all others in turn, and with all upside down: an image
    turned by half a circle has as many edges and the same directions.
    """
    upright = [pair.y for pair in pairs]
    turned = [_turned(y) for y in upright]
    shuffles = [(upright, step) for step in range(1, len(pairs))]
    shuffles += [(turned, step) for step in range(len(pairs))]
    heights = []
    for others, step in shuffles[:: math.ceil(len(shuffles) / SHUFFLES)]:
        matched = zip(pairs, others[step:] + others[:step], strict=True)
        total = _total(cross_spectrum(pair.x, other) for pair, other in matched)
        heights.append(highest(total, reach))
    return max(heights)


def _turned(transform: Spectrum) -> Spectrum:
    """Spectrum of an image turned by half a circle."""
    turned: Spectrum = np.roll(transform[::-1, ::-1], 1, (0, 1))
    return turned


def _alone(pair: _Pair, cross: Spectrum, reach: int) -> BlockShift:
    """What one block says."""
    peak = peak_of(cross, reach)
    w = pair.window
    return BlockShift(
        w.col_off, w.row_off, w.width, peak.shift, _confidence(peak.height, peak.second)
    )


def _confidence(height: float, chance: float) -> float:
    """0 for a peak no higher than chance makes them, 1 for one of twice that height."""
    return min(1.0, max(0.0, height / chance - 1))
