"""``geo-p2p export-chips``: cut two rasters of one place into paired chips."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from geo_p2p.chips import ChipFolder, ExportConfig, Outlook, foresee_chips
from geo_p2p.chips import export_chips as cut
from geo_p2p.chips.scenes import MODES
from geo_p2p.chips.settings import EDGES, PLACEMENTS, SYSTEMS
from geo_p2p.chips.split import METHODS
from geo_p2p.raster import FORMATS, RESAMPLINGS

from . import options, output

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def setting(flag: str, text: str, kind: Any = None, *names: str, **options: Any) -> Decorator:
    """Make an option of a field of `ExportConfig`, with the default it has there.

    Parameters
    ----------
    flag : as it is written; the field has its name, unless ``names`` says another.
    text : what it does.
    kind : click's type; the choices for a tuple; None for text.
    names : of the field.
    **options : of `click.option`.
    """
    name = names[0] if names else flag.removeprefix("--").replace("-", "_")
    default = getattr(ExportConfig, name)
    kind = click.Choice(kind) if isinstance(kind, tuple) else kind
    told = default is not None and default is not False and default != ()
    shown = options.pop("show_default", told)
    if not options.get("is_flag"):
        options["default"] = default
    return click.option(flag, *names, type=kind, help=text, show_default=shown, **options)


def all_of(*decorators: Decorator) -> Decorator:
    """Make one decorator of many, in the order of the help."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


WHERE = all_of(
    setting("--tile-size", "Side of a chip, px of INPUT; or x and y: 256,128.", options.Sides()),
    setting(
        "--stride",
        "From one chip to the next, px; or x and y.",
        options.Sides(),
        show_default="half a chip",
    ),
    setting("--edges", "cover: the last chips are shifted back; lattice: whole strides.", EDGES),
    setting("--placement", "On a grid of strides, or at random.", PLACEMENTS),
    setting("--count", "How many places to draw at random.", click.IntRange(1)),
    setting(
        "--rotation-angle",
        "Cut every place again at this angle, twice it, ... up to a full turn, degrees.",
        click.FloatRange(0, 360, max_open=True),
    ),
    setting("--mask", "Cut only chips wholly inside the polygons of this vector file."),
    setting("--processing-mode", "Several inputs: as one mosaic, or each by itself.", MODES),
    setting("--asset", "Of a STAC file as INPUT, or several to stack as bands: red,green,blue."),
    setting("--additional-asset", "Of a STAC file as ADDITIONAL."),
    setting("--reference-system", "Pair by place, or pixel on pixel, without any place.", SYSTEMS),
)

WHAT = all_of(
    setting("--resampling", "How ADDITIONAL is warped; auto: by what it holds.", RESAMPLINGS),
    setting("--class-field", "ADDITIONAL is a vector file: attribute that says the class."),
    setting("--burn", "Class of the shapes without such an attribute.", click.IntRange(1)),
    setting("--all-touched", "Shapes take every pixel they touch, not only centres.", is_flag=True),
    setting("--buffer-radius", "Grow shapes by this, units of their CRS.", click.FloatRange(0)),
    setting("--layer", "Layer of the vector file; the first if not given."),
    setting("--quality", "Raster that rules out pixels of INPUT by the options below."),
    setting("--quality-band", "Its band; of INPUT, if no raster is given.", click.IntRange(1)),
    setting(
        "--quality-bits",
        "Pixels with any of these bits set, or such a number in several: 1,3,8-9=3.",
        options.Bits(),
    ),
    setting("--quality-values", "Pixels with one of these values: 3,8,9.", options.Numbers()),
)

WHICH = all_of(
    setting(
        "--min-valid",
        "Least share of a chip's pixels that are valid in both rasters.",
        click.FloatRange(0, 1),
    ),
    setting(
        "--min-content",
        "Least share that is no background; or by class: 3:0.05,7:0.1.",
        options.Content(),
    ),
    setting("--background", "Values that are background: 0,255.", options.Numbers()),
    setting("--min-std-x", "Least standard deviation of the input chip.", click.FloatRange(0)),
    setting("--min-std-y", "Least standard deviation of the target chip.", click.FloatRange(0)),
    setting(
        "--max-per-stratum",
        "Most training chips of a class, or of a quarter of the target's means.",
        click.IntRange(1),
    ),
    setting("--split", "How training and validation part.", METHODS),
    setting("--val-pct", "Share to validate on, percent.", click.FloatRange(0, 100, max_open=True)),
    setting("--test-pct", "Share to test on, percent.", click.FloatRange(0, 100, max_open=True)),
    setting(
        "--buffer",
        "Between the parts, px.",
        click.IntRange(min=0),
        show_default="half a chip, or as far as the target is alike",
    ),
    setting("--halo", "Px around a block that the generator reads.", click.IntRange(0)),
    setting("--folds", "Number of folds of kfold.", click.IntRange(2)),
    setting("--fold", "Which of them validates, from 0.", click.IntRange(0)),
    setting("--split-polygons", "Vector file whose polygons say the part."),
    setting("--split-field", "Their attribute: train, val or test."),
    setting("--seed", "Where all chance starts from.", click.IntRange(0)),
)


@click.command()
@click.argument("input")
@click.argument("additional")
@click.argument("out_dir", type=click.Path(path_type=Path))
@options.bidx
@click.option(
    "--additional-bidx", type=options.BandNumbers(), help="Bands of ADDITIONAL, from 1: 1,2,3."
)
@WHERE
@WHAT
@WHICH
@setting("--format", "Of the chips; JPEG only for 8 bits.", tuple(FORMATS), "image_format")
@setting("--start-index", "Number of the first chip.", click.IntRange(0))
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
@click.option(
    "--append", is_flag=True, help="Go on behind the last chip of OUT_DIR, an earlier export."
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
    append: bool,
    workers: int,
    scheduler: str | None,
    **settings: Any,
) -> None:
    """Cut INPUT and ADDITIONAL, two rasters of one place, into paired chips in OUT_DIR.

    ADDITIONAL is warped onto the pixels of INPUT; the two may differ in CRS, pixel size, extent
    and data type. Either may be a folder, a pattern or a STAC file of many rasters (items.json, or
    items.json#visual for an asset); ADDITIONAL may be a vector file, whose shapes are drawn as
    classes. OUT_DIR has the layout of ArcGIS Pro's Export Tiles. An interrupted export, started
    again, goes on where it was.
    """
    if dry_run:
        append_to = out_dir if append else None
        show_outlook(foresee_chips(input, additional, append_to=append_to, **settings), as_json)
        return
    how: dict[str, Any] = {"overwrite": overwrite, "append": append}
    how |= {"workers": workers, "scheduler": scheduler}
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
        "test": outlook.split.count("test"),
    }
    output.show(record, as_json=as_json)
    if not as_json:
        click.echo(f"\n{outlook.picture}\n")
        click.echo("o training   # validation   x test   - left out in between   . not cut")


def export_record(folder: ChipFolder) -> dict[str, object]:
    """Return what an export has made: chips by part, their size, how they were parted and fit."""
    own, split = folder.own or {}, folder.split or {}
    settings, registration = own["settings"], own["registration"]
    return {
        "folder": folder.path,
        "chips": len(folder),
        "train": len(split["train"]),
        "val": len(split["val"]),
        "test": len(split["test"]),
        "tile_size": settings["tile_size"],
        "stride": settings["stride"],
        "split": {
            name: split[name] for name in ("method", "side", "buffer", "seed", "common", "nearest")
        },
        "alignment": {scene: found["summary"] for scene, found in registration.items()},
    }
