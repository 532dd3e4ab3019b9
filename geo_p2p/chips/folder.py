"""The chip folder on disk: ArcGIS Pro's Export Tiles, and what it has no key for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from geo_p2p.chips.chip import Chip
from geo_p2p.chips.cut import SIDES
from geo_p2p.chips.own import FORMAT, GEOJSON, OWN, bands_of
from geo_p2p.errors import ChipError
from geo_p2p.raster import Bands, RasterSource

__all__ = ["ChipFolder", "foreign_files", "is_chip_folder"]

SUFFIXES = (".tif", ".tiff", ".TIF", ".TIFF")


def is_chip_folder(folder: Path) -> bool:
    """Whether a folder holds exported chips, ours or ArcGIS Pro's."""
    return all((folder / side).is_dir() for side in SIDES)


def foreign_files(folder: Path) -> list[str]:
    """Names in a chip folder that no export writes; a trained model, say."""
    ours = {*SIDES, OWN, GEOJSON, "map.txt", "stats.txt"}
    names = sorted(item.name for item in folder.iterdir())
    return [name for name in names if name not in ours and not name.startswith(("esri_", "."))]


@dataclass(frozen=True)
class ChipFolder:
    """A folder of paired chips to read: ours, or an Export Tiles folder of ArcGIS Pro.

    Parameters
    ----------
    path : the folder.
    names : of the pairs, sorted.

    See `open` for what is checked.
    """

    path: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Find the pairs of a folder; they are paired by name.

        Raises
        ------
        ChipError
            If the folder is missing, is not a chip folder, is empty, or an image has no partner;
            if its geo_p2p.json is damaged or of a newer version.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ChipError(f"{folder}: no such folder; export chips first")
        if not is_chip_folder(folder):
            raise ChipError(f"{folder}: not a chip folder, it lacks images/ and images2/")
        names = [_names(folder / side) for side in SIDES]
        orphans = sorted(names[0] ^ names[1])
        if orphans:
            lost = SIDES[1] if orphans[0] in names[0] else SIDES[0]
            raise ChipError(
                f"{folder}: {len(orphans)} chips have no partner, the first is {orphans[0]}, "
                f"missing in {lost}/; export again or remove it"
            )
        if not names[0]:
            raise ChipError(f"{folder}: holds no chips (GeoTIFF) in images/ and images2/")
        chips = cls(folder, tuple(sorted(names[0])))
        chips.bands()  # what is damaged is said here, not in the middle of a training
        return chips

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.names)

    def read(self, name: str) -> Chip:
        """Read a pair.

        Raises
        ------
        ChipError
            If the two images differ in size.
        RasterError
            If one cannot be read.
        """
        x, y = (RasterSource(self._file(side, name)) for side in SIDES)
        if x.frame.shape != y.frame.shape:
            raise ChipError(
                f"{self.path}: chip {name} is {x.frame.shape} in images/ and {y.frame.shape} px in "
                "images2/; export again"
            )
        (x_values, x_valid), (y_values, y_valid) = x.read(), y.read()
        return Chip(x_values, y_values, x_valid & y_valid, x.frame, name)

    def _file(self, side: str, name: str) -> Path:
        for suffix in SUFFIXES:
            file = self.path / side / f"{name}{suffix}"
            if file.exists():
                return file
        raise ChipError(f"{self.path}: chip {name} is gone from {side}/")

    @cached_property
    def own(self) -> Mapping[str, Any] | None:
        """The content of geo_p2p.json; None for a folder of ArcGIS Pro.

        Raises
        ------
        ChipError
            If it is damaged or of a newer version.
        """
        file = self.path / OWN
        if not file.exists():
            return None
        try:
            document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ChipError(f"{file}: written by another version of geo_p2p; update it")
            for side in ("input", "additional"):
                bands_of(document[side]["bands"])
            here = set(self.names)
            for part in ("train", "val"):
                # A pair that somebody took out since is in neither part.
                listed = document["split"][part]
                document["split"][part] = [name for name in listed if name in here]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ChipError(f"{file}: is damaged ({error}); export again") from error
        return document

    @property
    def split(self) -> Mapping[str, Any] | None:
        """The split saved with the chips, with names under "train" and "val"; None if none was."""
        return None if self.own is None else self.own["split"]

    def bands(self) -> tuple[Bands, Bands]:
        """What the two rasters' bands hold: of the rasters the chips were cut from, if known."""
        if self.own is not None:
            return bands_of(self.own["input"]["bands"]), bands_of(self.own["additional"]["bands"])
        x, y = (RasterSource(self._file(side, self.names[0])).info for side in SIDES)
        return x, y


def _names(folder: Path) -> set[str]:
    """Stems of the images in a folder; not of what macOS puts beside them (``._name.tif``)."""
    files = (file for file in folder.iterdir() if not file.name.startswith("."))
    return {file.stem for file in files if file.suffix in SUFFIXES}
