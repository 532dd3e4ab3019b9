"""What Esri's files have no key for: ``geo_p2p.json``, and maps of the chips and of the split."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geo_p2p.chips.chip import ChipRecord, Source
from geo_p2p.chips.outline import area_collection, feature_collection, qgis_style
from geo_p2p.chips.plan import Job
from geo_p2p.chips.split import PARTS, Split, split_areas
from geo_p2p.raster import Bands, Frame
from geo_p2p.version import versions

__all__ = [
    "FORMAT",
    "GEOJSON",
    "OURS",
    "OWN",
    "SPLIT_GEOJSON",
    "bands_of",
    "write_json",
    "write_own_files",
]

FORMAT = 1
"""Version of geo_p2p.json."""

OWN = "geo_p2p.json"
GEOJSON = "chips.geojson"
SPLIT_GEOJSON = "split.geojson"

OURS = (OWN, GEOJSON, SPLIT_GEOJSON, "chips.qml", "split.qml")
"""All of our own files in a chip folder."""


def write_own_files(
    folder: Path,
    job: Job,
    records: Sequence[ChipRecord],
    split: Split,
    statistics: Mapping[str, Any],
) -> None:
    """Write our own files of a chip folder.

    Parameters
    ----------
    folder : the chip folder.
    job : what the chips were cut from.
    records : all chips that were cut; those that no part uses are not described.
    split : of all of them.
    statistics : of the training chips.
    """
    parts = {r.name: part for r, part in zip(records, split.parts, strict=True)}
    frame = job.x.frame
    document = {
        "format": FORMAT,
        "settings": job.config.to_json(),
        "input": _describe(job.x),
        "additional": {**_describe(job.y), "resampling": job.y.method},
        "crs": frame.crs.to_wkt(),
        "pixel_size": frame.res,
        "scenes": {name: _lattice(frame) for name, frame in job.frames.items()},
        "registration": dict(job.registration),
        "split": _split(split, records),
        "statistics": dict(statistics),
        "versions": versions(),
    }
    write_json(folder / OWN, document, indent=2)
    kept = [record for record, used in zip(records, split.used, strict=True) if used]
    write_json(folder / GEOJSON, feature_collection(kept, parts, job.frames))
    windows, scenes = [r.window for r in records], [r.scene for r in records]
    areas = split_areas(split, windows, job.frames, scenes)
    write_json(folder / SPLIT_GEOJSON, area_collection(areas))
    for name in (GEOJSON, SPLIT_GEOJSON):  # QGIS takes a style of the same name by itself
        (folder / name).with_suffix(".qml").write_text(qgis_style(), encoding="utf-8")


def _split(split: Split, records: Sequence[ChipRecord]) -> dict[str, Any]:
    """Describe a split; with folds, the chips that each of them validates on."""
    names = [record.name for record in records]

    def of(part: str, parts: Sequence[str]) -> list[str]:
        return [name for name, its in zip(names, parts, strict=True) if its == part]

    return {
        "summary": str(split),
        "method": split.method,
        "val_pct": split.val_pct,
        "test_pct": split.test_pct,
        "seed": split.seed,
        "side": split.side,
        "buffer": split.buffer,
        "common": split.common,
        "nearest": split.nearest,
        "blocks": [block.flatten() for block in split.blocks],
        **{part: of(part, split.parts) for part in PARTS},
        "fold": split.fold if split.folds else None,
        "folds": [{"train": of("train", f), "val": of("val", f)} for f in split.folds],
    }


def write_json(path: Path, document: Mapping[str, Any], indent: int | None = None) -> None:
    """Write a document, of which numbers that JSON does not know are no part."""
    text = json.dumps(document, indent=indent, allow_nan=False)
    path.write_text(text, encoding="utf-8", newline="")


def _lattice(frame: Frame) -> dict[str, Any]:
    return {
        "shape": frame.shape,
        "transform": list(frame.transform[:6]),
        "crs": frame.crs.to_wkt(),
    }


def _describe(source: Source) -> dict[str, Any]:
    """What a source is, for JSON; NaN and infinite nodata as text."""
    plain = asdict(source.info)
    if plain["nodata"] is not None and not math.isfinite(plain["nodata"]):
        plain["nodata"] = str(plain["nodata"])
    return {"paths": list(source.paths), "bidx": source.bands, "bands": plain}


def bands_of(plain: Mapping[str, Any]) -> Bands:
    """Read what is written of the bands of a raster."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}
    fields["colors"] = {int(value): tuple(color) for value, color in plain["colors"].items()}
    fields["classes"] = {int(value): name for value, name in plain["classes"].items()}
    if isinstance(fields["nodata"], str):
        fields["nodata"] = float(fields["nodata"])
    return Bands(**fields)
