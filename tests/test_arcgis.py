"""The surface of arcgis.learn: its names do what they say, and leave no trace where they should."""

import csv
import math
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from fastai.callback.core import Callback
from pairs import TINY, bunch, chip, inverted
from PIL import Image
from rasters import utm, write

from geo_p2p.data import DataBunch, prepare_data
from geo_p2p.errors import ModelError
from geo_p2p.model_file import load_card, load_model
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix import fit as fitting
from geo_p2p.pix2pix.arcgis import construction
from geo_p2p.pix2pix.callbacks import one_cycle
from geo_p2p.pix2pix.lr_find import chosen
from geo_p2p.pix2pix.state import take
from geo_p2p.raster import RasterSource


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a folder of its own, and calibrate batch norm on little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "CALIBRATION", 3)


def tiny(data: DataBunch | None = None, **settings: Any) -> Pix2Pix:
    data = bunch(inverted(8), inverted(3, seed=50)) if data is None else data
    return Pix2Pix(data, **{**TINY, "lr": 1e-3, **settings})


def same(one: Pix2Pix, two: dict[str, torch.Tensor]) -> bool:
    now = take(one._require_training())
    return now.keys() == two.keys() and all(torch.equal(now[name], two[name]) for name in now)


# ------------------------------------------------------------------ lr_find


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "dropout": 0.5}], ids=["plain", "mean"])
def test_looking_for_a_step_size_leaves_no_trace(settings: dict[str, Any]) -> None:
    model, sound = tiny(**settings), tiny(**settings)
    model.fit(1, checkpoint=False, progress=False)
    sound.fit(1, checkpoint=False, progress=False)
    before = take(model._require_training())
    chance = torch.get_rng_state(), random.getstate()
    rate = model.lr_find(num_it=9)
    assert 1e-6 < rate < 1
    assert same(model, before)
    assert torch.equal(torch.get_rng_state(), chance[0])
    assert random.getstate() == chance[1]
    assert len(model.history) == 1
    assert not any(module.training for module in model.generator.modules())
    for each in (model, sound):  # what is trained next is what it would have been
        each.fit(1, checkpoint=False, progress=False)
    assert same(model, take(sound._require_training()))


def test_the_sweep_moves_both_networks_together() -> None:
    model, rates = tiny(), []
    judge = model._require_training().adversary.optimiser

    class Note(Callback):
        order = 69

        def before_step(self) -> None:
            rates.append((self.opt.hypers[-1]["lr"], judge.param_groups[0]["lr"]))

    model.learn.add_cb(Note())
    model.lr_find(start_lr=1e-5, end_lr=1e-3, num_it=5)
    generator, discriminator = zip(*rates, strict=True)
    assert generator == discriminator
    assert generator == pytest.approx(tuple(np.geomspace(1e-5, 1e-3, 5)))
    (axes,) = model.lr_figure.axes
    assert axes.lines[0].get_xdata().tolist() == pytest.approx(list(generator))


def test_a_step_size_is_chosen_where_the_loss_falls() -> None:
    rates = np.geomspace(1e-6, 1, 13)
    losses = [5, 5, 5, 5, 4, 3, 2, 1, 0.9, 2, 9, 9, 9]
    assert 1e-4 < chosen(rates, losses) < 2e-3
    with pytest.raises(ModelError, match="fell at no step size: give lr by hand"):
        chosen(rates, list(range(13)))
    with pytest.raises(ModelError, match="a sweep from 1 to 1e-06"):
        tiny().lr_find(start_lr=1, end_lr=1e-6)


