"""The learner: it learns, the same from the same seed, and touches nothing that is not its own."""

import io
import json
import logging
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import COLOURS, SIDE, TINY, blobs, bunch, chip, classed, inverted, scalings
from rasters import utm, write
from torch import Tensor, nn

from geo_p2p.card import TrainConfig
from geo_p2p.chips import Chip, export_chips
from geo_p2p.data import Augmentation, DataBunch, Origin, prepare_data
from geo_p2p.errors import ModelError
from geo_p2p.losses import l1_loss
from geo_p2p.model_file import load_card, load_model
from geo_p2p.networks import PatchGAN
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix import fit as fitting
from geo_p2p.raster import RasterSource
from geo_p2p.translate.scoring import evaluate_model, translate_chips
from geo_p2p.version import versions

KEYS = {
    "total_gen_loss",
    "fake_d_real_class_loss",
    "l1_loss",
    "total_disc_loss",
    "real_d_loss",
    "fake_d_loss",
}


@pytest.fixture(autouse=True)
def few_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Calibrate batch norm on a few batches, enough for what is so small; write nowhere else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "CALIBRATION", 8)


def tiny(data: DataBunch | None = None, **settings: Any) -> Pix2Pix:
    data = bunch(inverted(6), inverted(3, seed=50)) if data is None else data
    return Pix2Pix(data, **{**TINY, **settings})


def weights(model: Pix2Pix) -> list[Tensor]:
    nets = model.generator, model.discriminator
    return [value.clone() for net in nets for value in net.state_dict().values()]


def equal(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


# ------------------------------------------------------------------ it learns


def test_a_known_map_is_learned() -> None:
    train, valid = inverted(24), inverted(4, seed=90)
    model = tiny(bunch(train, valid), ngf=8, lr=2e-3, seed=1)
    model.fit(12, progress=False)
    middle = np.median([pair.y for pair in train])
    constant = np.mean([np.abs(pair.y.astype(float) - middle) for pair in valid])
    scores = model.compute_metrics()
    assert scores["l1"] < constant / 3
    assert model.history[-1]["valid_l1_loss"] < model.history[0]["valid_l1_loss"] / 3


def test_classes_are_learned() -> None:
    data = bunch(classed(24), classed(4, seed=90), colors=COLOURS)
    model = tiny(data, ngf=8, lr=2e-3)
    model.fit(20, progress=False)
    scores = model.compute_metrics()
    assert scores["classes"] == [1, 2, 5]
    _, counts = np.unique(
        [pair.y[:, pair.valid] for pair in classed(1, seed=90)], return_counts=True
    )
    assert 1 - scores["accuracy"] < (1 - counts.max() / counts.sum()) / 2
    assert model.card.arguments["head"] == "logits"
    assert next(translate_chips(model.translator, classed(1))).shape == (1, SIDE, SIDE)


# ------------------------------------------------------------------ chance


def trained(seed: int = 42, order: int = 42, **settings: Any) -> list[Tensor]:
    model = tiny(bunch(inverted(6), inverted(2, seed=50), seed=order), seed=seed, **settings)
    model.fit(2, progress=False)
    return weights(model)


def test_the_same_seed_gives_the_same_weights_to_the_bit() -> None:
    settings = {"dropout": 0.5, "augment": "dihedral", "jitter": 4}
    first = trained(**settings)
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    assert equal(trained(**settings), first)
    assert not equal(trained(seed=1, **settings), first)
    assert not equal(trained(order=1, **settings), first)


def test_the_user_s_random_numbers_are_left_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    model = tiny(dropout=0.5, augment="dihedral", jitter=4)
    model.fit(2, progress=False)
    model.compute_metrics()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_fitting_again_goes_on() -> None:
    model = tiny()
    model.fit(2, progress=False)
    first, optimiser = weights(model), model.learn.opt
    model.fit(1, progress=False)
    assert model.learn.opt is optimiser  # with what Adam has gathered
    steps = [int(s["step"]) for s in optimiser.opt.state.values()]
    assert set(steps) == {3}
    assert len(model.history) == model.epochs == 3
    assert not equal(weights(model), first)
    assert model.card.provenance["epochs"] == 3


def test_a_fit_leaves_the_generator_ready_to_translate() -> None:
    model = tiny()
    model.fit(1, progress=False)
    assert not any(module.training for module in model.generator.modules())


# ------------------------------------------------------------------ what it tells


def test_the_history_holds_the_losses_of_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(lr=1e-3)
    sums: list[float] = []
    spied = l1_loss

    def loss(pred: Tensor, y: Tensor, valid: Tensor) -> Tensor:
        value = spied(pred, y, valid)
        if not model.generator.training:
            sums.append(len(pred) * float(value))
        return value

    model.learn.loss_func = loss
    model.fit(4, progress=False)
    assert len(model.history) == 4
    for epoch in model.history:
        assert epoch.keys() >= KEYS | {"valid_l1_loss", "lr", "seconds"}
        total = epoch["fake_d_real_class_loss"] + model.config.pixel_weight * epoch["l1_loss"]
        assert epoch["total_gen_loss"] == pytest.approx(total, rel=1e-5)
        halves = (epoch["real_d_loss"] + epoch["fake_d_loss"]) / 2
        assert epoch["total_disc_loss"] == pytest.approx(halves, rel=1e-5)
    assert [e["valid_l1_loss"] for e in model.history] == pytest.approx([s / 3 for s in sums])
    assert [e["lr"] for e in model.history] == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4])
    assert json.dumps(model.history)


