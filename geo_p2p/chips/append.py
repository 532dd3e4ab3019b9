"""A chip folder that an export goes on behind: what they must share, and which chips stay out."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import shapely
from affine import Affine

from geo_p2p.chips.chip import Source
from geo_p2p.chips.cut import SIDES
from geo_p2p.chips.esri import EsriFiles
from geo_p2p.chips.interim import PLAN
from geo_p2p.chips.outline import outlines
from geo_p2p.chips.own import GEOJSON, SPLIT_GEOJSON
from geo_p2p.chips.plan import Job
from geo_p2p.chips.reader import ChipFolder
from geo_p2p.chips.settings import ExportConfig
from geo_p2p.chips.split import PARTS, Split
from geo_p2p.errors import ChipError
from geo_p2p.raster import Bands, Frame

__all__ = ["Former", "plan_digest"]

log = logging.getLogger(__name__)

SLACK = 0.1
"""Px by which chips may overlap: outlines are rounded, and neighbours touch."""

ELSEWHERE = "export into another folder: prepare_data takes both"


@dataclass(frozen=True)
class Former:
    """A chip folder of ours, as it is before an export is appended to it.

    Parameters
    ----------
    path : the folder.
    chips : what can be read of it.
    own : content of its geo_p2p.json; the parts of the split hold only chips that are there.
    places, areas : features of chips.geojson, of the chips that are there, and of split.geojson.
    esri : its Esri files.
    """

    path: Path
    chips: ChipFolder
    own: Mapping[str, Any]
    places: Sequence[Mapping[str, Any]]
    areas: Sequence[Mapping[str, Any]]
    esri: EsriFiles

    @classmethod
    def open(cls, path: Path) -> "Former":
        """Read what a folder says of itself.

        Raises
        ------
        ChipError
            If there is no such folder, it is not of ours, or what it says of itself is damaged.
        """
        if not path.is_dir():
            raise ChipError(f"{path}: no such folder to append to; leave out append to make it")
        chips = ChipFolder.open(path)
        if chips.own is None:
            raise ChipError(
                f"{path}: has no geo_p2p.json, so it is no export of ours, and only to one can be "
                f"appended; {ELSEWHERE}"
            )
        here = set(chips.names)
        try:
            places, areas = (
                json.loads((path / name).read_text(encoding="utf-8"))["features"]
                for name in (GEOJSON, SPLIT_GEOJSON)
            )
            kept = [place for place in places if place["properties"]["name"] in here]
            former = cls(path, chips, chips.own, kept, areas, EsriFiles.read(path))
            former._understand()
        except (KeyError, OSError, TypeError, ValueError, shapely.GEOSException) as error:
            raise ChipError(
                f"{path}: is damaged, so that nothing can be appended ({error!r}); export again"
            ) from error
        return former

    def _understand(self) -> None:
        """Look for all that appending needs, before anything is cut."""
        own = self.own
        needed = [own[key] for key in ("scenes", "registration", "statistics", "versions")]
        needed += [own["split"]["common"], self.shape, self._ground, self._parts]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of its chips, px."""
        side = self.own["settings"]["tile_size"]
        return (side, side) if isinstance(side, int) else (side[1], side[0])

    @cached_property
    def _ground(self) -> tuple[list[str], shapely.STRtree]:
        """Names and outlines of the chips that have a place."""
        placed = [place for place in self.places if place["geometry"] is not None]
        shapes = shapely.from_geojson([json.dumps(place["geometry"]) for place in placed])
        return [place["properties"]["name"] for place in placed], shapely.STRtree(shapes)

    @cached_property
    def _parts(self) -> list[dict[str, str]]:
        """Part of each chip by its name: of every fold, or of the only split."""
        split = self.own["split"]
        return [
            {name: part for part in PARTS for name in table.get(part, ())}
            for table in split["folds"] or [split]
        ]

    @cached_property
    def digest(self) -> str:
        """What tells it from the same folder with other chips."""
        told = [self.chips.names, self.own, self.places, self.esri.accumulated]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def continued(self, config: ExportConfig) -> ExportConfig:
        """Settings that number chips behind the last one."""
        last = max((int(name) for name in self.chips.names if name.isdecimal()), default=-1)
        first = max(config.start_index, self.esri.accumulated["NextTileIndex"], last + 1)
        return replace(config, start_index=first)

    def require_like(self, job: Job) -> None:
        """Refuse to append chips that no training could take together with those that are here.

        Raises
        ------
        ChipError
            If bands, classes, chip size, format, reference system or folds differ.
        """
        for source, there, here in self._compared(job):
            if there != here:
                raise ChipError(
                    f"{self.path} holds {there}, and {source.name} would add {here}; {ELSEWHERE}"
                )

    def _compared(self, job: Job) -> Iterator[tuple[Source, str, str]]:
        """What must be alike, in words: of which raster, what is there, and what would come."""
        told, config = {**ExportConfig().to_json(), **self.own["settings"]}, job.config
        yield job.x, _size(self.shape), _size(config.shape)
        yield job.x, f"{told['image_format']} images", f"{config.image_format} images"
        spaces = (told["reference_system"], config.reference_system)
        yield job.x, f"chips in {spaces[0]}", f"chips in {spaces[1]}"
        for side, there, source in zip(SIDES, self.chips.bands(), (job.x, job.y), strict=True):
            yield source, f"{side} of {_bands(there)}", f"{side} of {_bands(source.info)}"
            for value in self._by_use(_values(there) | _values(source.info)):
                yield source, _class(there, value), _class(source.info, value)
        folds = told["folds"] if told["split"] == "kfold" else 0, told["fold"]
        yield (
            job.x,
            _folds(*folds),
            _folds(config.folds if config.split == "kfold" else 0, config.fold),
        )

    def _by_use(self, values: Iterable[int]) -> list[int]:
        """Classes that the chips hold first: palettes are full of colours of nothing."""
        census = self.own["statistics"].get("census", {})
        return sorted(values, key=lambda value: (str(value) not in census, value))

    def leave_out(self, split: Split, frames: Sequence[Frame]) -> Split:
        """Leave out chips that share ground with a chip of another part that is here.

        Outlines decide; images without a place share no ground.

        Parameters
        ----------
        split : of the chips that are to be appended.
        frames : where they are.

        Raises
        ------
        ChipError
            If none is left.
        """
        names, tree = self._ground
        tables = split.folds or (split.parts,)
        news, olds = tree.query(outlines([_shrunk(frame) for frame in frames]), "intersects")
        clash = {
            new
            for new, old in zip(news.tolist(), olds.tolist(), strict=True)
            if any(
                _apart(table[new], parts.get(names[old], ""))
                for table, parts in zip(tables, self._parts, strict=True)
            )
        }
        if not clash:
            return split

        def thinned(parts: tuple[str, ...]) -> tuple[str, ...]:
            return tuple("" if i in clash else part for i, part in enumerate(parts))

        left = replace(
            split, parts=thinned(split.parts), folds=tuple(thinned(fold) for fold in split.folds)
        )
        told = f"share ground with chips of another part of {self.path}"
        if not any(left.used):
            raise ChipError(f"all chips {told}, so none is left to append; split 'none' may help")
        log.warning("%d chips %s, and are left out", len(clash), told)
        return left

    def holds(self, job: Job) -> bool:
        """Whether this very job was appended last, and was interrupted while it cleaned up."""
        file = job.folder / PLAN
        appended = self.own.get("appended")
        if not appended or not file.exists():
            return False
        text = file.read_text(encoding="utf-8")
        return plan_digest(text) == appended[-1]["plan"] and _wherever(text) == _wherever(
            json.dumps(job.recipe)
        )


