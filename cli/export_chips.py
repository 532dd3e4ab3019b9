"""``geo-p2p export-chips``: cut two rasters of one place into paired chips."""

from pathlib import Path
from typing import Any

import click

from geo_p2p.chips import ChipFolder, ExportConfig, Outlook, foresee_chips
from geo_p2p.chips import export_chips as cut
from geo_p2p.chips.settings import EDGES
from geo_p2p.chips.split import METHODS
from geo_p2p.raster import FORMATS, RESAMPLINGS

from . import options, output


@click.command()
@click.argument("input")
@click.argument("additional")
@click.argument("out_dir", type=click.Path(path_type=Path))
@click.option(
    "--tile-size",
    type=options.Sides(),
    default=ExportConfig.tile_size,
    show_default=True,
    help="Side of a chip, px of INPUT; or x and y: 256,128.",
)
@click.option(
    "--stride",
    type=options.Sides(),
    default=ExportConfig.stride,
    show_default="half a chip",
    help="From one chip to the next, px; or x and y.",
)
@click.option(
    "--edges",
    type=click.Choice(EDGES),
    default=ExportConfig.edges,
    show_default=True,
    help="cover: the last chips are shifted back; lattice: whole strides only.",
)
@click.option(
    "--rotation-angle",
    type=click.FloatRange(0, 360, max_open=True),
    default=ExportConfig.rotation_angle,
    show_default=True,
    help="Cut every place again at this angle, twice it, ... up to a full turn, degrees.",
)
@click.option(
    "--mask",
    metavar="FILE",
    default=ExportConfig.mask,
    help="Cut only chips wholly inside the polygons of this vector file.",
)
@click.option(
    "--min-valid",
    type=click.FloatRange(0, 1),
    default=ExportConfig.min_valid,
    show_default=True,
    help="Least share of a chip's pixels that are valid in both rasters.",
)
@click.option(
    "--resampling",
    type=click.Choice(RESAMPLINGS),
    default=ExportConfig.resampling,
    show_default=True,
    help="How ADDITIONAL is warped; auto: by what it holds and how fine it is.",
)
@click.option(
    "--format",
    "image_format",
    type=click.Choice(tuple(FORMATS)),
    default=ExportConfig.image_format,
    show_default=True,
    help="Of the chips; JPEG only for 8 bits that are no classes.",
)
@click.option(
    "--start-index",
    type=click.IntRange(min=0),
    default=ExportConfig.start_index,
    show_default=True,
    help="Number of the first chip.",
)
@click.option(
    "--split",
    type=click.Choice(METHODS),
    default=ExportConfig.split,
    show_default=True,
    help="How training and validation part; random lets overlapping chips leak.",
)
@click.option(
    "--val-pct",
    type=click.FloatRange(0, 100, max_open=True),
    default=ExportConfig.val_pct,
    show_default=True,
    help="Share of the chips to validate on, percent.",
)
@click.option(
    "--buffer",
    type=click.IntRange(min=0),
    default=ExportConfig.buffer,
    show_default="half a chip",
    help="Between training and validation ground, px.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=ExportConfig.seed,
    show_default=True,
    help="Where all chance starts from.",
)
@options.bidx
@click.option(
    "--additional-bidx", type=options.BandNumbers(), help="Bands of ADDITIONAL, from 1: 1,2,3."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes to cut with.",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Cut on the Dask cluster of this scheduler instead."
)
@click.option("--dry-run", is_flag=True, help="Tell what would be cut, and cut nothing.")
@options.overwrite
@options.json
def export_chips(
    input: str,
    additional: str,
    out_dir: Path,
    dry_run: bool,
    as_json: bool,
    overwrite: bool,
    workers: int,
    scheduler: str | None,
    **settings: Any,
) -> None:
    """Cut INPUT and ADDITIONAL, two rasters of one place, into paired chips in OUT_DIR.

    ADDITIONAL is warped onto the pixels of INPUT; the two may differ in CRS, pixel size, extent
    and data type. OUT_DIR has the layout of ArcGIS Pro's Export Tiles.
    """
    if dry_run:
        show_outlook(foresee_chips(input, additional, **settings), as_json)
        return
    how: dict[str, Any] = {"overwrite": overwrite, "workers": workers, "scheduler": scheduler}
    with output.progress("Cutting") as report:
        path = cut(input, additional, out_dir, progress=report, **how, **settings)
    output.show(export_record(ChipFolder.open(path)), as_json=as_json)


def show_outlook(outlook: Outlook, as_json: bool) -> None:
    """Print what an export would make; for people, with a picture of the ground."""
    record = {
        "tiles": outlook.tiles,
        "chips": outlook.chips,
        "bytes": outlook.size,
        "split": str(outlook.split),
        "train": outlook.split.count("train"),
        "val": outlook.split.count("val"),
    }
    output.show(record, as_json=as_json)
    if not as_json:
        click.echo(f"\n{outlook.picture}\n")
        click.echo("o training   # validation   - left out in between   . not cut")


def export_record(folder: ChipFolder) -> dict[str, object]:
    """Return what an export has made: chips by part, their size, and how they were parted."""
    settings, split = (folder.own or {})["settings"], folder.split or {}
    return {
        "folder": folder.path,
        "chips": len(folder),
        "train": len(split["train"]),
        "val": len(split["val"]),
        "tile_size": settings["tile_size"],
        "stride": settings["stride"],
        "split": {name: split[name] for name in ("method", "side", "buffer", "seed")},
    }
