"""Class numbers and names from an attribute of a vector file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geo_p2p.card import new_color
from geo_p2p.errors import ChipError
from geo_p2p.raster import Bands

__all__ = ["BACKGROUND", "MOST", "ClassTable"]

BACKGROUND = "background"
"""Name of class 0: what no shape covers."""

BLACK = (0, 0, 0, 255)

MOST = 65535
"""Largest class number: what 16 bits hold."""

MOST_COLORS = 256
"""Most classes that get a palette: no model tells more apart."""


@dataclass(frozen=True)
class ClassTable:
    """Which feature is of which class.

    Parameters
    ----------
    numbers : class by feature; None where the attribute is empty.
    names : of the classes that have one.
    """

    numbers: Mapping[int, int | None]
    names: Mapping[int, str]

    @classmethod
    def of(cls, column: Mapping[int, Any], what: str) -> "ClassTable":
        """Read an attribute, given by feature; ``what`` names it in messages.

        Whole numbers are class numbers; text is numbered from 1, in sorted order.

        Raises
        ------
        ChipError
            If it is empty throughout, or holds what is no class.
        """
        values = {value for value in column.values() if not _empty(value)}
        if not values:
            raise ChipError(f"{what} has no value in any feature; choose another")
        if all(isinstance(value, str) for value in values):
            if len(values) > MOST:
                raise ChipError(f"{what} has {len(values)} different values; {MOST} can be classes")
            order = {text: number for number, text in enumerate(sorted(values), start=1)}
            named = {number: text for text, number in order.items()}
            return cls({n: order.get(value) for n, value in column.items()}, named)
        for value in values:
            if not _is_class(value):
                raise ChipError(
                    f"{what} holds {value!r}, which is no class: whole numbers from 0 to {MOST}, "
                    "or text, can be"
                )
        return cls({n: None if _empty(v) else int(v) for n, v in column.items()}, {})

    @property
    def missing(self) -> int:
        """How many features have no class."""
        return sum(number is None for number in self.numbers.values())

    def bands(self, name: str) -> Bands:
        """Describe a band of these classes and the background; ``name`` is the band's."""
        classes = {0: BACKGROUND, **self.names}
        present = sorted({*classes, *(n for n in self.numbers.values() if n is not None)})
        colors = {0: BLACK}
        for number in present[1:MOST_COLORS]:
            colors[number] = new_color(colors.values())
        coloured = len(colors) == len(present)
        return Bands(
            count=1,
            dtype="uint8" if present[-1] <= 255 else "uint16",
            names=(name,),
            units=("",),
            colors=colors if coloured else {},
            classes=classes,
            interp=("palette" if coloured else "gray",),
        )


def _empty(value: Any) -> bool:
    """Whether an attribute has no value: null, no text, or what numbers have for null."""
    return value is None or value == "" or value != value


def _is_class(value: Any) -> bool:
    number = isinstance(value, int | float) and float(value).is_integer()
    return number and 0 <= value <= MOST
