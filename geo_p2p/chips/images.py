"""Image files as pairs: find them in folders, match them by name, read them alike."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from rasterio.crs import CRS

from geo_p2p.chips.chip import Chip
from geo_p2p.errors import ChipError, RasterError
from geo_p2p.raster import PIXELS, UNKNOWN, Bands, Frame, PlainImage

__all__ = [
    "described",
    "halves",
    "images_in",
    "match",
    "named",
    "read_halves",
    "read_pair",
    "same_colors",
]

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".mrf", ".bmp")
"""What counts as an image, in any case; world files, masks, overviews and metadata do not."""

NAMED = 5
"""Most names in a message."""


def named(names: Collection[str]) -> str:
    """Names for a message: the first few, and how many more."""
    first = sorted(names)[:NAMED]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def images_in(folder: Path) -> dict[str, Path]:
    """Images of a folder by their stems, sorted.

    What lies beside them counts for nothing: ``.ovr``, ``.aux.xml``, ``.msk``, world files, and
    what macOS leaves (``._name.tif``).

    Raises
    ------
    ChipError
        If two images have one stem, or the folder cannot be read.
    """
    try:
        files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    except OSError as error:
        raise ChipError(f"{folder}: cannot be read ({error.strerror or error})") from error
    found: dict[str, Path] = {}
    for file in files:
        if file.suffix.lower() not in SUFFIXES:
            continue
        if file.stem in found:
            raise ChipError(
                f"{folder}: {found[file.stem].name} and {file.name} have one name, so which of "
                "them is the pair's cannot be told; remove one"
            )
        found[file.stem] = file
    return found


def match(path: Path, folders: tuple[Path, Path]) -> dict[str, tuple[Path, Path]]:
    """Match the images of two folders by name.

    Raises
    ------
    ChipError
        Naming the images without a partner; or if there are none at all.
    """
    first, second = (images_in(folder) for folder in folders)
    where = [_relative(path, folder) for folder in folders]
    lost = [(second.keys() - first.keys(), where[0]), (first.keys() - second.keys(), where[1])]
    missing = [f"{named(names)} (missing in {place})" for names, place in lost if names]
    if missing:
        count = sum(len(names) for names, _ in lost)
        told = "1 image has" if count == 1 else f"{count} images have"
        raise ChipError(
            f"{path}: {told} no partner: {'; '.join(missing)}; "
            "pairs go by name: add what is missing or remove the rest"
        )
    if not first:
        raise ChipError(f"{path}: holds no images (chips) in {where[0]} and {where[1]}")
    return {name: (first[name], second[name]) for name in first}


def _relative(path: Path, folder: Path) -> str:
    """Name a folder inside another, with a slash at its end."""
    inside = path in folder.parents
    return f"{folder.relative_to(path).as_posix() if inside else folder}/"


def described(path: Path, file: Path) -> tuple[Frame, Bands]:
    """Return where an image's pixels are and what its bands hold.

    Raises
    ------
    ChipError
        Naming the file, if it cannot be read.
    """
    image = PlainImage(str(file))
    try:
        return image.frame, image.info
    except RasterError as error:
        raise ChipError(f"{path}: an image cannot be read: {error}") from error


def read_pair(
    path: Path, name: str, files: tuple[Path, Path], crs: CRS | None = None
) -> tuple[Chip, tuple[Bands, Bands]]:
    """Read two image files as a pair, and what their bands hold.

    Parameters
    ----------
    path : the set they belong to, for messages.
    name : of the pair.
    files : input and target.
    crs : of world files, where the images themselves carry none.

    Raises
    ------
    ChipError
        Naming the pair, if one of them cannot be read or they differ in size.
    """
    x, y = (PlainImage(str(file), crs) for file in files)
    try:
        (x_values, x_valid), (y_values, y_valid) = x.read(), y.read()
    except RasterError as error:
        raise ChipError(f"{path}: chip {name} cannot be read: {error}") from error
    if x_valid.shape != y_valid.shape:
        places = [f"{shape} in {file.parent.name}/" for shape, file in _shapes(x, y)]
        raise ChipError(
            f"{path}: chip {name} is {places[0]} and {places[1]} (rows, columns); "
            "the images of a pair must be of one size"
        )
    # A label image often has no place where the picture has one; never the other way round.
    frame = x.frame if _placed(x.frame) or not _placed(y.frame) else y.frame
    return Chip(x_values, y_values, x_valid & y_valid, frame, name), (x.info, y.info)


def _shapes(*images: PlainImage) -> list[tuple[tuple[int, int], Path]]:
    return [(image.frame.shape, Path(image.path)) for image in images]


def _placed(frame: Frame) -> bool:
    return frame.crs not in (PIXELS, UNKNOWN)


def read_halves(path: Path, name: str, file: Path) -> tuple[Chip, Bands]:
    """Read one image that holds a pair side by side: input left, target right.

    Raises
    ------
    ChipError
        Naming it, if it cannot be read or has no middle.
    """
    image = PlainImage(str(file))
    try:
        values, valid = image.read()
    except RasterError as error:
        raise ChipError(f"{path}: picture {name} cannot be read: {error}") from error
    height, width = halves(path, name, valid.shape)
    x, y = values[..., :width], values[..., width:]
    both = valid[:, :width] & valid[:, width:]
    # Whatever place the file has, it is that of neither half.
    return Chip(x, y, both, Frame.of_pixels(height, width), name), image.info


def halves(path: Path, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of either half of a side-by-side picture, px.

    Raises
    ------
    ChipError
        If it has no middle.
    """
    height, width = shape
    if width % 2:
        raise ChipError(
            f"{path}: picture {name} is {width} px wide, which is odd: it cannot hold two images "
            "of one size side by side"
        )
    return height, width // 2


def same_colors(
    path: Path, name: str, chip: Chip, first: tuple[Bands, Bands], here: tuple[Bands, Bands]
) -> None:
    """Refuse a pair whose class numbers mean other colours here than in the first pair.

    Raises
    ------
    ChipError
        Naming it and the number.
    """
    for values, there, other in zip((chip.x, chip.y), first, here, strict=True):
        if there.colors == other.colors:
            continue
        for value in np.unique(values).tolist():
            if there.colors.get(value) != other.colors.get(value):
                raise ChipError(
                    f"{path}: {name} has another palette than the first image of its set: class "
                    f"{value} is {_color(other, value)} here and {_color(there, value)} there; "
                    "save all with one palette, or as colours"
                )


def _color(bands: Bands, value: int) -> str:
    color: Mapping[int, object] = bands.colors
    return f"{color[value]}" if value in color else "none"
