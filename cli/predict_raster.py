"""``geo-p2p predict-raster``: translate a raster of any size."""

import logging
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geo_p2p.card import PRECISIONS, TrainConfig
from geo_p2p.predict import PredictConfig
from geo_p2p.predict.config import ANCHORS, DROPOUTS, ON_ERROR, STATISTICS
from geo_p2p.raster import RESAMPLINGS, find_rasters
from geo_p2p.raster.mosaic import GDAL_TYPES

from . import options, output

if TYPE_CHECKING:
    from geo_p2p.model_file import Translator
    from geo_p2p.predict import Prediction

MODES = ("items", "mosaic", "bands")
"""What several inputs are; the first two as for ``export-chips``."""

log = logging.getLogger(__name__)


@click.command()
@click.argument("files", metavar="INPUT... [OUTPUT]", nargs=-1, required=True)
@click.option(
    "--model", help="Model folder, or name under ./models.  [default: $GEO_P2P_MODEL, else newest]"
)
@click.option(
    "--block-size",
    type=click.IntRange(min=1),
    default=PredictConfig.block_size,
    show_default="what costs least",
    help="Side of a block, px; a multiple of the stride.",
)
@click.option(
    "--anchor",
    type=click.Choice(ANCHORS),
    default=PredictConfig.anchor,
    show_default=True,
    help="Where blocks begin; with crs, overlapping areas agree bit for bit.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=PredictConfig.batch_size,
    show_default=True,
    help="Blocks a call of the model.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=PredictConfig.workers,
    show_default="what keeps the network busy",
    help="Threads that read, and as many that write.",
)
@click.option(
    "--processing-mode",
    type=click.Choice(MODES),
    default="items",
    show_default=True,
    help="Several INPUTs: an output each, one mosaic, or bands of one raster.",
)
@click.option("--dst-crs", metavar="CRS", help="Warp INPUT onto this CRS first: EPSG:32633.")
@click.option(
    "--res",
    type=options.PixelSize(),
    help="And onto this pixel size, CRS units; model: that of the training.",
)
@click.option(
    "--resampling",
    type=click.Choice(RESAMPLINGS),
    default=PredictConfig.resampling,
    show_default=True,
    help="How it is warped; auto: by what it holds.",
)
@options.bounds
@click.option("--mask", metavar="AOI", help="Only inside the polygons of this vector file.")
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
@click.option("--tta", is_flag=True, help="Mean over the 8 ways to turn and flip: 8 times slower.")
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
    type=click.Choice(PRECISIONS),
    default=TrainConfig.precision,
    show_default=True,
    help="bf16 and fp16 are faster where the device has them; auto decides.",
)
@click.option(
    "--shard",
    metavar="I/N",
    help="Make only every N-th block, from the I-th, and no mosaic; auto asks the launcher.",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Run the blocks on the Dask cluster of this scheduler."
)
@click.option(
    "--resume/--no-resume",
    default=PredictConfig.resume,
    show_default="go on if the plan is the same",
    help="Go on with an interrupted run or fail; or begin anew.",
)
@click.option(
    "--on-error",
    type=click.Choice(ON_ERROR),
    default=PredictConfig.on_error,
    show_default=True,
    help="Where INPUT cannot be read: stop, or give up those pixels.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=PredictConfig.confidence,
    metavar="SHARE",
    help="Write OUTPUT_confidence.tif too: half-widths of intervals that hold this share, 0.9.",
)
@click.option(
    "--check-seams", is_flag=True, help="Measure the seams of OUTPUT, as the command seams does."
)
@click.option("--keep-parts", is_flag=True, help="Leave the block files beside the output.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and write nothing.")
@options.overwrite
@options.json
def predict_raster(
    files: tuple[str, ...],
    model: str | None,
    processing_mode: str,
    device: str,
    precision: str,
    as_json: bool,
    **settings: Any,
) -> None:
    """Translate INPUT, of any size, into the Cloud Optimized GeoTIFF OUTPUT.

    OUTPUT lies on the pixels of INPUT; without a name it is <INPUT>_translated.tif in the working
    directory. An interrupted run, started again, goes on where it was. Of a run in shards, each
    makes its own blocks in <OUTPUT>.parts, and `mosaic` finishes it.

    INPUT may be anything that GDAL opens, also from an archive or by HTTP, or a folder, a pattern
    or a STAC file of many rasters; of several, OUTPUT is a folder, or a template such as
    out/{stem}.tif. Of two names or more the last is OUTPUT.
    """
    if settings["check_seams"] and settings["shard"]:
        raise click.UsageError("--check-seams wants a mosaic, which a shard does not make")
    from geo_p2p.model_file import find_model, load_model

    path = find_model(model)
    if model is None:
        log.info("model: %s", path)
    translator = load_model(path, device, precision)
    work = Work.of(files, processing_mode, translator, settings)
    if settings["dry_run"]:
        record: dict[str, Any] = work.foreseen()
    else:
        record = work.done()
    output.show(record if as_json else output.brief_run(record), as_json=as_json)
    if record.get("failed"):
        raise click.exceptions.Exit(1)


