"""``geo-p2p info``: what a path holds."""

import math

import click

from geo_p2p.raster import RasterSource

from . import options, output


@click.command()
@click.argument("path")
@options.json
def info(path: str, as_json: bool) -> None:
    """Tell what PATH is: where its pixels lie and what its bands hold."""
    output.show(raster_record(RasterSource(path)), as_json=as_json)


def raster_record(src: RasterSource) -> dict[str, object]:
    """Return what there is to say of a raster without reading a pixel."""
    frame, bands = src.frame, src.info
    nodata = "nan" if bands.nodata is not None and math.isnan(bands.nodata) else bands.nodata
    return {
        "path": src.name,
        "kind": "raster",
        "width": frame.width,
        "height": frame.height,
        "crs": frame.crs_name,
        "res": frame.res,
        "bounds": frame.bounds,
        "count": bands.count,
        "dtype": bands.dtype,
        "nodata": nodata,
        "classes": bands.categorical,
        "bands": [
            {"name": name, "unit": unit, "interp": interp}
            for name, unit, interp in zip(bands.names, bands.units, bands.interp, strict=True)
        ],
    }
