"""``geo-p2p train``: train a model on a folder of chips."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geo_p2p.card import RECIPES, TrainConfig
from geo_p2p.card.config import CHOICES
from geo_p2p.chips.layout import DIRECTIONS
from geo_p2p.errors import ModelError

from . import options, output, runs

if TYPE_CHECKING:
    from geo_p2p.pix2pix import Pix2Pix

READING = ("additional", "direction", "chip_size", "resize_to", "fold")
"""Options that say how pairs are read."""

FITTING = ("one_cycle", "early_stopping", "checkpoint", "monitor", "tensorboard", "wandb")
"""Options of the fit itself: not given, they are left to the library."""

FREE = ("epochs", "device", "compile")
"""What may be another when a run goes on."""

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def setting(flag: str, text: str, kind: Any = None) -> Decorator:
    """Make an option of a field of `TrainConfig`: not given, it is left to the recipe."""
    name = flag.removeprefix("--").replace("-", "_")
    defaults = {recipe: TrainConfig.of(recipe).to_json()[name] for recipe in RECIPES}
    shown: str | bool
    if len(set(defaults.values())) == 1:
        value = next(iter(defaults.values()))
        shown = value is not None and str(value)
    else:
        shown = "by the recipe: " + ", ".join(f"{r} {value}" for r, value in defaults.items())
    if name in CHOICES:
        kind = click.Choice(CHOICES[name])
    kind = kind or type(defaults["seamless"])
    if kind is bool:
        flag, kind = f"{flag}/--no-{flag.removeprefix('--')}", None
    return click.option(flag, type=kind, default=None, show_default=shown, help=text)


@click.command()
@click.argument("chips")
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    type=click.Choice(tuple(RECIPES)),
    show_default=TrainConfig.recipe,
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
@setting("--lr-d", "Step size of the discriminator, if not the same.", float)
@setting("--generator", "Kind of network.")
@setting("--detail", "Channels at full size beside the U-Net; the paper has none.")
@setting("--halvings", "Times the U-Net halves its image; chips are multiples of 2 to that power.")
@setting("--blocks", "Residual blocks of the resnet; 6 or 9, as published.")
@setting("--backbone", "The encoder's network, of torchvision; without --generator means encoder.")
@setting("--backbone-weights", "File with the backbone's weights; without, random.", str)
@setting("--freeze", "Whether such weights stay, and the decoder alone is trained.")
@setting("--ngf", "Width of the generator.")
@setting("--norm", "Normalisation of both networks.")
@setting("--dropout", "Probability of dropout.")
@setting("--test-dropout", "Whether dropout stays on at prediction, as published.")
@setting("--ndf", "Width of the discriminator.")
@setting("--layers", "Strided layers of the discriminator: 3 see 70 px; 0 to 5 1, 16, 34 ... 286.")
@setting("--scales", "Discriminators, each on a pair half as large as the one before.")
@setting("--d-norm", "Normalisation of the discriminator, if not the same.")
@setting("--d-augment", "How pairs vary that the discriminator is shown.")
@setting("--gan", "Adversarial loss.")
@setting("--gan-weight", "Weight of that loss; 0: plain regression, without an adversary.")
@setting("--pixel-loss", "Loss beside the adversary, for targets that are values.")
@setting("--pixel-weight", "Weight of that loss.")
@setting("--gradient-weight", "Weight of a loss on edges, for maps.")
@setting("--ssim-weight", "Weight of a loss on structure, for maps.")
@setting("--feature-weight", "Weight of the discriminator's inner layers.")
@setting("--augment", "How chips vary: flips and turns, flips, or not.")
@setting("--precision", "bf16 is faster where the device has it; auto decides.")
@setting("--compile", "Compile both networks first: minutes, then faster steps on a GPU.")
@options.device
@setting("--ema", "Average the generator's weights, keeping this share at each step; 0: do not.")
@setting("--confidence", "Learn how far off translations may be, without a change to them.")
@setting("--seed", "Where all chance starts from.")
@click.option(
    "--one-cycle", is_flag=True, default=None, help="Raise the step size, then lower it to nothing."
)
@click.option(
    "--early-stopping", is_flag=True, default=None, help="Stop after 5 epochs without a gain."
)
@click.option(
    "--checkpoint",
    type=options.Kept(),
    show_default="best",
    help="Epochs to keep: best (and the newest), all, none, or every N-th.",
)
@click.option(
    "--monitor", metavar="NAME", help="What tells the best epoch: valid_loss, valid_ssim."
)
@click.option("--tensorboard", is_flag=True, default=None, help="Write for TensorBoard.")
@click.option("--wandb", metavar="PROJECT", help="Tell Weights & Biases.")
@click.option(
    "--resume", is_flag=True, help="Go on with a run that was interrupted, or to more --epochs."
)
@options.overwrite
@options.json
def train(
    chips: str,
    model_dir: Path,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a model on the folder CHIPS, and save it as the folder MODEL_DIR.

    CHIPS is what export-chips or ArcGIS Pro wrote, two folders of pictures A and B in it, or
    pictures that hold a pair side by side. MODEL_DIR holds all that prediction needs; loss curves
    and pictures of validation chips lie beside the weights. A model under ./models is found by its
    name.

    MODEL_DIR.run holds checkpoints, history.csv and a picture of every epoch. An interrupted
    training goes on when the same command is given again with --resume.

    On several GPUs or machines: torchrun --nproc-per-node N --no-python geo-p2p train ...
    """
    reading, fitting = (
        {name: value for name in names if (value := settings.pop(name)) is not None}
        for names in (READING, FITTING)
    )
    run = model_dir.with_name(f"{model_dir.name}.run")
    checkpoint = runs.newest(model_dir, run) if resume else None
    if checkpoint is None:
        recipe = settings.pop("recipe") or TrainConfig.recipe
        config = TrainConfig.of(recipe, **settings)
        if runs.is_first():
            runs.require_room(model_dir, overwrite)
            runs.require_run_room(run, overwrite or resume)
        model = begun(chips, config, reading)
        runs.clear(run)
        model.fit(config.epochs, folder=run, progress=output.wanted(), **fitting)
    else:
        model = taken_up(chips, checkpoint, settings, fitting, reading)
        model.resume(settings["epochs"], progress=output.wanted())
    record = saved(model, model_dir) if runs.is_first() else {}
    runs.part()
    if not record:
        return
    if not as_json:
        record["scores"] = output.brief(record["scores"])
    output.show(record, as_json=as_json)


