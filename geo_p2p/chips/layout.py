"""Recognise what a path holds, and open it as pairs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geo_p2p.chips.images import images_in, match
from geo_p2p.chips.live import SETTINGS, RasterPairs, cut
from geo_p2p.chips.pairs import Pairs
from geo_p2p.chips.pictures import PicturePairs, part_of, parted, side_by_side, two_folders
from geo_p2p.chips.reader import ChipFolder, target_side
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.several import join
from geo_p2p.chips.views import Patches, Swapped
from geo_p2p.errors import ChipError

__all__ = ["DATASETS", "DIRECTIONS", "ReadConfig", "Where", "open_pairs"]

Place = str | Path | tuple[str | Path, str | Path]
"""A folder, a raster, or the two of input and target."""

Where = Place | Sequence[Place]
"""One set of pairs; or a list of them, as one."""

DIRECTIONS = ("AtoB", "BtoA")
"""From the first image of a pair to the second, or back."""

DATASETS: Mapping[str, str | None] = {
    "Pix2Pix": "images2",
    "Export_Tiles": "images2",
    "Classified_Tiles": "labels",
    "CycleGAN": None,
}
"""arcgis.learn's names of data sets that hold pairs, and the folder of their targets, if told."""

PATCH = 256
"""Side of the patches that larger pictures are cut into, px."""

TWO = re.compile(r"(?:train_?)?a", re.IGNORECASE)
"""Names of the input's folder: A, trainA, train_a; the target's ends in b."""