def test_a_step_size_of_the_call_goes_before_the_recipe_s() -> None:
    model = tiny(lr=1e-3)
    model.fit(1, lr=7e-4, progress=False)
    assert model.history[0]["lr"] == 7e-4
    for wrong in ({"lr": -1.0}, {"lr": 0.0}, {"epochs": 0}):
        with pytest.raises(ModelError, match="give"):
            model.fit(**wrong)
    assert len(model.history) == 1


def test_nothing_goes_to_stdout_and_progress_is_a_line_an_epoch(capsys: Any, caplog: Any) -> None:
    model = tiny()
    with caplog.at_level(logging.INFO, "geo_p2p"):
        model.fit(2)
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        model.fit(1, progress=False)
        told: list[tuple[int, int]] = []
        model.fit(2, progress=lambda *n: told.append(n))
    assert [line.split(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert "validation" in lines[0]
    assert not caplog.records
    assert told == [(1, 2), (2, 2)]
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_on_stderr_only(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes what it writes to for a terminal
    model = tiny()
    out = sys.stdout

    def loss(*batch: Tensor) -> Tensor:
        sys.stdout.write("mine\n")
        return l1_loss(*batch)

    model.learn.loss_func = loss
    model.fit(1)
    stdout, stderr = capsys.readouterr()
    assert sys.stdout is out
    assert set(stdout.split()) == {"mine"}
    assert "training" in stderr
    assert "1/1" in stderr


def test_nothing_of_fastai_s_plumbing_is_in_use() -> None:
    names = {type(callback).__name__ for callback in tiny().learn.cbs}
    assert names == {"TrainEvalCallback", "Precision", "Adversary"}
    adam = tiny().learn
    adam.create_opt()
    (group,) = adam.opt.opt.param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.5, 0.999), 1e-8, 0)


ALONE = """
import sys, warnings
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torchvision", "tensorboard", "wandb"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
warnings.simplefilter("error")
import geo_p2p.pix2pix
print("torchvision" in sys.modules)
"""


def test_torchvision_is_not_needed_and_no_deprecation_is_told() -> None:
    ran = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("False\n", "")


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a pickle")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(f"pickle.{name}", refuse)
    for name in ("torch.load", "torch.save", "torch.serialization.load"):
        monkeypatch.setattr(name, refuse)
    model = tiny()
    model.fit(1, progress=False)
    folder = model.save(tmp_path / "m")
    Pix2Pix.from_model(folder, model.data).fit(1, progress=False)


# ------------------------------------------------------------------ what stops it


def test_a_loss_that_is_no_number_stops_the_training_in_one_line() -> None:
    model = tiny()
    model.learn.loss_func = lambda pred, y, valid: l1_loss(pred, y, valid) * torch.nan
    with pytest.raises(ModelError) as stopped:
        model.fit(3, progress=False)
    assert str(stopped.value) == (
        "l1_loss is nan in epoch 1, step 1: training has diverged; lower the learning rate "
        "(the weights are again those before this epoch)"
    )
    assert model.history == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError()], ids=repr)
