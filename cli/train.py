"""``geo-p2p train``: train a model on a folder of chips."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from geo_p2p.card import RECIPES, TrainConfig
from geo_p2p.card.config import CHOICES
from geo_p2p.chips.layout import DIRECTIONS
from geo_p2p.errors import ModelError

from . import options, output

READING = ("additional", "direction", "chip_size", "resize_to", "fold")
"""Options that say how pairs are read."""

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def setting(flag: str, text: str, kind: Any = None) -> Decorator:
    """Make an option of a field of `TrainConfig`: not given, it is left to the recipe."""
    name = flag.removeprefix("--").replace("-", "_")
    defaults = {recipe: TrainConfig.of(recipe).to_json()[name] for recipe in RECIPES}
    if len(set(defaults.values())) == 1:
        shown = str(next(iter(defaults.values())))
    else:
        shown = "by the recipe: " + ", ".join(f"{r} {value}" for r, value in defaults.items())
    if name in CHOICES:
        kind = click.Choice(CHOICES[name])
    kind = kind or type(defaults["seamless"])
    return click.option(flag, type=kind, show_default=shown, help=text)


@click.command()
@click.argument("chips")
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    type=click.Choice(tuple(RECIPES)),
    default=TrainConfig.recipe,
    show_default=True,
    help="seamless: tiles agree exactly; paper: as published.",
)
@click.option(
    "--additional", metavar="RASTER", help="CHIPS is a raster too: cut both into memory, no export."
)
@click.option(
    "--direction",
    type=click.Choice(DIRECTIONS),
    help="For plain pictures in pairs: from the first to the second, or back.",
)
@click.option(
    "--chip-size", type=click.IntRange(min=1), help="Cut pictures or rasters to this side, px."
)
@click.option(
    "--resize-to", type=click.IntRange(min=1), help="Resize every picture to this side first, px."
)
@click.option(
    "--fold", type=click.IntRange(min=0), help="Of chips split into folds: the one to validate on."
)
@setting("--target", "What the target holds; auto: classes where it has a palette.")
@setting("--epochs", "Passes over the training chips.")
@setting("--batch-size", "Chips a step.")
@setting("--lr", "Step size.")
@setting("--generator", "Kind of network.", click.Choice(("unet", "resnet")))
@setting("--halvings", "Times the U-Net halves its image; chips are multiples of 2 to that power.")
@setting("--ngf", "Width of the generator.")
@setting("--ndf", "Width of the discriminator.")
@setting("--norm", "Normalisation of both networks.")
@setting("--gan", "Adversarial loss.")
@setting("--pixel-loss", "Loss beside the adversary, for targets that are values.")
@setting("--augment", "How chips vary: flips and turns, flips, or not.")
@setting("--precision", "bf16 is faster where the device has it; auto decides.")
@options.device
@setting("--seed", "Where all chance starts from.")
@options.overwrite
@options.json
def train(
    chips: str, model_dir: Path, recipe: str, overwrite: bool, as_json: bool, **settings: Any
) -> None:
    """Train a model on the folder CHIPS, and save it as the folder MODEL_DIR.

    CHIPS is what export-chips or ArcGIS Pro wrote, two folders of pictures A and B in it, or
    pictures that hold a pair side by side. MODEL_DIR holds all that prediction needs; loss curves
    and pictures of validation chips lie beside the weights. A model under ./models is found by its
    name.
    """
    asked = {name: settings.pop(name) for name in READING}
    reading = {name: value for name, value in asked.items() if value is not None}
    config = TrainConfig.of(recipe, **settings)
    require_room(model_dir, overwrite)
    record = trained(chips, model_dir, config, reading)
    if not as_json:
        record["scores"] = output.brief(record["scores"])
    output.show(record, as_json=as_json)


def require_room(folder: Path, overwrite: bool) -> None:
    """Refuse, before hours of training, a place where no model can be saved.

    Raises
    ------
    ModelError
        If something is there that is not to be replaced, or nothing can be written there.
    """
    if folder.exists():
        if not overwrite:
            raise ModelError(f"{folder}: exists already; choose another name or say --overwrite")
        from geo_p2p.model_file import load_card

        load_card(folder)  # refuses what is no model's, which shall not be replaced
    home = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        # To try is the one way to know: of rights, full disks and read-only places.
        with TemporaryDirectory(prefix=".geo-p2p.", dir=home):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"{folder}: no folder can be made in {home} ({reason})") from error


def trained(
    chips: str, folder: Path, config: TrainConfig, reading: Mapping[str, Any]
) -> dict[str, Any]:
    """Train, save the model with its pictures, and return what there is to say of it."""
    from geo_p2p.data import prepare_data
    from geo_p2p.pix2pix import Pix2Pix
    from geo_p2p.report import save_figure

    data = prepare_data(chips, target=config.target, seed=config.seed, **reading)
    model = Pix2Pix(data, **config.to_json())
    model.fit(config.epochs, progress=output.wanted())
    # A name alone would go to ./models; a path on the command line is taken as it is.
    model.save(folder.absolute())
    save_figure(model.plot_losses(), folder / "losses.png")
    save_figure(model.show_results(), folder / "results.png")
    return {
        "model": folder,
        "recipe": config.recipe,
        "epochs": config.epochs,
        "train": len(data.chips[0]),
        "val": len(data.chips[1]),
        "tile_safe": model.card.tile_safe,
        "precision": model.translator.precision,
        "losses": folder / "losses.png",
        "results": folder / "results.png",
        "scores": model.metrics,
    }
