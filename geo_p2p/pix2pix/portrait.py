"""What lies in a model's folder for people to look at, as arcgis.learn has it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geo_p2p.card import ModelCard
from geo_p2p.pix2pix.loggers import write_history
from geo_p2p.pix2pix.training import Training
from geo_p2p.report import Figure, loss_curves, save_figure, write_page

__all__ = ["draw_portrait"]

PICTURES = "ModelCharacteristics"

TOLD = (
    "l1",
    "rmse",
    "psnr",
    "ssim",
    "ms_ssim",
    "hp_l1",
    "sam",
    "ergas",
    "accuracy",
    "miou",
    "split",
    "chips",
    "data_range",
)
"""Scores that a page tells; the card has all."""


def draw_portrait(
    folder: Path, name: str, training: Training, card: ModelCard, shown: Figure
) -> None:
    """Write ``model_metrics.html``, its pictures, and ``history.csv``, into a model's folder.

    Parameters
    ----------
    folder : of the model.
    name : of the model.
    training : that made it.
    card : with the scores.
    shown : validation chips with their translations.

    Raises
    ------
    GeoP2PError
        If something cannot be written.
    """
    (folder / PICTURES).mkdir()
    pictures = {}
    if training.history:
        write_history(training, folder / "history.csv")
        pictures["Losses"] = f"{PICTURES}/loss_graph.png"
        save_figure(loss_curves(training.history), folder / pictures["Losses"])
    pictures["Results"] = f"{PICTURES}/show_results.png"
    save_figure(shown, folder / pictures["Results"])
    scores = {key: card.metrics[key] for key in TOLD if key in card.metrics}
    tables = {"Model": _facts(card), "Scores on validation chips": scores}
    write_page(
        folder / "model_metrics.html", name, {**tables, "Training": _settings(card)}, pictures
    )


def _facts(card: ModelCard) -> Mapping[str, Any]:
    """What the model takes and gives."""
    return {
        "input": f"{card.input.count} bands, {card.input.dtype}",
        "target": f"{len(card.target.classes)} classes"
        if card.target.classes
        else f"{card.target.count} bands, {card.target.dtype}",
        "chips": f"{card.size} px",
        "pixel size": card.pixel_size,
        "CRS": card.crs,
        "network": card.network,
        "tiles": "exact" if card.tile_safe else "exact with statistics of the raster, else blended",
    }


def _settings(card: ModelCard) -> Mapping[str, Any]:
    """How it was trained."""
    told = card.provenance
    chips = dict(zip(("training", "validation"), told["chips"], strict=True))
    return {"epochs": told["epochs"], "chips": chips, **told["config"], **told["versions"]}