def test_an_interrupted_training_can_go_on(error: BaseException) -> None:
    model = tiny()

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise error

    with pytest.raises(type(error)):
        model.fit(3, progress=stop)
    assert len(model.history) == 2
    names = {type(callback).__name__ for callback in model.learn.cbs}
    assert names == {"TrainEvalCallback", "Precision", "Adversary"}
    assert not torch.is_autocast_enabled("cpu")
    model.fit(1, progress=False)
    assert len(model.history) == 3


def test_precision_covers_both_networks_and_ends_with_the_training() -> None:
    model = tiny(precision="bf16")
    kinds: dict[str, set[Any]] = {"generator": set(), "discriminator": set()}

    def note(layer: nn.Module, _: Any, out: Tensor) -> None:
        if out.requires_grad:  # not in validation, nor where batch norm is calibrated
            kinds[layer.name].add(out.dtype)

    for name in kinds:
        for layer in getattr(model, name).modules():
            if isinstance(layer, nn.Conv2d):
                layer.name = name
                layer.register_forward_hook(note)
    losses: set[Any] = set()

    def loss(pred: Tensor, *rest: Tensor) -> Tensor:
        losses.add(pred.dtype)
        return l1_loss(pred, *rest)

    model.learn.loss_func = loss
    model.fit(1, progress=False)
    assert kinds == {name: {torch.bfloat16} for name in kinds}
    assert losses == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")
    assert all(value.dtype != torch.bfloat16 for value in weights(model))
    assert model.translator.precision == "bf16"


def test_precision_ends_with_an_error_inside_a_network() -> None:
    model = tiny(precision="bf16")

    def fail(*_: Any) -> None:
        raise MemoryError

    handle = model.generator.register_forward_hook(fail)
    with pytest.raises(MemoryError):
        model.fit(1, progress=False)
    assert not torch.is_autocast_enabled("cpu")
    handle.remove()
    model.fit(1, progress=False)


# ------------------------------------------------------------------ chips that do not suit


def sized(rows: int, cols: int) -> DataBunch:
    x = blobs(2, rows, cols)
    pairs = [chip(x, x[:1])]
    return DataBunch(pairs, [], scalings(pairs), Origin(Path()))


