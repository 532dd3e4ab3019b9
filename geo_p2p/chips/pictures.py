"""Pairs of plain pictures: two folders, or pictures that hold both side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from geo_p2p.chips.chip import Chip
from geo_p2p.chips.images import (
    described,
    halves,
    images_in,
    match,
    read_halves,
    read_pair,
    same_colors,
)
from geo_p2p.chips.pairs import Bidx
from geo_p2p.errors import ChipError
from geo_p2p.raster import Bands

__all__ = ["PARTS", "PicturePairs", "part_of", "parted", "side_by_side", "two_folders"]

PARTS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Parts of a split, and what the folders that hold them are called."""

Files = tuple[Path] | tuple[Path, Path]


@dataclass(frozen=True)
class PicturePairs:
    """Pictures as pairs, whole; they need no place on Earth.

    Parameters
    ----------
    path : where they lie, for messages.
    files : of each pair by its name: input and target, or one that holds both side by side.
    split : that their folders make; None if they make none.
    """

    path: Path
    files: Mapping[str, Files]
    split: Mapping[str, Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the pictures, in the order of ``files``."""
        return tuple(self.files)

    @property
    def bidx(self) -> Bidx:
        """Nothing: pictures are cut from no raster that is known."""
        return (), ()

    def picture(self, name: str) -> str:
        """The picture itself."""
        return name

    def bands(self) -> tuple[Bands, Bands]:
        """What the bands of the first pair hold."""
        return self._infos

    @cached_property
    def _infos(self) -> tuple[Bands, Bands]:
        files = self.files[self.names[0]]
        x, y = described(self.path, files[0])[1], described(self.path, files[-1])[1]
        return x, y

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of either image of a pair, px."""
        files = self.files[name]
        whole = described(self.path, files[0])[0].shape
        return whole if len(files) == 2 else halves(self.path, name, whole)

    def read(self, name: str) -> Chip:
        """Read a pair.

        Raises
        ------
        ChipError
            Naming it, if an image cannot be read, the two differ in size, or its palette is not
            that of the first.
        """
        files = self.files[name]
        if len(files) == 2:
            chip, bands = read_pair(self.path, name, files)
        else:
            chip, both = read_halves(self.path, name, files[0])
            bands = both, both
        same_colors(self.path, f"picture {name}", chip, self.bands(), bands)
        return chip


def part_of(folder: Path) -> dict[str, Path]:
    """Sub-folders that part the pictures into training, validation and test, as far as there."""
    found = {}
    for part, words in PARTS.items():
        places = [item for item in _folders(folder) if item.name.lower() in words]
        if len(places) > 1:
            names = " and ".join(place.name for place in places)
            raise ChipError(f"{folder}: {names} both seem to be for '{part}'; keep one of them")
        if places:
            found[part] = places[0]
    return found if "train" in found else {}


def _folders(folder: Path) -> list[Path]:
    return sorted(item for item in folder.iterdir() if item.is_dir())


def two_folders(path: Path, folders: tuple[Path, Path]) -> PicturePairs:
    """Pair the pictures of two folders by name; by part, where both have such sub-folders.

    Raises
    ------
    ChipError
        If one is missing, holds no pictures, or a picture has no partner.
    """
    for folder in folders:
        if not folder.is_dir():
            raise ChipError(f"{folder}: no such folder; give the folders of input and target")
    first, second = (part_of(folder) for folder in folders)
    if first.keys() != second.keys():
        odd = ", ".join(sorted(first.keys() ^ second.keys()))
        raise ChipError(f"{path}: {folders[0]} and {folders[1]} do not both have a part '{odd}'")
    if not first:
        return PicturePairs(path, dict(match(path, folders)))
    return parted(path, {part: match(path, (first[part], second[part])) for part in first})


def side_by_side(path: Path, folder: Path, told: bool) -> PicturePairs:
    """Take each picture of a folder for a pair: input left, target right; by part, if parted.

    Parameters
    ----------
    path : where the set lies, for messages.
    folder : of the pictures, or of train/ and its like.
    told : whether the user said that these are pairs; otherwise they must be twice as wide as
        high, as all sets of pix2pix are.

    Raises
    ------
    ChipError
        If there are no pictures, or they do not look like pairs.
    """
    parts = part_of(folder)
    if parts:
        found = {part: _alone(path, place) for part, place in parts.items()}
        pairs = parted(path, found)
    else:
        pairs = PicturePairs(path, _alone(path, folder))
    name = pairs.names[0]
    height, width = described(path, pairs.files[name][0])[0].shape
    if width != 2 * height and not told:
        raise ChipError(
            f"{path}: picture {name} is {width} x {height} px, but pairs side by side are twice as "
            "wide as high; give a tuple of two folders, or direction= if these are pairs indeed"
        )
    return pairs


def _alone(path: Path, folder: Path) -> dict[str, Files]:
    files = images_in(folder)
    if not files:
        raise ChipError(f"{path}: holds no images in {folder}")
    return {name: (file,) for name, file in files.items()}


def parted(path: Path, parts: Mapping[str, Mapping[str, Files]]) -> PicturePairs:
    """Join the parts of a set; their folders are its split."""
    files = {f"{part}/{name}": f for part, found in parts.items() for name, f in found.items()}
    names: dict[str, list[str]] = {
        part: [f"{part}/{name}" for name in parts.get(part, ())] for part in PARTS
    }
    kept = len(names["train"]) + len(names["val"])
    share = 100 * len(names["val"]) / kept
    how = {"method": "folders", "val_pct": share, "seed": 0, "side": 0, "buffer": 0}
    return PicturePairs(path, files, {**how, **names})