@dataclass(frozen=True)
class Work:
    """What the words of the command ask for.

    Parameters
    ----------
    translator : the model.
    rasters : the files of each raster.
    many : whether each has an output of its own, by its name.
    dst : OUTPUT, or None.
    mosaic : whether all make one mosaic.
    config, bidx, overwrite : see `geo_p2p.predict_raster`.
    check_seams : whether the outputs are to be measured.
    """

    translator: "Translator"
    rasters: list[tuple[str, ...]]
    many: bool
    dst: str | None
    mosaic: bool
    config: PredictConfig
    bidx: tuple[int, ...] | None
    overwrite: bool
    check_seams: bool

    @classmethod
    def of(
        cls,
        files: tuple[str, ...],
        mode: str,
        translator: "Translator",
        settings: dict[str, Any],
    ) -> "Work":
        """Find the rasters, and take the settings apart."""
        inputs, dst = (files[:-1], files[-1]) if len(files) > 1 else (files, None)
        rasters = [raster for spec in inputs for raster in find_rasters(spec)]
        single = len(rasters) == 1 and not Path(inputs[0]).is_dir()
        if mode == "bands":
            rasters, single = [tuple(file for raster in rasters for file in raster)], True
        names = {field.name for field in fields(PredictConfig)} & settings.keys()
        config = PredictConfig(options=settings["co"], **{name: settings[name] for name in names})
        return cls(
            translator=translator,
            rasters=rasters,
            many=not single and mode == "items",
            dst=dst,
            mosaic=mode == "mosaic",
            config=config,
            bidx=settings["bidx"],
            overwrite=settings["overwrite"],
            check_seams=settings["check_seams"],
        )

    def source(self) -> Any:
        """Return the one raster: its files, or the mosaic of all."""
        from geo_p2p.translate import open_mosaic

        if not self.mosaic:
            return self.rasters[0]
        return open_mosaic(self.translator, self.rasters, self.bidx, self.config.resampling)

    def foreseen(self) -> dict[str, Any]:
        """Tell what would be done."""
        from geo_p2p.translate import plan_each, plan_raster

        if self.many:
            each = plan_each(self.translator, self.rasters, self.dst, self.config, **self._how)
            return {"rasters": [asdict(plan) for plan in each]}
        asked = {field.name: getattr(self.config, field.name) for field in fields(self.config)}
        src = self.source()
        return asdict(plan_raster(src, self.dst, model=self.translator, **self._how, **asked))

    def done(self) -> dict[str, Any]:
        """Do it, and tell what was done."""
        from geo_p2p.translate import outputs_of, translate, translate_each

        asked = self.dst, self.config
        if not self.many:
            src = self.source()
            with output.progress("Predicting", pixels=True) as report:
                made = translate(self.translator, src, *asked, progress=report, **self._how)
            return self._told(made, src)
        with output.bars(pixels=True) as tell:
            several, failed = translate_each(
                self.translator, self.rasters, *asked, progress=tell, **self._how
            )
        inputs = dict(zip(outputs_of(self.rasters, self.dst), self.rasters, strict=True))
        return {
            "rasters": [self._told(made, inputs[made.output]) for made in several],
            "failed": [asdict(each) for each in failed],
        }

    def _told(self, made: "Prediction", src: Any) -> dict[str, Any]:
        """Tell of one output, and measure its seams if that is asked for."""
        told = {**asdict(made), "precision": self.translator.precision}
        if not self.check_seams:
            return told
        from geo_p2p.seams import check_seams
        from geo_p2p.translate import open_source

        source = open_source(self.translator, src, self.bidx) if isinstance(src, tuple) else src
        return {**told, "seams": check_seams(made.output, self.translator, source, self.config)}

    @property
    def _how(self) -> dict[str, Any]:
        """What all ways of translating ask for."""
        return {"bidx": self.bidx, "overwrite": self.overwrite}
