"""``geo_p2p.json`` and ``chips.geojson``: what Esri's files have no key for."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geo_p2p.chips.chip import ChipRecord, Source
from geo_p2p.chips.outline import feature_collection
from geo_p2p.chips.plan import Job
from geo_p2p.chips.split import Split
from geo_p2p.raster import Bands, Frame
from geo_p2p.version import versions

__all__ = ["FORMAT", "GEOJSON", "OWN", "bands_of", "write_own_files"]

FORMAT = 1
"""Version of geo_p2p.json."""

OWN = "geo_p2p.json"
GEOJSON = "chips.geojson"


def write_own_files(
    folder: Path,
    job: Job,
    records: Sequence[ChipRecord],
    split: Split,
    statistics: Mapping[str, Any],
) -> None:
    """Write both files of a chip folder.

    Parameters
    ----------
    folder : the chip folder.
    job : what the chips were cut from.
    records : the chips that are kept.
    split : of all chips; those of no part are not kept.
    statistics : of the training chips.
    """
    kept = [part for part in split.parts if part]
    parts = dict(zip((record.name for record in records), kept, strict=True))
    frame = job.x.frame
    document = {
        "format": FORMAT,
        "settings": job.config.to_json(),
        "input": _describe(job.x),
        "additional": {**_describe(job.y), "resampling": job.y.method},
        "crs": frame.crs.to_wkt(),
        "pixel_size": frame.res,
        "scenes": {name: _lattice(frame) for name, frame in job.frames.items()},
        "split": {
            "summary": str(split),
            "method": split.method,
            "val_pct": split.val_pct,
            "seed": split.seed,
            "side": split.side,
            "buffer": split.buffer,
            "blocks": [block.flatten() for block in split.blocks],
            "train": [name for name, part in parts.items() if part == "train"],
            "val": [name for name, part in parts.items() if part == "val"],
        },
        "statistics": dict(statistics),
        "versions": versions(),
    }
    _write_json(folder / OWN, document, indent=2)
    _write_json(folder / GEOJSON, feature_collection(records, parts, job.frames))


def _write_json(path: Path, document: Mapping[str, Any], indent: int | None = None) -> None:
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
