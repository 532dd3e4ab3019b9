"""``geo-p2p info``: what a path holds."""

import math
from pathlib import Path
from typing import Any

import click

from geo_p2p.raster import Bands, RasterSource

from . import options, output


@click.command()
@click.argument("path")
@options.json
def info(path: str, as_json: bool) -> None:
    """Tell what PATH is: a raster, a folder of chips, or a model."""
    if Path(path).suffix == ".emd" or Path(path).is_dir():
        record = folder_record(Path(path))
    elif Path(path).suffix == ".dlpk":
        record = model_record(Path(path))
    else:
        record = raster_record(RasterSource(path))
    if not as_json and "scores" in record:
        record["scores"] = output.brief(record["scores"])
    output.show(record, as_json=as_json)


def raster_record(src: RasterSource) -> dict[str, Any]:
    """Return what there is to say of a raster without reading a pixel."""
    frame = src.frame
    return {
        "path": src.name,
        "kind": "raster",
        "width": frame.width,
        "height": frame.height,
        "crs": frame.crs_name,
        "res": frame.res,
        "bounds": frame.bounds,
        **bands_record(src.info),
    }


def bands_record(bands: Bands) -> dict[str, object]:
    """Return what there is to say of a raster's bands."""
    nodata = "nan" if bands.nodata is not None and math.isnan(bands.nodata) else bands.nodata
    named = zip(
        bands.names or [""] * bands.count,
        bands.units or [""] * bands.count,
        bands.interp or [""] * bands.count,
        strict=True,
    )
    return {
        "count": bands.count,
        "dtype": bands.dtype,
        "nodata": nodata,
        "classes": bands.categorical,
        "bands": [{"name": name, "unit": unit, "interp": interp} for name, unit, interp in named],
    }


def folder_record(path: Path) -> dict[str, Any]:
    """Return what there is to say of a chip folder or a model; they tell each other by files."""
    from geo_p2p.chips import ChipFolder
    from geo_p2p.chips.reader import target_side

    folder = path.parent if path.suffix == ".emd" else path
    return chips_record(ChipFolder.open(folder)) if target_side(folder) else model_record(path)


def chips_record(folder: Any) -> dict[str, Any]:
    """Return what there is to say of a `ChipFolder`; one of ArcGIS Pro has no split."""
    own, split = folder.own or {}, folder.split or {}
    first = folder.read(folder.names[0])
    image, image2 = folder.bands()
    return {
        "path": folder.path,
        "kind": "chips",
        "chips": len(folder),
        "train": len(split["train"]) if split else None,
        "val": len(split["val"]) if split else None,
        "tile_size": first.frame.width,
        "stride": own["settings"]["stride"] if own else None,
        "crs": first.frame.crs_name,
        "res": first.frame.res,
        "input": bands_record(image),
        "target": bands_record(image2),
    }


def model_record(path: Path) -> dict[str, Any]:
    """Return what a model's card says."""
    from geo_p2p.model_file import load_card

    card = load_card(path)
    return {
        "path": path,
        "kind": "model",
        "recipe": card.provenance.get("config", {}).get("recipe"),
        "network": card.network,
        "arguments": card.arguments,
        "size": card.size,
        "stride": card.stride,
        "halo": card.halo,
        "tile_safe": card.tile_safe,
        "crs": card.crs,
        "res": card.pixel_size,
        "bidx": card.bands or None,
        "input": scaling_record(card.input),
        "target": scaling_record(card.target),
        "epochs": card.provenance.get("epochs"),
        "scores": card.metrics,
        **confidence_record(card.confidence),
    }


def confidence_record(sure: Any) -> dict[str, Any]:
    """Return what a model's intervals held, where that was tried; nothing for one without."""
    if sure is None:
        return {}
    held = sure.told(sure.coverage)
    return {"confidence": {"held": held, "pixels": sure.pixels[1], "blocks": sure.blocks[1]}}


def scaling_record(scaling: Any) -> dict[str, Any]:
    """Return what a model takes or gives, by its `Scaling`: classes, or values in a range."""
    kinds = {"classes": {c.value: c.name for c in scaling.classes}} if scaling.classes else {}
    ranges = {} if scaling.classes else {"low": scaling.low, "high": scaling.high}
    return {"count": scaling.count, "dtype": scaling.dtype, **ranges, **kinds}
