"""The main job from end to end, on a scene of its own: minutes on two cores, no download.

It makes a procedural town, cuts chips, trains, translates the whole aerial image, and scores the
held-out ground against two baselines that need no network.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rasterio.windows import Window

from geo_p2p.baselines import MedianColour, PixelRegression
from geo_p2p.chips import ChipFolder, export_chips
from geo_p2p.data import DataBunch, prepare_data
from geo_p2p.errors import GeoP2PError
from geo_p2p.evaluate import evaluate_rasters
from geo_p2p.grid import span_window
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.predict import Model, predict
from geo_p2p.raster import RasterSource
from geo_p2p.report import as_picture, save_figure, triptych
from geo_p2p.scene import SceneFiles, Town, write_scene
from geo_p2p.version import versions

__all__ = ["DemoConfig", "run_demo"]

Progress = Callable[[str, int, int], None]

MARK = "demo.json"
"""Settings and versions: written first, and what tells the folder of a demo from any other."""

MADE = (
    *("scene", "chips", "model", "translated.tif", "median.tif", "regression.tif"),
    *("losses.png", "demo.png", "scores.json"),
)
"""What else a demo leaves in its folder."""


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the demo: sized for three minutes of training on two cores.

    Parameters
    ----------
    size : side of the aerial image, px.
    tile_size, stride : of the chips, px. A quarter of a chip from one to the next: many chips and
        few epochs learn more in the same time than few chips and many epochs.
    epochs, batch_size, ngf, ndf, lr, detail, ema : of the training, with small networks.
    pixel_weight, gan_weight : a strong L1, because in minutes the adversary has no time to earn the
        texture that it costs.
    seed : of the town, the split and the training.
    """

    size: int = 1536
    tile_size: int = 256
    stride: int = 64
    epochs: int = 8
    batch_size: int = 2
    ngf: int = 24
    ndf: int = 8
    lr: float = 7e-4
    detail: int = 0
    ema: float = 0.0
    pixel_weight: float = 300.0
    gan_weight: float = 1.0
    seed: int = 7


def run_demo(
    out_dir: str | Path,
    config: DemoConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the demo.

    Parameters
    ----------
    out_dir : folder for everything it makes.
    config : its settings; the defaults if None.
    overwrite : whether to replace what an earlier demo left there.
    progress : called with (stage, done, total).

    Returns
    -------
    dict
        Paths under "picture", "mosaic" and "model"; "scores" of "translated", "median" and
        "regression" on the held-out ground, each with "l1", "ssim" and more.

    Raises
    ------
    GeoP2PError
        If the folder exists and is not to be replaced, or is not one of a demo.
    """
    config = config or DemoConfig()
    out = _room(Path(out_dir), config, overwrite)
    tell = progress or (lambda stage, done, total: None)

    tell("scene", 0, 1)
    scene = write_scene(out / "scene", town=Town(config.seed), size=config.size)
    tell("scene", 1, 1)
    chips = _chips(out, scene, config, tell)
    data = prepare_data(chips, seed=config.seed)
    model = _train(data, config, tell)
    folder = model.save((out / "model").absolute())
    save_figure(model.plot_losses(), out / "losses.png")
    models: dict[str, Model] = {
        "translated": model.translator,
        "median": MedianColour(data.chips[0], data.scalings),
        "regression": PixelRegression(data.chips[0], data.scalings, config.seed),
    }
    scores = {name: _score(out, name, each, scene, tell) for name, each in models.items()}
    picture = _picture(out, scene, chips, scores)
    (out / "scores.json").write_text(json.dumps(scores, indent=2), encoding="utf-8")
    return {
        "picture": str(picture),
        "mosaic": str(out / "translated.tif"),
        "model": str(folder),
        "scores": scores,
    }


def _room(out: Path, config: DemoConfig, overwrite: bool) -> Path:
    """Make the demo's folder; of an earlier demo only what it made is removed."""
    if out.exists() and not overwrite:
        raise GeoP2PError(f"{out}: exists already; choose another folder or say overwrite")
    if not out.absolute().parent.is_dir():
        raise GeoP2PError(f"{out}: its parent folder does not exist; make it first")
    # An analyst's own chips and model may bear the same names.
    if out.exists() and not (out / MARK).is_file():
        raise GeoP2PError(f"{out}: not the folder of a demo, so nothing in it is replaced")
    try:
        out.mkdir(exist_ok=True)
        settings = {"settings": asdict(config), "versions": versions()}
        (out / MARK).write_text(json.dumps(settings, indent=2), encoding="utf-8")
        for path in (out / name for name in MADE):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise GeoP2PError(f"{out}: cannot be written ({error.strerror or error})") from error
    return out


def _chips(out: Path, scene: SceneFiles, config: DemoConfig, tell: Progress) -> Path:
    """Cut chips, the parts half a chip from each other."""
    return export_chips(
        scene.aerial,
        scene.map,
        out / "chips",
        tile_size=config.tile_size,
        stride=config.stride,
        buffer=config.tile_size // 2,
        seed=config.seed,
        progress=lambda done, total: tell("chips", done, total),
    )


def _train(data: DataBunch, config: DemoConfig, tell: Progress) -> Pix2Pix:
    """Train a small model; everything that is not named here is the recipe's."""
    model = Pix2Pix(
        data,
        batch_size=config.batch_size,
        ngf=config.ngf,
        ndf=config.ndf,
        lr=config.lr,
        detail=config.detail,
        ema=config.ema,
        pixel_weight=config.pixel_weight,
        gan_weight=config.gan_weight,
        seed=config.seed,
    )
    tell("training", 0, config.epochs)
    # The step size ends at nothing, so the last weights are the ones: nothing need be kept.
    model.fit(
        config.epochs,
        checkpoint=False,
        progress=lambda done, total: tell("training", done, total),
    )
    return model


def _score(out: Path, name: str, model: Model, scene: SceneFiles, tell: Progress) -> dict[str, Any]:
    """Translate the whole aerial image and score the ground no chip was trained on."""
    mosaic = out / f"{name}.tif"
    predict(
        model,
        RasterSource(scene.aerial),
        mosaic,
        progress=lambda done, total: tell(f"predicting: {name}", done, total),
    )
    return evaluate_rasters(mosaic, scene.map, chips=out / "chips", split="val")


def _picture(out: Path, scene: SceneFiles, chips: Path, scores: Mapping[str, Any]) -> Path:
    """Draw input, truth and translation of the held-out ground, pixel for pixel."""
    aerial = RasterSource(scene.aerial)
    truth = RasterSource(scene.map, like=aerial.frame)
    translated = RasterSource(out / "translated.tif")
    window = _held_out(ChipFolder.open(chips), aerial)
    images = [as_picture(*source.read(window)) for source in (aerial, truth, translated)]
    told = ", ".join(f"{name} {score['l1']:.2f}" for name, score in scores.items())
    caption = f"Ground that no chip was trained on. Mean absolute error of 255: {told}."
    return triptych(out / "demo.png", images, ["input", "truth", "translated"], caption=caption)


def _held_out(folder: ChipFolder, aerial: RasterSource) -> Window:
    """The largest block of validation territory, px of the aerial image."""
    saved = folder.split
    blocks = [Window(*map(int, block)) for block in saved["blocks"]] if saved else []
    if not blocks:
        return aerial.frame.window
    block = blocks[0]
    rows = block.row_off, min(block.row_off + block.height, aerial.frame.height)
    cols = block.col_off, min(block.col_off + block.width, aerial.frame.width)
    return span_window(rows, cols)