@dataclass(frozen=True)
class ReadConfig:
    """How a set of pairs is read.

    Parameters
    ----------
    additional : the additional raster, where the path is a raster and nothing was exported.
    direction : "AtoB" (from the first image of a pair to the second: from images/, the left half,
        the input raster) or "BtoA"; None for "AtoB".
    chip_size : side of the chips in px. Chips that were exported stay as they are if None;
        pictures are cut into patches of 256 px, or of their shorter side if that is less.
    stride : px from one patch to the next. None: the chip size for pictures and chips, half of it
        for two rasters, as `ExportConfig` has it.
    resize_to : side in px that every chip or picture is resized to, square, before it is cut.
    dataset_type : one of `DATASETS`; None to recognise it.
    fold : of chips that were split into folds, the one to validate on, from 0.
    export : for two rasters, fields of `ExportConfig` in `geo_p2p.chips.live.SETTINGS`, val_pct
        and seed.

    Raises
    ------
    ChipError
        For a setting nothing can have.
    """

    additional: str | Path | None = None
    direction: str | None = None
    chip_size: int | None = None
    stride: int | None = None
    resize_to: int | None = None
    dataset_type: str | None = None
    fold: int | None = None
    export: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what nothing can have."""
        if self.direction not in (None, *DIRECTIONS):
            raise ChipError(f"direction {self.direction!r}: choose one of {', '.join(DIRECTIONS)}")
        if self.dataset_type not in (None, *DATASETS):
            raise ChipError(
                f"dataset_type {self.dataset_type!r} is not of pairs: choose one of "
                f"{', '.join(DATASETS)}, or leave it out"
            )
        for name in ("chip_size", "stride", "resize_to"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value > 0):
                raise ChipError(f"{name} {value!r}: give a whole number of px, at least 1")


def open_pairs(path: Where, config: ReadConfig | None = None, **settings: Any) -> Pairs:
    """Open whatever holds pairs.

    Parameters
    ----------
    path : one of

        - a folder that `export_chips` or ArcGIS Pro wrote: images/ with images2/ (Export Tiles)
          or labels/ (Classified Tiles: labels are classes);
        - a folder of two folders of pictures, paired by name: A/ and B/, also trainA/ and trainB/
          or Images/train_a/ and Images/train_b/; a tuple of two folders serves too;
        - a folder of pictures that each hold a pair side by side, as pix2pix has them;
        - either of these in train/, val/ and test/, which then are the split;
        - a raster, with ``additional``, or a tuple of two rasters: chips are cut into memory;
        - a list of these: several sets as one.
    config : how to read it.
    **settings : fields of `ReadConfig`, in place of ``config``.

    Returns
    -------
    Pairs
        Nothing is written beside what is read.

    Raises
    ------
    ChipError
        Saying what was looked for and not found; or naming images without partner, too small,
        or not readable.
    RasterError, AlignmentError
        For two rasters: see `geo_p2p.chips.live.cut`.
    """
    config = ReadConfig(**settings) if config is None else config
    if not isinstance(path, str | Path | tuple):
        if not path:
            raise ChipError("no folder named: give at least one set of pairs")
        sets = [open_pairs(each, config) for each in path]
        return sets[0] if len(sets) == 1 else join(sets)
    found = _found(path, config)
    idle = config.export.keys() & set(SETTINGS)
    if idle and not isinstance(found, RasterPairs):
        raise ChipError(
            f"{found.path}: {', '.join(sorted(idle))}: for chips that are cut from two rasters; "
            "these are cut already"
        )
    pairs: Pairs = Swapped(found) if config.direction == "BtoA" else found
    return _cut(pairs, found, config)


def _found(path: str | Path | tuple[Any, ...], config: ReadConfig) -> Pairs:
    """Open a set as it lies there."""
    if isinstance(path, str | Path):
        place, additional = Path(path), config.additional
        if additional is None:
            return _folder(place, config)
        return cut(path, additional, _export(config))
    if len(path) != 2 or config.additional is not None:
        raise ChipError(
            f"a tuple of {len(path)} is not of input and target: give two, without additional=; "
            "several sets are a list"
        )
    first, second = map(Path, path)
    if first.is_file() and second.is_file():
        return cut(path[0], path[1], _export(config))
    return two_folders(first, (first, second))


def _export(config: ReadConfig) -> ExportConfig:
    """Settings of an export that make the chips asked for."""
    unknown = config.export.keys() - {*SETTINGS, "val_pct", "seed"}
    if unknown:
        raise ChipError(
            f"chips cut on the fly know no {', '.join(sorted(unknown))}; export_chips does"
        )
    sizes = {"tile_size": config.chip_size, "stride": config.stride}
    given = {name: size for name, size in sizes.items() if size is not None}
    return ExportConfig(**{**given, **config.export})


def _folder(path: Path, config: ReadConfig) -> Pairs:
    """Recognise a folder by what lies in it."""
    if path.is_file():
        raise ChipError(f"{path}: a file; to cut chips from a raster, name the other: additional=")
    if not path.is_dir():
        raise ChipError(f"{path}: no such folder; export chips first")
    told = DATASETS[config.dataset_type] if config.dataset_type else None
    if target_side(path):
        return ChipFolder.open(path, _target(path, told), config.fold)
    two = _two(path) or _two(_inside(path, "images"))
    if two is not None:
        return two_folders(path, two)
    parts = part_of(path)
    halves = [_two(place) for place in parts.values()]
    if parts and all(halves):
        found = {part: match(path, two) for part, two in zip(parts, halves, strict=True) if two}
        return parted(path, found)
    if parts or images_in(path):
        return side_by_side(path, path, config.direction is not None)
    if any(path.glob("*.emd")):
        raise ChipError(
            f"{path}: holds a card (.emd) but no images/: a model, or chips without their images; "
            "give a folder of chips"
        )
    raise ChipError(
        f"{path}: holds no pairs: looked for images/ with images2/ or labels/, A/ with B/, "
        "Images/train_a/ with train_b/, and pictures that hold a pair side by side, also in "
        "train/, val/ and test/; none is there (two folders of other names: give a tuple of them)"
    )


def _target(path: Path, told: str | None) -> str | None:
    """Which folder holds the targets; with labels/ alone, Export_Tiles of Esri has them there."""
    return told if told == "labels" or (told and (path / told).is_dir()) else None


def _inside(path: Path, name: str) -> Path | None:
    """Find a sub-folder, in whatever case it is written."""
    return next((p for p in sorted(path.iterdir()) if p.is_dir() and p.name.lower() == name), None)


def _two(path: Path | None) -> tuple[Path, Path] | None:
    """Find the folders of input and target, A and B; None if there are no such two.

    Esri's CycleGAN has an export in either: then the pictures are in its images/.
    """
    if path is None:
        return None
    for first in sorted(item for item in path.iterdir() if item.is_dir()):
        second = _inside(path, f"{first.name[:-1]}b".lower())
        if TWO.fullmatch(first.name) and second is not None:
            return _inside(first, "images") or first, _inside(second, "images") or second
    return None


def _cut(pairs: Pairs, found: Pairs, config: ReadConfig) -> Pairs:
    """Cut or resize what is not of the size asked for."""
    size, resize = config.chip_size, config.resize_to
    if isinstance(found, RasterPairs):
        size = None  # they were cut to size
    elif size is None and resize is None and isinstance(found, PicturePairs):
        size = min(PATCH, *pairs.shape(pairs.names[0]))
    elif size is None and config.stride is not None:
        raise ChipError(f"{pairs.path}: chips stay as they are; stride= goes with chip_size=")
    if resize is None and all(pairs.shape(name) == (size, size) for name in pairs.names):
        size = None
    if size is None and resize is None:
        return pairs
    return Patches(pairs, size, config.stride, resize)
