"""``geo-p2p predict-raster``: translate a raster of any size."""

import logging
from dataclasses import asdict
from typing import Any

import click

from geo_p2p.card import TrainConfig
from geo_p2p.card.config import CHOICES
from geo_p2p.predict import PredictConfig
from geo_p2p.predict.config import DROPOUTS, STATISTICS
from geo_p2p.raster.mosaic import GDAL_TYPES

from . import options, output

log = logging.getLogger(__name__)


@click.command()
@click.argument("src", metavar="INPUT")
@click.argument("dst", metavar="[OUTPUT]", required=False)
@click.option(
    "--model", help="Model folder, or name under ./models.  [default: $GEO_P2P_MODEL, else newest]"
)
@click.option(
    "--block-size",
    type=click.IntRange(min=1),
    default=PredictConfig.block_size,
    show_default="1024, or what the model's stride allows",
    help="Side of a block, px; a multiple of the stride.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=PredictConfig.batch_size,
    show_default=True,
    help="Blocks a call of the model.",
)
@options.bounds
@options.bidx
@options.co
@click.option(
    "--dtype",
    type=click.Choice(tuple(GDAL_TYPES)),
    default=PredictConfig.dtype,
    show_default="the target's own",
    help="Data type of the output.",
)
@options.device
@click.option(
    "--precision",
    type=click.Choice(CHOICES["precision"]),
    default=TrainConfig.precision,
    show_default=True,
    help="bf16 is faster where the device has it; auto decides.",
)
@click.option(
    "--statistics",
    type=click.Choice(STATISTICS),
    default=PredictConfig.statistics,
    show_default=True,
    help="Of norms that take statistics over each image: of a sample of INPUT, or of each tile.",
)
@click.option(
    "--dropout",
    type=click.Choice(DROPOUTS),
    default=PredictConfig.dropout,
    show_default=True,
    help="Of a model that keeps dropout on.",
)
@click.option("--exact", is_flag=True, help="Refuse a model whose tiles have to be blended.")
@click.option("--keep-parts", is_flag=True, help="Leave the block files beside the output.")
@options.overwrite
@options.json
def predict_raster(
    src: str,
    dst: str | None,
    model: str | None,
    bidx: tuple[int, ...] | None,
    device: str,
    precision: str,
    overwrite: bool,
    as_json: bool,
    co: dict[str, str],
    **settings: Any,
) -> None:
    """Translate INPUT, of any size, into the Cloud Optimized GeoTIFF OUTPUT.

    OUTPUT lies on the pixels of INPUT; without a name it is <INPUT>_translated.tif in the working
    directory. An interrupted run, started again, goes on where it was.
    """
    from geo_p2p.model_file import find_model, load_model
    from geo_p2p.translate import translate

    path = find_model(model)
    if model is None:
        log.info("model: %s", path)
    translator = load_model(path, device, precision)
    config = PredictConfig(options=co, **settings)
    with output.progress("Predicting") as report:
        done = translate(
            translator, src, dst, config, bidx=bidx, overwrite=overwrite, progress=report
        )
    output.show({**asdict(done), "precision": translator.precision}, as_json=as_json)
