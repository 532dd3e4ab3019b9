"""Read the chip folder: ours, or an Export Tiles or Classified Tiles folder of ArcGIS Pro."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from rasterio.crs import CRS
from rasterio.errors import CRSError

from geo_p2p.chips.chip import Chip
from geo_p2p.chips.cut import SIDES
from geo_p2p.chips.images import described, match, read_pair, same_colors
from geo_p2p.chips.own import FORMAT, GEOJSON, OWN, bands_of
from geo_p2p.chips.pairs import Bidx
from geo_p2p.errors import ChipError
from geo_p2p.raster import Bands

__all__ = ["ChipFolder", "as_classes", "target_side"]

TARGETS = (SIDES[1], "labels")
"""Folders that may hold the targets: of Export Tiles, and of Classified Tiles."""

EMD = "esri_model_definition.emd"

ESRI_CODES = 32_767
"""Codes above it are Esri's own, not EPSG's."""


def target_side(folder: Path) -> str | None:
    """Name the folder beside images/ that holds the targets; None where there is none."""
    if not (folder / SIDES[0]).is_dir():
        return None
    return next((side for side in TARGETS if (folder / side).is_dir()), None)


@dataclass(frozen=True)
class ChipFolder:
    """A folder of paired chips to read: ours, or one of ArcGIS Pro 2.x or 3.x.

    Chips are TIFF, PNG or JPEG; a PNG or JPEG without an .aux.xml is placed by its world file and
    the CRS that geo_p2p.json or the .emd names, that of its scene if scenes differ in it. Pairs go
    by name: neither map.txt nor the statistics are read, since old exports have wrong lines in the
    first and lack the second.

    Parameters
    ----------
    path : the folder.
    names : of the pairs, sorted.
    target : folder of the targets, "images2" or "labels"; labels are classes.
    fold : which fold of a k-fold split validates; None for the one chosen at the export.

    See `open` for what is checked.
    """

    path: Path
    names: tuple[str, ...]
    target: str = SIDES[1]
    fold: int | None = None

    @classmethod
    def open(cls, path: str | Path, target: str | None = None, fold: int | None = None) -> Self:
        """Find the pairs of a folder; they are paired by name.

        Parameters
        ----------
        path : the folder.
        target : folder of the targets; None for images2/ if there is one, else labels/.
        fold : which fold validates, from 0; None for the one chosen at the export.

        Raises
        ------
        ChipError
            If the folder is missing, is not a chip folder, is empty, or an image has no partner;
            if its geo_p2p.json is damaged or of a newer version; if it has no such fold.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise ChipError(f"{folder}: no such folder; export chips first")
        side = target_side(folder) if target is None else target
        if side is None or not all((folder / each).is_dir() for each in (SIDES[0], side)):
            wanted = " or ".join(f"{each}/" for each in (TARGETS if side is None else (side,)))
            raise ChipError(f"{folder}: not a chip folder, it lacks images/ with {wanted}")
        names = sorted(match(folder, (folder / SIDES[0], folder / side)))
        chips = cls(folder, tuple(names), side, fold)
        chips.bands()  # what is damaged is said here, not in the middle of a training
        chips._require_fold()
        return chips

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.names)

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Path]]:
        return match(self.path, (self.path / SIDES[0], self.path / self.target))

    def _present(self, name: str) -> tuple[Path, Path]:
        """Find the files of a pair, which somebody may have removed since."""
        files = self._files[name]
        for file in files:
            if not file.exists():
                raise ChipError(f"{self.path}: chip {name} is gone from {file.parent.name}/")
        return files

    def read(self, name: str) -> Chip:
        """Read a pair.

        Raises
        ------
        ChipError
            Naming it, if an image cannot be read, the two differ in size, or its palette is not
            that of the first.
        """
        files = self._present(name)
        chip, bands = read_pair(self.path, name, files, self._crs_of(name))
        if self.own is None:
            same_colors(self.path, f"chip {name}", chip, self.bands(), bands)
        return chip

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a pair, px, without decoding it."""
        return described(self.path, self._present(name)[0])[0].shape

    def picture(self, name: str) -> str:
        """The picture a chip was cut from: where chips have no place, each is its own."""
        return name

    @cached_property
    def own(self) -> Mapping[str, Any] | None:
        """The content of geo_p2p.json; None for a folder of ArcGIS Pro.

        Raises
        ------
        ChipError
            If it is damaged or of a newer version.
        """
        file = self.path / OWN
        if not file.exists() or self.target != SIDES[1]:
            return None
        try:
            document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ChipError(f"{file}: written by another version of geo_p2p; update it")
            for side in ("input", "additional"):
                bands_of(document[side]["bands"])
            for table in (document["split"], *document["split"].get("folds", ())):
                self._keep_present(table)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ChipError(f"{file}: is damaged ({error}); export again") from error
        return document

    def _keep_present(self, table: dict[str, Any]) -> None:
        """Take out of the parts what somebody took out of the folder since."""
        here = set(self.names)
        for part in ("train", "val", *({"test"} & table.keys())):
            table[part] = [name for name in table[part] if name in here]

    def _require_fold(self) -> None:
        folds = (self.split or {}).get("folds", ())
        if self.fold is not None and not 0 <= self.fold < len(folds):
            raise ChipError(
                f"{self.path}: has no fold {self.fold}, but {len(folds)} folds; export with split "
                "'kfold' for some"
            )

    @property
    def split(self) -> Mapping[str, Any] | None:
        """The split saved with the chips, with names under "train" and "val"; None if none was."""
        if self.own is None:
            return None
        split: dict[str, Any] = self.own["split"]
        if self.fold is None or self.fold >= len(split.get("folds", ())):
            return split
        return {**split, **split["folds"][self.fold], "fold": self.fold}

    @property
    def bidx(self) -> Bidx:
        """Which bands of the two rasters the chips hold; empty for all, or where unknown."""
        settings = {} if self.own is None else self.own.get("settings", {})
        x, y = (tuple(settings.get(key) or ()) for key in ("bidx", "additional_bidx"))
        return x, y

    def bands(self) -> tuple[Bands, Bands]:
        """What the two rasters' bands hold: of the rasters the chips were cut from, if known."""
        return self._infos

    @cached_property
    def _infos(self) -> tuple[Bands, Bands]:
        if self.own is not None:
            return bands_of(self.own["input"]["bands"]), bands_of(self.own["additional"]["bands"])
        x, y = (described(self.path, file)[1] for file in self._files[self.names[0]])
        return x, y if self.target == SIDES[1] else as_classes(y)

    def _crs_of(self, name: str) -> CRS | None:
        """What the world file of a chip is in: an image that needs one carries no CRS itself."""
        return self._crs if self._crs_by_name is None else self._crs_by_name.get(name)

    @cached_property
    def _crs_by_name(self) -> Mapping[str, CRS] | None:
        """CRS of each chip where they were cut from scenes of several; None where there is one."""
        scenes = {} if self.own is None else self.own.get("scenes", {})
        told = {scene: lattice["crs"] for scene, lattice in scenes.items()}
        if len(set(told.values())) < 2:
            return None
        # A chip of which nothing is known has no CRS, rather than that of another scene.
        with suppress(OSError, KeyError, TypeError, ValueError, CRSError):
            known = {scene: CRS.from_wkt(wkt) for scene, wkt in told.items()}
            places = json.loads((self.path / GEOJSON).read_text(encoding="utf-8"))["features"]
            about = [place["properties"] for place in places]
            return {each["name"]: known[each["scene"]] for each in about}
        return {}

    @cached_property
    def _crs(self) -> CRS | None:
        """CRS of a folder that has only one."""
        if self.own is not None:
            with suppress(CRSError):
                return CRS.from_user_input(self.own.get("crs"))
        # Of the .emd nothing else is needed: where it does not tell, nothing is lost but that.
        with suppress(OSError, AttributeError, KeyError, TypeError, ValueError, CRSError):
            emd = json.loads((self.path / EMD).read_text(encoding="utf-8-sig"))
            reference = emd["MinCellSize"]["spatialReference"]
            if "wkt" in reference:
                return CRS.from_wkt(reference["wkt"])
            code = int(reference.get("latestWkid") or reference["wkid"])
            return CRS.from_user_input(f"{'ESRI' if code > ESRI_CODES else 'EPSG'}:{code}")
        return None


def as_classes(bands: Bands) -> Bands:
    """Take values of one band for class numbers, whatever the file says of their colour."""
    if bands.count != 1 or bands.categorical:
        return bands
    return replace(bands, interp=("palette",))