def test_a_sweep_that_breaks_is_put_back_too() -> None:
    model = tiny()
    before = take(model._require_training())
    loss, calls = model.learn.loss_func, []

    def fails(*batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError
        return loss(*batch)

    model.learn.loss_func = fails
    with pytest.raises(MemoryError):
        model.lr_find(num_it=9)
    assert same(model, before)


# ------------------------------------------------------------------ fit


def test_one_cycle_raises_the_step_size_and_keeps_the_decay_rates() -> None:
    model, seen = tiny(), []

    class Note(Callback):
        order = 99

        def before_step(self) -> None:
            (group,) = self.opt.opt.param_groups
            seen.append((group["lr"], group["betas"]))

    model.fit(8, lr=1e-2, one_cycle=True, checkpoint=False, progress=False, callbacks=[Note()])
    rates, betas = zip(*seen, strict=True)
    assert set(betas) == {(0.5, 0.999)}
    assert rates == pytest.approx([1e-2 * one_cycle(step / 16) for step in range(16)])
    assert (rates[0], max(rates)) == pytest.approx((1e-2 / 25, 1e-2))
    assert rates.index(max(rates)) == 4
    assert list(rates[4:]) == sorted(rates[4:], reverse=True)
    assert one_cycle(1.0) == pytest.approx(1e-5)


def test_what_arcgis_has_and_this_has_not_is_refused_by_name() -> None:
    model = tiny()
    for work, said in {
        lambda: model.fit(1, mixed_precision=True): "mixed_precision: give Pix2Pix",
        lambda: model.fit(1, wd=0.1): "fit knows no setting called wd",
        lambda: model.save("m", publish=True): "publish: nothing is sent anywhere",
        lambda: model.save("m", framework="TF-ONNX"): "only PyTorch",
        lambda: model.save("m", zip_files=True): "save knows no setting called zip_files",
        lambda: tiny(perceptual_loss=True): "perceptual_loss: .* no gradient",
        lambda: tiny(backbone="vgg16"): "backbone 'vgg16': choose one of encoder, resnet, unet",
    }.items():
        with pytest.raises(ModelError, match=said):
            work()
    assert not list(Path().iterdir())
    model.fit(1, mixed_precision=False, checkpoint=False, progress=False)


def test_a_backbone_is_a_kind_of_generator() -> None:
    model = tiny(backbone="resnet", perceptual_loss=False)
    assert model.card.network == "resnet"
    assert tiny(backbone=None).card.network == "unet"
    assert set(model.supported_backbones) >= {"unet", "resnet", "resnet34", "resnext50_32x4d"}
    assert construction({"backbone": "resnet34"}) == {"backbone": "resnet34"}
    assert set(model.supported_datasets) >= {"Pix2Pix", "Export_Tiles"}


def test_what_can_be_monitored_is_what_was_measured() -> None:
    model = tiny()
    assert "valid_miou" in model.available_metrics
    model.fit(1, monitor="valid_ssim", checkpoint=False, progress=False)
    assert model.available_metrics[0] == "valid_loss"
    assert {"valid_psnr", "valid_ssim"} <= set(model.available_metrics)
    assert "valid_miou" not in model.available_metrics


def test_unfreezing_lets_every_layer_learn() -> None:
    model = tiny()
    model.generator.requires_grad_(False)
    model.unfreeze()
    nets = model.generator, model.discriminator
    assert all(p.requires_grad for net in nets for p in net.parameters())


# ------------------------------------------------------------------ save and load


class Pictures(HTMLParser):
    """The sources of the pictures of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "img":
            self.sources.append(dict(attrs)["src"])

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_saved_model_has_a_page_pictures_and_its_history() -> None:
    model = tiny()
    model.fit(2, checkpoint=False, progress=False)
    folder = model.save("a <b> & c")
    page = Pictures((folder / "model_metrics.html").read_text("utf-8"))
    assert "a <b> & c" in page.text
    assert f"{model.metrics['psnr']:.4g}" in page.text
    assert page.sources == [
        "ModelCharacteristics/loss_graph.png",
        "ModelCharacteristics/show_results.png",
    ]
    for source in page.sources:
        with Image.open(folder / source) as picture:
            assert min(picture.size) > 100
    with (folder / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_a_package_serves_wherever_a_model_does() -> None:
    model = tiny()
    model.fit(1, checkpoint=False, progress=False)
    package = model.save("town", compute_metrics=False) / "town.dlpk"
    assert load_card(package).metrics == {}
    moved = package.replace("moved.dlpk")
    assert load_model(moved, "cpu").fingerprint == model.translator.fingerprint
    again = Pix2Pix.from_model(moved, model.data)
    assert again.epochs == 1
    again.fit(1, checkpoint=False, progress=False)
    alone = Pix2Pix.from_model(moved)
    assert load_model(alone.save("copy"), "cpu").fingerprint == model.translator.fingerprint


def test_with_its_optimiser_a_saved_model_goes_on_to_the_bit() -> None:
    model = tiny(norm="layer", ema=0.9)
    model.fit(1, checkpoint=False, progress=False)
    folder = model.save("town", save_optimizer=True)
    data = bunch(inverted(8), inverted(3, seed=50))
    for path in (folder, folder / "town.dlpk"):
        again = Pix2Pix.from_model(path, data)
        assert same(again, take(model._require_training()))
        assert again.history == model.history


def test_loading_takes_over_weights_and_scaling_and_no_settings() -> None:
    dark = [chip(p.x // 2, p.y // 2 + 10, place=i) for i, p in enumerate(inverted(8))]
    as16 = [chip(p.x, p.y.astype("uint16"), place=i) for i, p in enumerate(dark)]
    model = tiny(bunch(as16), ema=0.5)
    model.fit(1, checkpoint=False, progress=False)
    model.save("town")
    other = tiny(bunch([chip(p.x, 2 * p.y, place=i) for i, p in enumerate(as16)]), seed=3, lr=5e-4)
    other.fit(1, checkpoint=False, progress=False)
    assert other.card.target != model.card.target
    other.load("town")
    assert other.card.target == model.card.target
    assert other.data.train_dl.dataset.scalings == model.data.scalings
    assert other.data.train_dl.dataset.augmentation.kind == "dihedral"
    assert other.translator.fingerprint == model.translator.fingerprint
    assert other.config.lr == 5e-4
    assert not any("optimiser" in name for name in take(other._require_training()))
    other.fit(1, checkpoint=False, progress=False)
    started = tiny(bunch(as16), pretrained_path="town")
    assert started.translator.fingerprint == model.translator.fingerprint
    with pytest.raises(ModelError, match="a unet of .* take from_model to have the other"):
        tiny(bunch(as16), ngf=6).load("town")
    with pytest.raises(ModelError, match="gone: no such model"):
        other.load("gone")


# ------------------------------------------------------------------ predict


def test_one_image_is_translated_in_its_place_and_type(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.integers(0, 60_000, (2, 96, 128)).astype("uint16")
    src = write(tmp_path / "x.tif", x, utm(96, 128))
    truth = write(tmp_path / "y.tif", (60_000 - x[:1]).astype("uint16"), utm(96, 128))
    data = prepare_data(src, additional=truth, chip_size=32, stride=32, working_dir=tmp_path / "w")
    model = tiny(data)
    big = write(tmp_path / "big.tif", x[:, :70, :90], utm(70, 90))
    out = model.predict(big)
    assert out == tmp_path / "w" / "big_translated.tif"
    with rasterio.open(out) as one, rasterio.open(big) as two:
        assert (one.crs, one.transform, one.shape) == (two.crs, two.transform, two.shape)
        assert one.dtypes == ("uint16",)
    assert RasterSource(out).read()[0].max() > 255
    assert model.predict(big) == out  # a notebook can be run again
    assert math.prod(RasterSource(out).frame.shape) == 70 * 90
