"""``geo-p2p seams``: measure the seams of a mosaic, and of the model that made it."""

import logging
from typing import Any

import click

from geo_p2p.card import PRECISIONS, TrainConfig
from geo_p2p.raster import RasterSource

from . import options, output

log = logging.getLogger(__name__)


@click.command()
@click.argument("raster")
@click.option("--model", help="Model that made RASTER: measure its blocks too. Needs --input.")
@click.option("--input", "src", metavar="INPUT", help="Raster that was translated.")
@options.bidx
@click.option(
    "--tile-size",
    type=click.IntRange(min=4),
    show_default="the blocks that RASTER says it is of",
    help="Side of a block, px.",
)
@click.option(
    "--origin",
    type=options.Place(),
    metavar="ROW,COL",
    show_default="0,0",
    help="With --tile-size: a pixel at which a block begins.",
)
@options.device
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=TrainConfig.precision,
    show_default=True,
    help="As RASTER was translated.",
)
@options.json
def seams(
    raster: str,
    model: str | None,
    src: str | None,
    tile_size: int | None,
    origin: tuple[int, int] | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure how much RASTER steps across the lines between its blocks.

    R is the step on the lines over the step beside them: 1 without seams. With the model, also by
    how much neighbouring blocks differ about the same pixels, and the tiled translation from the
    whole, in units of RASTER: blending and blocks out of phase pass R, and do not pass these.
    """
    if (model is None) != (src is None):
        raise click.UsageError("--model and --input go together: give both, or neither")
    if origin is not None and tile_size is None:
        raise click.UsageError("--origin goes with --tile-size")
    from geo_p2p.seams import seams_of

    mosaic = RasterSource(raster)
    found = seams_of(mosaic, tile_size=tile_size, origin=origin or (0, 0))
    blocks: dict[str, Any] = {"disagreement": None, "whole": None, "window": None}
    if model is not None and src is not None:
        blocks = blocks_of(mosaic, model, src, found["tile_size"], **settings)
    record = {**found, **blocks}
    output.show(record if as_json else output.brief(record), as_json=as_json)


def blocks_of(
    mosaic: RasterSource,
    model: str,
    src: str,
    block_size: int,
    bidx: tuple[int, ...] | None,
    device: str,
    precision: str,
) -> dict[str, Any]:
    """Measure the blocks of a model on the raster that it translated."""
    from geo_p2p.model_file import find_model, load_model
    from geo_p2p.predict.settle import settings_of, settle
    from geo_p2p.seams import disagreement
    from geo_p2p.translate import open_source

    translator = load_model(find_model(model), device, precision)
    source = open_source(translator, src, bidx)
    made = settle(translator, source, settings_of(mosaic.tags))
    if mosaic.tags.get("GEO_P2P_MODEL", made.fingerprint) != made.fingerprint:
        log.warning(
            "%s was made by another model than %s, or at other precision", mosaic.name, model
        )
    return disagreement(made, source, block_size=block_size)