@pytest.mark.parametrize(
    ("size", "settings", "said"),
    [
        ((30, 30), {}, "chips of 30 px do not suit a generator of stride 4.*multiple of 4"),
        ((32, 64), {}, "export square chips"),
        ((32, 32), {"halvings": 6}, "stride 64"),
        ((16, 16), {"layers": 3}, "discriminator of 24 px.*multiple of 4, at least 24"),
        ((32, 32), {"generator": "vit"}, "generator is 'vit': choose one of unet, resnet, encoder"),
        ((32, 32), {"no_such": 1}, "no training setting is called no_such"),
        ((32, 32), {"recipe": "fast"}, "recipe 'fast': choose one of"),
        ((32, 32), {"device": "cuda:77"}, "not to be had here"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    size: tuple[int, int], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=said) as refused:
        tiny(sized(*size), **settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("generator", ["unet", "resnet"])
def test_settings_reach_the_networks(generator: str) -> None:
    model = tiny(generator=generator, norm="layer", dropout=0.25, ngf=6, ndf=5)
    assert model.card.network == generator
    arguments = model.card.arguments
    assert (arguments["norm"], arguments["dropout"], arguments["ngf"]) == ("layer", 0.25, 6)
    assert isinstance(model.discriminator, PatchGAN)
    judge = model.discriminator.arguments
    assert (judge["norm"], judge["ndf"], judge["layers"]) == ("layer", 5, 1)
    assert judge["in_channels"] == 3


def test_the_paper_s_recipe_is_not_tile_safe_and_says_so() -> None:
    x = blobs(1, 64, 64)
    pairs = [chip(x, x)]
    data = DataBunch(pairs, [], scalings(pairs), Origin(Path()))
    model = Pix2Pix(data, recipe="paper", halvings=3, ngf=4, ndf=4, device="cpu")
    card = model.card
    assert (card.tile_safe, card.test_dropout) == (False, True)
    assert (card.arguments["norm"], card.arguments["dropout"]) == ("instance", 0.5)
    assert data.batch_size == 1
    assert data.train_dl.dataset.augmentation == Augmentation("mirror", 30)
    assert tiny().card.tile_safe
    assert not tiny(test_dropout=True).card.tile_safe


# ------------------------------------------------------------------ from chips to a saved model


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that exports chips."""

    def make(**settings: Any) -> Path:
        x = blobs(2, 96, 128)
        src = write(tmp_path / "x.tif", x, utm(96, 128))
        truth = write(tmp_path / "y.tif", 255 - x[:1], utm(96, 128))
        settings = {"tile_size": SIDE, "stride": SIDE, **settings}
        return export_chips(src, truth, tmp_path / "chips", **settings)

    return make


def test_a_saved_model_translates_as_the_one_that_was_trained(folder: Any, tmp_path: Path) -> None:
    data = prepare_data(folder(bidx=(2, 1)))
    model = tiny(data)
    model.fit(1, progress=False)
    saved = model.save(tmp_path / "town")
    card = load_card(saved)
    assert card == model.card
    assert card.bands == (2, 1)
    assert card.metrics["chips"] == len(data.chips[1])
    assert card.provenance["chips"] == [len(part) for part in data.chips]
    assert card.provenance["split"] == data.origin.split
    assert card.provenance["versions"] == versions()
    loaded = load_model(saved, "cpu")
    assert loaded.fingerprint == model.translator.fingerprint
    pairs = zip(
        translate_chips(loaded, data.chips[0]),
        translate_chips(model.translator, data.chips[0]),
        strict=True,
    )
    assert all(np.array_equal(one, two) for one, two in pairs)
    big = tmp_path / "x.tif"
    outputs = [
        RasterSource(m.predict_raster(big, tmp_path / f"{i}.tif", bidx=(2, 1))).read()[0]
        for i, m in enumerate((model, Pix2Pix.from_model(saved), Pix2Pix.from_model(saved, data)))
    ]
    assert np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2])


def test_scores_are_those_of_the_saved_model_on_the_same_chips(folder: Any, tmp_path: Path) -> None:
    path = folder()
    model = tiny(prepare_data(path))
    model.fit(1, progress=False)
    scores = model.compute_metrics()
    assert evaluate_model(model.save(tmp_path / "town"), path, device="cpu") == scores
    assert model.card.metrics == scores
    model.fit(1, progress=False)
    assert model.card.metrics == {}  # those were of other weights


def test_a_loaded_model_can_be_trained_on(folder: Any, tmp_path: Path) -> None:
    data = prepare_data(folder())
    model = tiny(data, lr=3e-4, gan="bce")
    model.fit(2, progress=False)
    saved = model.save(tmp_path / "town")
    other = prepare_data(tmp_path / "chips")
    again = Pix2Pix.from_model(saved, other)
    assert equal(weights(again), weights(model))
    assert again.config == TrainConfig(**{**model.config.to_json(), "device": "auto"})
    assert other.scalings == data.scalings
    again.fit(1, progress=False)
    assert again.epochs == 3
    assert not equal(weights(again), weights(model))
    assert load_card(again.save(tmp_path / "later")).provenance["epochs"] == 3


def test_a_model_loaded_without_data_only_translates(folder: Any, tmp_path: Path) -> None:
    model = tiny(prepare_data(folder()))
    model.fit(1, progress=False)
    alone = Pix2Pix.from_model(model.save(tmp_path / "town"))
    for work in (alone.fit, alone.compute_metrics, alone.show_results):
        with pytest.raises(ModelError, match=r"loaded without data: give from_model\(path, data\)"):
            work()
    assert load_card(alone.save(tmp_path / "copy")) == model.card
    assert equal(weights(Pix2Pix.from_model(tmp_path / "copy")), weights(model))


def test_a_loaded_model_scales_as_it_was_trained(tmp_path: Path) -> None:
    dark = [chip(p.x // 2, (p.y // 2).astype("uint16"), place=i) for i, p in enumerate(inverted(4))]
    bright = [chip(p.x, p.y.astype("uint16"), place=i) for i, p in enumerate(inverted(4))]
    model = tiny(bunch(dark))
    saved = model.save(tmp_path / "town")
    data = bunch(bright)
    assert data.scalings != model.card.target
    again = Pix2Pix.from_model(saved, data)
    assert data.scalings == (model.card.input, model.card.target)
    assert data.train_dl.dataset.scalings == data.scalings
    assert again.card.target == model.card.target


def other_bands() -> DataBunch:
    return bunch(inverted(2, bands=(3, 1)))


def other_target() -> DataBunch:
    return bunch(classed(2), colors=COLOURS)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (other_bands, "the chips' input has 3 bands and 0 classes, the model's 2 and 0"),
        (other_target, "the chips' target has 1 bands and 3 classes, the model's 1 and 0"),
    ],
)
def test_a_model_is_not_trained_on_data_of_another_kind(
    tmp_path: Path, make: Callable[[], DataBunch], said: str
) -> None:
    saved = tiny().save(tmp_path / "town")
    with pytest.raises(ModelError, match=said):
        Pix2Pix.from_model(saved, make())


def test_a_model_trained_on_a_device_is_loaded_where_there_is_none(tmp_path: Path) -> None:
    saved = tiny().save(tmp_path / "town")
    emd = json.loads((saved / "town.emd").read_text())
    emd["geo_p2p"]["provenance"]["config"]["device"] = "cuda:77"
    (saved / "town.emd").write_text(json.dumps(emd))
    assert Pix2Pix.from_model(saved).device.type in ("cpu", "cuda", "mps")
    del emd["geo_p2p"]["provenance"]["config"]
    (saved / "town.emd").write_text(json.dumps(emd))
    with pytest.raises(ModelError, match="does not tell its training settings"):
        Pix2Pix.from_model(saved)
    assert load_model(saved)


# ------------------------------------------------------------------ odd folders


def test_without_validation_chips_everything_but_scores_works(folder: Any, tmp_path: Path) -> None:
    data = prepare_data(folder(split="none"))
    assert not data.chips[1]
    model = tiny(data)
    model.fit(1, progress=False)
    assert "valid_l1_loss" not in model.history[0]
    assert len(model.show_results(1).axes) >= 3
    assert load_card(model.save(tmp_path / "town")).metrics == {}
    with pytest.raises(ModelError, match="no validation chips to measure on"):
        model.compute_metrics()


def test_a_single_chip_is_enough(tmp_path: Path) -> None:
    model = tiny(bunch(inverted(1)))
    model.fit(2, progress=False)
    assert len(model.history) == 2
    assert load_model(model.save(tmp_path / "town")).card.size == SIDE


def test_holes_do_not_move_the_generator() -> None:
    def with_hole(fill: int) -> list[Chip]:
        pairs = []
        for place, pair in enumerate(inverted(4)):
            valid = np.ones((SIDE, SIDE), bool)
            valid[3:20, 5:30] = False
            x, y = (np.where(valid, image, fill).astype("uint8") for image in (pair.x, pair.y))
            pairs.append(chip(x, y, valid, place))
        return pairs

    models = [tiny(bunch(with_hole(fill))) for fill in (0, 255)]
    for model in models:
        model.fit(2, progress=False)
    assert equal(*map(weights, models))


# ------------------------------------------------------------------ pictures


@pytest.fixture(scope="module")
def looked_at() -> Iterator[Pix2Pix]:
    model = tiny(bunch(classed(4), classed(3, seed=50), colors=COLOURS))
    model.fit(2, checkpoint=False, progress=False)
    yield model


def test_results_are_drawn_beside_input_and_target(looked_at: Pix2Pix) -> None:
    figure = looked_at.show_results(2)
    assert len([axes for axes in figure.axes if axes.images]) == 2 * 3
    figure.savefig(io.BytesIO(), format="png")


def test_losses_are_drawn_with_validation_beside_training(looked_at: Pix2Pix) -> None:
    figure = looked_at.plot_losses()
    labels = [[line.get_label() for line in axes.lines] for axes in figure.axes]
    assert ["training", "validation"] in labels


def test_the_generator_is_ready_for_use_after_training(looked_at: Pix2Pix) -> None:
    assert not any(module.training for module in looked_at.generator.modules())