def plan_digest(text: str) -> str:
    """What tells a plan from others, by its file."""
    return hashlib.sha256(text.encode()).hexdigest()


def _wherever(recipe: str) -> dict[str, Any]:
    """What a plan does, whatever it is appended to."""
    plain: dict[str, Any] = json.loads(recipe)
    plain["settings"].pop("start_index")
    return {**plain, "appends": None}


def _shrunk(frame: Frame) -> Frame:
    """A frame without a rim of `SLACK` px."""
    height, width = frame.shape
    inner = Affine.translation(SLACK, SLACK) * Affine.scale(
        1 - 2 * SLACK / width, 1 - 2 * SLACK / height
    )
    return Frame(height, width, frame.transform * inner, frame.crs)


def _apart(part: str, other: str) -> bool:
    return bool(part and other) and part != other


def _size(shape: tuple[int, int]) -> str:
    return f"chips of {shape[1]} x {shape[0]} px"


def _bands(bands: Bands) -> str:
    """What must be alike of bands, but for their classes."""
    text = f"{bands.count} band{'s' if bands.count > 1 else ''} of {bands.dtype}"
    text += ", classes" if bands.categorical else ""
    scaled = zip(bands.scales, bands.offsets, strict=False)
    told = [f"{scale:g}, {offset:g}" for scale, offset in scaled if (scale, offset) != (1, 0)]
    return text + (f", scale and offset {'; '.join(told)}" if told else "")


def _values(bands: Bands) -> set[int]:
    return {*bands.colors, *bands.classes}


def _class(bands: Bands, value: int) -> str:
    name, color = bands.classes.get(value), bands.colors.get(value)
    if name is None and color is None:
        return f"no class {value}"
    # Without alpha, by which files tell nodata.
    told = (name and repr(name), color and f"colour {tuple(color[:3])}")
    return f"class {value} as {', '.join(each for each in told if each)}"


def _folds(number: int, fold: int) -> str:
    return f"fold {fold} of {number}" if number else "no folds"
