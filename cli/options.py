"""Options that several commands share, in rio's words: one spelling, one meaning, one help.

bidx       band numbers from 1: ``1,2,3``
bounds     ``"left bottom right top"`` in the raster's CRS
co         GeoTIFF creation options, ``NAME=VALUE``, repeatable
device     ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``
json       one JSON object on stdout instead of a table
overwrite  replace what is there
seed       the number that all chance starts from

The classes are for options of another name: ``--additional-bidx`` takes ``BandNumbers()``.
"""

import re
from abc import abstractmethod
from collections.abc import Sequence
from math import isfinite
from typing import Any, TypeVar

import click

T = TypeVar("T")


class Parsed(click.ParamType[T]):
    """A value written as text; a default is the value itself."""

    @abstractmethod
    def parse(self, text: str) -> T:
        """Return the value, or fail; click adds the name of the option."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Return the value."""
        return self.parse(value) if isinstance(value, str) else value


class BandNumbers(Parsed[tuple[int, ...]]):
    """Band numbers from 1, ``1,2,3``: a tuple of int, in the order given."""

    name = "numbers"

    def parse(self, text: str) -> tuple[int, ...]:
        """Return the numbers."""
        words = text.split(",")
        if not all(re.fullmatch(r"\s*[1-9][0-9]*\s*", word) for word in words):
            self.fail(f"{text!r} is not a list of band numbers from 1, such as 1,2,3")
        return tuple(int(word) for word in words)


class Numbers(Parsed[tuple[int, ...]]):
    """Whole numbers from 0, ``3,8-10``: a tuple of int, in the order given."""

    name = "numbers"

    def parse(self, text: str) -> tuple[int, ...]:
        """Return the numbers."""
        from geo_p2p.chips.quality import parse_numbers
        from geo_p2p.errors import ChipError

        try:
            return parse_numbers(text)
        except ChipError as error:
            self.fail(str(error))


class Bits(Parsed[tuple[int | str, ...]]):
    """Bits from 0 and conditions on several, ``1,3,8-9=3``: a tuple of int and str."""

    name = "bits"

    def parse(self, text: str) -> tuple[int | str, ...]:
        """Return the bits and the conditions."""
        from geo_p2p.chips.quality import parse_bits
        from geo_p2p.errors import ChipError

        try:
            return parse_bits(text)
        except ChipError as error:
            self.fail(str(error))


class Content(Parsed[float | dict[int, float]]):
    """A share, ``0.1``, or a share for each class, ``3:0.05,7:0.1``: a float, or a dict."""

    name = "share"

    def parse(self, text: str) -> float | dict[int, float]:
        """Return the share or the shares by class."""
        try:
            if ":" not in text:
                return float(text)
            pairs = (word.split(":") for word in text.split(","))
            return {int(number): float(share) for number, share in pairs}
        except ValueError:
            self.fail(f"{text!r} is neither a share, 0.1, nor shares by class, 3:0.05")


class Sides(Parsed[int | tuple[int, int]]):
    """A side, ``256``, or width and height, ``256,128``: an int, or a tuple of two."""

    name = "px"

    def parse(self, text: str) -> int | tuple[int, int]:
        """Return the number or the two."""
        words = [word.strip() for word in text.split(",")]
        if len(words) > 2 or not all(re.fullmatch("[1-9][0-9]*", word) for word in words):
            self.fail(f"{text!r} is neither a side, 256, nor x and y, 256,128")
        return int(words[0]) if len(words) == 1 else (int(words[0]), int(words[1]))


class Place(Parsed[tuple[int, int]]):
    """A pixel, ``ROW,COL``, inside the raster or not: a tuple of two int."""

    name = "row,col"

    def parse(self, text: str) -> tuple[int, int]:
        """Return (row, column)."""
        words = re.fullmatch(r"\s*(-?[0-9]+)\s*,\s*(-?[0-9]+)\s*", text)
        if words is None:
            self.fail(f"{text!r} is not the row and column of a pixel, such as 0,512")
        return int(words[1]), int(words[2])


class Bounds(Parsed[tuple[float, float, float, float]]):
    """``"left bottom right top"``, spaces or commas between: a tuple of four floats."""

    name = "l b r t"

    def parse(self, text: str) -> tuple[float, float, float, float]:
        """Return (left, bottom, right, top)."""
        try:
            left, bottom, right, top = map(float, re.split(r"[\s,]+", text.strip(" []")))
        except ValueError:
            self.fail(f'{text!r} is not four numbers, "left bottom right top"')
        if not all(map(isfinite, (left, bottom, right, top))):
            self.fail(f"{text!r} has a number that is not finite")
        if left >= right or bottom >= top:
            self.fail(f"{text!r} is empty: left < right and bottom < top")
        return left, bottom, right, top


class PixelSize(Parsed[float | tuple[float, float] | str]):
    """A pixel size, ``0.5``, its width and height, ``0.5,0.25``, or ``model``."""

    name = "size"

    def parse(self, text: str) -> float | tuple[float, float] | str:
        """Return the number, the two, or the word."""
        if text == "model":
            return text
        try:
            numbers = [float(word) for word in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (1, 2) or not all(isfinite(n) and n > 0 for n in numbers):
            self.fail(f"{text!r} is no pixel size: give 0.5, or x and y: 0.5,0.25, or model")
        return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


class Device(Parsed[str]):
    """The name of a device; whether it is there is for the library to say."""

    name = "device"

    def parse(self, text: str) -> str:
        """Return the name."""
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
            self.fail(f"{text!r} is none of auto, cpu, cuda, cuda:N, mps")
        return text


class Kept(Parsed[bool | int | str]):
    """Which epochs are kept: ``best``, ``all``, ``none``, or a number; as `fit` takes it."""

    name = "which"
    names = {True: "best", False: "none"}

    def parse(self, text: str) -> bool | int | str:
        """Return what `fit` takes."""
        words: dict[str, bool | str] = {"all": "all", **{w: v for v, w in self.names.items()}}
        if text in words:
            return words[text]
        if not re.fullmatch("[1-9][0-9]*", text):
            self.fail(f"{text!r} is none of best, all, none, or a number")
        return int(text)


def creation_options(
    ctx: click.Context, param: click.Parameter, pairs: Sequence[str]
) -> dict[str, str]:
    """Return {name in lower case: value} of repeated ``NAME=VALUE``; the last one wins."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE", ctx, param)
        found[name.lower()] = value
    return found


bidx = click.option("-b", "--bidx", type=BandNumbers(), help="Bands of INPUT, from 1: 1,2,3.")

bounds = click.option(
    "--bounds", type=Bounds(), help='Only this part: "left bottom right top" in the raster\'s CRS.'
)

co = click.option(
    "--co",
    metavar="NAME=VALUE",
    multiple=True,
    callback=creation_options,
    help="GeoTIFF creation option; may be repeated.",
)

device = click.option(
    "--device", type=Device(), default="auto", show_default=True, help="cpu, cuda, cuda:1, mps."
)

json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

overwrite = click.option("--overwrite", is_flag=True, help="Replace what is there.")

seed = click.option("--seed", type=click.IntRange(min=0), help="Where all chance starts from.")
