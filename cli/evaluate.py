"""``geo-p2p evaluate``: score a model on chips, or a raster against the truth."""

from pathlib import Path
from typing import Any

import click

from geo_p2p.evaluate import PARTS

from . import options, output


@click.command()
@click.argument("subject", metavar="MODEL|PREDICTED")
@click.argument("truth", metavar="CHIPS|TRUTH")
@click.option("--chips", metavar="CHIPS", help="For rasters: only the ground of these chips.")
@click.option(
    "--split",
    type=click.Choice(PARTS),
    default="val",
    show_default=True,
    help="Which of the chips.",
)
@click.option("--bidx", type=options.BandNumbers(), help="Bands of TRUTH, from 1: 1,2,3.")
@options.device
@options.json
def evaluate(subject: str, truth: str, as_json: bool, **settings: Any) -> None:
    """Score a MODEL on the folder CHIPS, or the raster PREDICTED against the raster TRUTH.

    TRUTH is warped onto the pixels of PREDICTED. With --chips, only the ground of that part of
    the chips counts: the one way to score a raster on ground that was not trained on.
    """
    score = score_model if is_model(subject) or Path(truth).is_dir() else score_raster
    scores = score(subject, truth, **settings)
    output.show(scores if as_json else output.brief(scores), as_json=as_json)
    if scores["per_chip"] and not as_json:
        output.print_spread(scores["per_chip"])


def is_model(subject: str) -> bool:
    """Tell whether a path is meant as a model's; rasters are files of another kind."""
    return Path(subject).is_dir() or Path(subject).suffix in (".emd", ".dlpk")


def score_model(
    model: str, folder: str, chips: str | None, split: str, bidx: Any, device: str
) -> dict[str, Any]:
    """Score a model on a part of a chip folder."""
    for option, value in {"--chips": chips, "--bidx": bidx}.items():
        if value is not None:
            raise click.UsageError(f"{option} is for rasters: a model is scored on its chips")
    from geo_p2p.translate.scoring import evaluate_model

    with output.progress("Scoring") as report:
        return evaluate_model(model, folder, split=split, device=device, progress=report)


def score_raster(
    predicted: str, truth: str, chips: str | None, split: str, bidx: Any, device: str
) -> dict[str, Any]:
    """Score a translated raster, whole or on the ground of a part of a chip folder."""
    from geo_p2p.evaluate import evaluate_rasters

    return evaluate_rasters(predicted, truth, chips=chips, split=split, truth_bidx=bidx)
