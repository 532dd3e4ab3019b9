"""The files by which ArcGIS knows a folder as Export Tiles with an additional raster.

Key by key as ArcGIS Pro 3.3 writes them, so that its tools and arcgis.learn open our chips.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from geo_p2p.chips.chip import ChipRecord, Source
from geo_p2p.chips.plan import Job
from geo_p2p.chips.stats import BandStats
from geo_p2p.raster import FORMATS

__all__ = ["ESRI", "EsriFiles", "write_esri_files"]

EMD = "esri_model_definition.emd"
ACCUMULATED = "esri_accumulated_stats.json"

ESRI = ("map.txt", "stats.txt", EMD, ACCUMULATED)
"""All of these files."""

COMMON = ("MinCellSize", "MaxCellSize", "InputRastersProps", "InputRastersProps2")
"""What two of them say of the rasters."""

PLACEHOLDERS = {
    "Framework": "e.g. TensorFlow, PyTorch, Keras",
    "ModelConfiguration": "e.g. Pix2Pix",
    "ModelType": "e.g. ImageClassification, ObjectDetection, ObjectClassification",
    "ModelFile": "e.g. model.pb",
    "Description": "e.g. A description of the model",
}
"""Keys that Pro leaves for the user to fill in."""

WELL_KNOWN = [
    *("Red", "Green", "Blue", "NearInfrared", "ShortWaveInfrared", "ShortWaveInfrared_1"),
    *("ShortWaveInfrared_2", "MiddleInfrared", "LongWaveInfrared", "Thermal", "Panchromatic"),
    *("CoastalAerosol", "RedEdge", "RedEdge_1", "RedEdge_2", "RedEdge_3", "WaterVapour"),
    *("Cirrus", "Aerosol", "PseudoRed", "PseudoBlue", "QA"),
]
"""Band names that ExtractBands understands."""


def write_esri_files(
    folder: Path,
    job: Job,
    records: Sequence[ChipRecord],
    stats: tuple[BandStats, BandStats],
) -> None:
    """Write map.txt, stats.txt, the .emd and the accumulated statistics.

    Parameters
    ----------
    folder : the chip folder.
    job : what the chips were cut from.
    records : the chips that were written, in order.
    stats : of all their valid pixels, of either raster.
    """
    suffix = FORMATS[job.config.image_format].suffix
    images = [f"{record.name}{suffix}" for record in records]
    _write_texts(folder, images, job.x.info.count, job.config.shape)
    _write_json(folder / EMD, _definition(job, stats))
    _write_json(folder / ACCUMULATED, _accumulated(job, records, stats))


def _definition(job: Job, stats: tuple[BandStats, BandStats]) -> dict[str, Any]:
    """What the .emd says of the rasters, and what a model of them would fill in."""
    height, width = job.config.shape
    return {
        **PLACEHOLDERS,
        "ImageHeight": height,
        "ImageWidth": width,
        "ExtractBands": "e.g. [0, 1, 2]",
        "DataRange": "e.g. [0, 1]",
        "ModelPadding": "e.g. 64",
        "BatchSize": "e.g. 8",
        "PerProcessGPUMemoryFraction": "e.g. 0.5",
        "BlackenAroundFeature": False,
        "IsMultidimensional": False,
        "CropTileMode": "Fixed_Size",
        "ImageSpaceUsed": job.config.reference_system,
        **_common(job),
        "AllTilesStats": _all_tiles(_band_names(job.x), stats[0]),
        "AllTilesStats2": _all_tiles(_band_names(job.y), stats[1]),
        "WellKnownBandNames (FYI, these band names can be used in ExtractBands)": WELL_KNOWN,
    }


def _accumulated(
    job: Job, records: Sequence[ChipRecord], stats: tuple[BandStats, BandStats]
) -> dict[str, Any]:
    """What Pro needs to go on behind the last chip."""
    height, width = job.config.shape
    return {
        "Version": 1,
        "NumBands": job.x.info.count,
        "TileSizeX": width,
        "TileSizeY": height,
        "NumClasses": 0,
        "NumTiles": len(records),
        "NumTilesAsDouble": float(len(records)),
        "NextTileIndex": int(records[-1].name) + 1,
        "OutputFeatures": True,
        **_common(job),
        "FeatureStats": _feature_stats(),
        "BandStatsState": _welford(stats[0]),
        "BandStatsState2": _welford(stats[1]),
    }


@dataclass(frozen=True)
class EsriFiles:
    """What Esri's files of a folder of ours say: of them, Esri knows where to go on."""

    emd: Mapping[str, Any]
    accumulated: Mapping[str, Any]
    stats: tuple[BandStats, BandStats]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read them.

        Raises
        ------
        KeyError, OSError, TypeError, ValueError
            If they are not there, or not as we write them.
        """
        emd, accumulated = (
            json.loads((folder / name).read_text(encoding="utf-8-sig"))
            for name in (EMD, ACCUMULATED)
        )
        for key in (*COMMON, "AllTilesStats", "AllTilesStats2"):
            emd[key]
        for key in ("NextTileIndex", "NumTiles", "NumBands", "TileSizeX", "TileSizeY"):
            int(accumulated[key])
        x, y = (_state(accumulated[key]) for key in ("BandStatsState", "BandStatsState2"))
        return cls(emd, accumulated, (x, y))

    def write_joined(
        self,
        folder: Path,
        other: Self,
        images: Sequence[str],
        stats: tuple[BandStats, BandStats],
    ) -> None:
        """Write the files of a folder that holds the chips of two; those of the first come first.

        Parameters
        ----------
        folder : the joined folder.
        other : files of the second.
        images : names of the files of either side, in order.
        stats : of all their valid pixels.
        """
        told = self.accumulated
        shape = told["TileSizeY"], told["TileSizeX"]
        _write_texts(folder, images, told["NumBands"], shape)
        common = {key: _joined(key, self.emd[key], other.emd[key]) for key in COMMON}
        tiles = {
            key: _all_tiles([band["BandName"] for band in self.emd[key]], state)
            for key, state in zip(("AllTilesStats", "AllTilesStats2"), stats, strict=True)
        }
        _write_json(folder / EMD, {**self.emd, **common, **tiles})
        counts = {
            "NumTiles": len(images),
            "NumTilesAsDouble": float(len(images)),
            "NextTileIndex": other.accumulated["NextTileIndex"],
            "BandStatsState": _welford(stats[0]),
            "BandStatsState2": _welford(stats[1]),
        }
        _write_json(folder / ACCUMULATED, {**told, **common, **counts})


def _joined(key: str, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """What is true of the rasters of two exports: their number, or the range of their pixels."""
    if key.startswith("InputRastersProps"):
        return {**first, "RasterCount": first["RasterCount"] + second["RasterCount"]}
    if first["spatialReference"] != second["spatialReference"]:
        return first  # metres and degrees do not compare
    choose = min if key == "MinCellSize" else max
    return {**first, **{axis: choose(first[axis], second[axis]) for axis in ("x", "y")}}


def _write_texts(folder: Path, images: Sequence[str], bands: int, shape: tuple[int, int]) -> None:
    """Write map.txt and stats.txt."""
    lines = [f"images\\{image} images2\\{image} \r\n" for image in images]
    _write(folder / "map.txt", "".join(lines))
    _write(folder / "stats.txt", _stats_text(len(images), bands, shape))


def _write(path: Path, text: str) -> None:
    """Write text as it stands: line ends are part of these formats."""
    path.write_text(text, encoding="utf-8", newline="")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    _write(path, json.dumps(document, indent=2, allow_nan=False))


def _stats_text(count: int, bands: int, shape: tuple[int, int]) -> str:
    lines = [
        f"images = {count} *{bands}*{shape[0]}*{shape[1]}",
        "",
        "Class feature statistics:",
        "features = 0",
        "features per image = [min = 0, mean = 0.00, max = 0]",
        "classes = 0",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _common(job: Job) -> dict[str, Any]:
    """Keys that the .emd and the accumulated statistics share."""
    x, y = job.x, job.y
    code = x.frame.crs.to_epsg() or 0
    cell = {
        "x": x.frame.res[0],
        "y": x.frame.res[1],
        "spatialReference": {"wkid": code, "latestWkid": code},
    }
    return {
        "MetaDataMode": "Export_Tiles",
        "MinCellSize": cell,
        "MaxCellSize": cell,
        "InputRastersProps": _props(x),
        "InputRastersProps2": _props(y),
    }


def _props(source: Source) -> dict[str, Any]:
    return {
        "RasterCount": len(source.paths),
        "SensorName": "Undefined",
        "BandNames": _band_names(source),
    }


def _band_names(source: Source) -> list[str]:
    """Empty for 8-bit colour, which arcgis.learn takes for RGB by that; else what is known."""
    info = source.info
    if info.dtype == "uint8" and info.count == 3:
        return ["", "", ""]
    names = info.names or ("",) * info.count
    return [name or f"Band_{i}" for i, name in enumerate(names, 1)]


def _all_tiles(names: Sequence[str], stats: BandStats) -> list[dict[str, Any]]:
    rows = zip(
        names,
        stats.low.tolist(),
        stats.high.tolist(),
        stats.mean.tolist(),
        stats.sd.tolist(),
        strict=True,
    )
    keys = ("BandName", "Min", "Max", "Mean", "StdDev")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _welford(stats: BandStats) -> list[dict[str, float]]:
    """Welford's state as Esri keeps it: the mean is M1, the sd is sqrt(M2 / (Num - 1))."""
    rows = zip(*(v.tolist() for v in (stats.low, stats.high, stats.mean, stats.m2)), strict=True)
    return [
        {"Min": low, "Max": high, "Mean": 0, "StdDev": 0, "M1": m1, "M2": m2, "Num": stats.count}
        for low, high, m1, m2 in rows
    ]


def _state(bands: Sequence[Mapping[str, float]]) -> BandStats:
    """Read what `_welford` gave."""
    rows = np.array([[band[key] for key in ("Min", "Max", "M1", "M2")] for band in bands], float)
    return BandStats(int(bands[0]["Num"]), *rows.T)


def _feature_stats() -> dict[str, Any]:
    return {
        "NumClasses": 0,
        "NumImagesTotal": 0,
        "NumFeaturesTotal": 0,
        "NumImagesPerClass": [],
        "NumFeaturesPerClass": [],
        "NumFeaturesPerImage": {"Min": 0, "Max": 0, "Mean": 0, "Sum": 0, "Count": 0},
        "FeatureAreaPerClass": [],
    }