def begun(chips: str, config: TrainConfig, reading: Mapping[str, Any]) -> "Pix2Pix":
    """Make a model that is yet to be trained."""
    from geo_p2p.data import prepare_data
    from geo_p2p.pix2pix import Pix2Pix

    data = prepare_data(chips, target=config.target, seed=config.seed, **reading)
    return Pix2Pix(data, **config.to_json())


def taken_up(
    chips: str,
    checkpoint: Path,
    settings: Mapping[str, Any],
    fitting: Mapping[str, Any],
    reading: Mapping[str, Any],
) -> "Pix2Pix":
    """Make the model of a checkpoint, on the same chips as before.

    Raises
    ------
    ModelError
        If a setting is given that is not the run's.
    """
    from geo_p2p.data import prepare_data
    from geo_p2p.model_file import load_card
    from geo_p2p.pix2pix import Pix2Pix
    from geo_p2p.pix2pix.build import settings_of

    config = settings_of(load_card(checkpoint)).to_json()
    data = prepare_data(chips, target=config["target"], seed=config["seed"], **reading)
    machine = {"device": settings["device"], "compile": bool(settings["compile"])}
    model = Pix2Pix.from_model(checkpoint, data, **machine)
    plan = asdict(model.plan) if model.plan else {}
    for name, value in {**settings, **fitting}.items():
        known = {**plan, **config}[name]
        if value is not None and name not in FREE and value != known:
            flag = name.replace("_", "-")
            was, now = (
                options.Kept.names.get(v, v) if name == "checkpoint" else v for v in (known, value)
            )
            raise ModelError(
                f"{checkpoint}: its run has --{flag} {was}, not {now}; leave it out to go on, "
                "or begin anew with --overwrite"
            )
    return model


def saved(model: "Pix2Pix", folder: Path) -> dict[str, Any]:
    """Save a model, and return what there is to say of it."""
    # A name alone would go to ./models; a path on the command line is taken as it is.
    model.save(folder.absolute())
    card = model.card
    return {
        "model": folder,
        "run": model.folder,
        "recipe": model.config.recipe,
        "epochs": model.epochs,
        "train": card.provenance["chips"][0],
        "val": card.provenance["chips"][1],
        "tile_safe": card.tile_safe,
        "precision": model.translator.precision,
        "losses": folder / "ModelCharacteristics" / "loss_graph.png",
        "results": folder / "ModelCharacteristics" / "show_results.png",
        "scores": model.metrics,
    }
