"""Keep or drop a chip by what it shows, and tell why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geo_p2p.chips.chip import Chip
from geo_p2p.chips.stats import BandStats
from geo_p2p.errors import ChipError

__all__ = ["ChipFilter", "Verdict"]


@dataclass(frozen=True)
class Verdict:
    """Whether a chip stays.

    Parameters
    ----------
    by : the filter that drops it, "" if it stays.
    value, least : what that filter found and what it asks for; 0 if it stays.
    """

    by: str = ""
    value: float = 0.0
    least: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether the chip stays."""
        return not self.by


@dataclass(frozen=True)
class ChipFilter:
    """What a chip must hold to be kept; as it stands it keeps every chip.

    Parameters
    ----------
    min_content : least share, 0-1, of the chip's valid pixels that are not background in the
        additional raster; or {class: share}, all of which must be met.
    background : values that are background; a pixel is if all its bands have one of them.
    min_std_x, min_std_y : least standard deviation of the input and of the additional raster over
        the valid pixels, raster units; the liveliest band counts.

    Examples
    --------
    >>> ChipFilter(min_content={3: 0.05}, min_std_x=2.0).min_std_x
    2.0
    """

    min_content: float | Mapping[int, float] = 0.0
    background: tuple[float, ...] = (0,)
    min_std_x: float = 0.0
    min_std_y: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no chip can meet."""
        given = self.min_content
        for share in given.values() if isinstance(given, Mapping) else (given,):
            if not 0 <= share <= 1:
                raise ChipError(f"a least content of {share}: give a share of 0 to 1")
        for std in (self.min_std_x, self.min_std_y):
            if not 0 <= std < np.inf:
                raise ChipError(f"a least standard deviation of {std}: give 0 or more")

    def judge(self, chip: Chip) -> Verdict:
        """Decide on a chip; the filters are asked in turn, content first.

        A chip without a valid pixel has no content and does not vary.

        Raises
        ------
        ChipError
            If classes are to be counted in more than one band.
        """
        for name, least, value in self._asked(chip):
            if value < least:
                return Verdict(name, value, least)
        return Verdict()

    def _asked(self, chip: Chip) -> Iterable[tuple[str, float, float]]:
        """Name, least and value of each filter that is in force."""
        if isinstance(self.min_content, Mapping):
            for number, least in self.min_content.items():
                yield f"content of class {number}", least, _share_of(number, chip)
        elif self.min_content:
            yield "content", self.min_content, self._foreground(chip)
        if self.min_std_x:
            yield "deviation of the input", self.min_std_x, _liveliest(chip.x, chip.valid)
        if self.min_std_y:
            yield "deviation of the target", self.min_std_y, _liveliest(chip.y, chip.valid)

    def _foreground(self, chip: Chip) -> float:
        """Share of the valid pixels that are no background."""
        empty = np.zeros(chip.valid.shape, bool)
        for value in self.background:
            empty |= (chip.y == value).all(0)
        return _mean(~empty, chip.valid)


def _share_of(number: int, chip: Chip) -> float:
    """Share of the valid pixels that are of a class."""
    if len(chip.y) != 1:
        raise ChipError(
            f"chip {chip.name}: classes are counted in one band, the additional raster has "
            f"{len(chip.y)}; choose one, or give a least content without classes"
        )
    return _mean(chip.y[0] == number, chip.valid)


def _mean(found: NDArray[np.bool_], valid: NDArray[np.bool_]) -> float:
    return float(found[valid].mean()) if valid.any() else 0.0


def _liveliest(values: NDArray[np.generic], valid: NDArray[np.bool_]) -> float:
    """Largest standard deviation of a band, raster units."""
    return float(BandStats.of(values, valid).sd.max()) if valid.any() else 0.0
