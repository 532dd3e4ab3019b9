"""What is told of a training: the numbers are right, they are on disk, and failures are seen."""

import csv
import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from pairs import COLOURS, SIDE, TINY, blobs, bunch, chip, classed, inverted
from PIL import Image
from torch import Tensor, nn

from geo_p2p.data import DataBunch
from geo_p2p.errors import ModelError
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix import fit as fitting
from geo_p2p.pix2pix.state import take
from geo_p2p.pix2pix.telemetry import _accuracies
from geo_p2p.pix2pix.watch import advice
from geo_p2p.translate.scoring import translate_chips


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a folder of its own, and calibrate batch norm on little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "CALIBRATION", 3)


def tiny(data: DataBunch | None = None, **settings: Any) -> Pix2Pix:
    data = bunch(inverted(8), inverted(3, seed=50)) if data is None else data
    return Pix2Pix(data, **{**TINY, "lr": 1e-3, **settings})


# ------------------------------------------------------------------ the numbers


def holed(count: int, seed: int) -> list[Any]:
    """Pairs whose invalid pixels hold nonsense."""
    pairs = []
    for place, pair in enumerate(inverted(count, seed)):
        valid = np.ones((SIDE, SIDE), bool)
        valid[: place + 1] = False
        pairs.append(chip(pair.x, np.where(valid, pair.y, 7).astype("uint8"), valid, place))
    return pairs


@pytest.mark.parametrize("kind", ["values", "classes"])
def test_validation_is_scored_as_the_saved_model_would_be(kind: str) -> None:
    if kind == "values":
        data, names = bunch(holed(8, 0), holed(5, 50)), ["l1", "rmse", "psnr", "ssim", "hp_l1"]
    else:
        data = bunch(classed(8), classed(5, seed=50), colors=COLOURS)
        names = ["accuracy", "miou"]
    # Nothing is calibrated when the training is over, and nothing rounded.
    model = tiny(data, norm="layer", precision="fp32")
    model.fit(2, checkpoint=False, progress=False)
    scores = model.compute_metrics()
    for name in names:
        assert model.history[-1][f"valid_{name}"] == pytest.approx(scores[name], rel=1e-6), name


def test_of_many_validation_chips_some_are_scored_always_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from geo_p2p.pix2pix import telemetry

    monkeypatch.setattr(telemetry, "SCORED", 3)
    data = bunch(inverted(4), inverted(7, seed=50))
    model = tiny(data, norm="layer", precision="fp32")
    model.fit(1, checkpoint=False, progress=False)
    chips = data.chips[1]
    data.chips = data.chips[0], [chips[0], chips[3], chips[6]]
    assert model.history[0]["valid_l1"] == pytest.approx(model.compute_metrics()["l1"])


class Spy(Callback):
    """Keeps what a training step works with."""

    order = 59

    def __init__(self, judge: nn.Module) -> None:
        self.judge = judge
        self.norms: list[list[float]] = []

    def before_step(self) -> None:
        nets = self.learn.model, self.judge
        flat = [torch.cat([p.grad.flatten() for p in net.parameters()]) for net in nets]
        self.norms.append([float(each.double().norm()) for each in flat])


def test_gradient_norms_are_those_of_the_steps() -> None:
    model = tiny()
    spy = Spy(model.discriminator)
    model.fit(1, checkpoint=False, progress=False, callbacks=[spy])
    told = [model.history[0][name] for name in ("gen_grad_norm", "disc_grad_norm")]
    assert told == pytest.approx(np.mean(spy.norms, axis=0).tolist(), rel=1e-5)


def test_accuracies_are_the_shares_of_patches_judged_right() -> None:
    real, fake = torch.tensor([[0.6, 0.4, 0.9, -1.0]]), torch.tensor([[0.2, 0.7, -0.5, -2.0]])
    shares = {gan: [float(v) for v in _accuracies(([real], [fake]), gan).values()] for gan in GANS}
    assert shares == {"lsgan": [0.5, 0.75], "bce": [0.75, 0.5]}
    scales = [real, torch.ones(4)]
    several = _accuracies((scales, scales), "bce")
    assert [float(v) for v in several.values()] == [0.875, 0.125]


GANS = ("lsgan", "bce")


def test_a_discriminator_that_knows_is_always_right() -> None:
    class Knows(nn.Module):
        smallest = 1

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor, image: Tensor) -> Tensor:
            same = (image - -x[:, :1]).abs().mean((1, 2, 3)) < 0.02
            return same.float() + self.weight

    model = tiny()
    judge = Knows()
    adversary = model._require_training().adversary
    adversary.discriminator = adversary.judge = judge
    adversary.optimiser = torch.optim.SGD(judge.parameters(), 0)
    model.fit(1, checkpoint=False, progress=False)
    row = model.history[0]
    assert (row["d_accuracy_real"], row["d_accuracy_fake"]) == (1.0, 1.0)


# ------------------------------------------------------------------ what is not a number


def spoiled_loss(model: Pix2Pix, step: int, factor: float) -> None:
    """Let a loss be no number from one training step on."""
    loss, calls = model.learn.loss_func, []

    def spoiled(pred: Tensor, *rest: Tensor) -> Tensor:
        calls.append(pred.requires_grad)
        return loss(pred, *rest) * (factor if sum(calls) >= step else 1)

    model.learn.loss_func = spoiled


@pytest.mark.parametrize(("checkpoint", "copies"), [(False, 2), (True, 1)])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_last_good_weights_are_there_after_a_failure(
    ema: float, checkpoint: bool, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sound = tiny(ema=ema, norm="layer"), tiny(ema=ema, norm="layer")
    sound.fit(3, checkpoint=False, progress=False, callbacks=[Stop(1)])
    spoiled_loss(model, 4, math.nan)
    taken: list[Any] = []  # what a checkpoint holds is not copied
    monkeypatch.setattr(fitting, "take", lambda training: taken.append(0) or take(training))
    with pytest.raises(ModelError) as stopped:
        model.fit(3, checkpoint=checkpoint, progress=False)
    assert len(taken) == copies
    assert "l1_loss is nan in epoch 2, step 2: training has diverged" in str(stopped.value)
    assert len(model.history) == 1
    one, two = (take(each._require_training()) for each in (model, sound))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


class Stop(Callback):
    """Ends a fit, as early stopping does, after so many epochs."""

    order = 99

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def after_epoch(self) -> None:
        from fastai.callback.core import CancelFitException

        if self.epoch + 1 == self.epochs:
            raise CancelFitException


def test_a_gradient_that_is_no_number_takes_no_step() -> None:
    model = tiny()
    before = take(model._require_training())

    class Poison(Callback):
        def after_backward(self) -> None:
            next(self.learn.model.parameters()).grad[0] = math.inf

    with pytest.raises(ModelError, match=r"gen_grad_norm is inf in epoch 1, step 1"):
        model.fit(1, checkpoint=False, progress=False, callbacks=[Poison()])
    after = take(model._require_training())
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None or not p.grad.any() for p in model.generator.parameters())


def test_a_validation_that_is_no_number_is_a_failure_too() -> None:
    model = tiny()
    loss = model.learn.loss_func
    model.learn.loss_func = lambda p, *r: loss(p, *r) * (1 if p.requires_grad else math.nan)
    with pytest.raises(ModelError, match="valid_l1_loss is nan in epoch 1: training has diverged"):
        model.fit(1, checkpoint=False, progress=False)
    assert model.history == []


# ------------------------------------------------------------------ on disk


def table(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_history_is_a_table_on_disk_whenever_an_epoch_is_over() -> None:
    model = tiny()
    seen: list[int] = []
    model.fit(2, folder="run", progress=lambda *_: seen.append(len(table("run/history.csv"))))
    assert seen == [1, 2]
    model.fit(1, checkpoint=False, progress=False)
    rows = table("run/history.csv")
    assert [row.pop("epoch") for row in rows] == ["1", "2", "3"]
    assert [{k: float(v) for k, v in row.items()} for row in rows] == model.history


def test_a_measure_without_a_number_is_an_empty_field() -> None:
    tiles = [chip(blobs(2, 8, 8), blobs(1, 8, 8))]
    model = tiny(bunch(tiles * 4, tiles))
    model.fit(2, folder="run", progress=False)
    assert model.history[0]["valid_ssim"] is None  # no window of 11 px fits
    assert [row["valid_ssim"] for row in table("run/history.csv")] == ["", ""]
    assert model.plot_losses().axes


def test_every_epoch_has_a_picture_of_the_same_validation_chips() -> None:
    data = bunch(inverted(4), inverted(9, seed=50, bands=(2, 1)))
    model = tiny(data, norm="layer")
    model.fit(2, folder="run", progress=False, checkpoint=False)
    pictures = sorted(Path("run/samples").iterdir())
    assert [path.name for path in pictures] == ["epoch_0001.png", "epoch_0002.png"]
    with Image.open(pictures[1]) as picture:
        shown = np.asarray(picture.convert("RGB"))[..., 0]
    chips = [data.chips[1][index] for index in (0, 3, 6)]
    images = list(translate_chips(model.translator, chips))
    column = np.vstack([image[0] for image in images])
    views = np.lib.stride_tricks.sliding_window_view(shown, column.shape)
    low, high = data.scalings[1].low[0], data.scalings[1].high[0]
    stretched = np.rint(np.clip((column - low) / (high - low), 0, 1) * 255).astype("uint8")
    assert any(np.array_equal(view, stretched) for view in views.reshape(-1, *column.shape))


def test_pictures_move_no_weights() -> None:
    one, two = tiny(dropout=0.5), tiny(dropout=0.5)
    one.fit(2, folder="run", checkpoint=False, progress=False)
    two.fit(2, checkpoint=False, progress=False)
    first, second = (take(each._require_training()) for each in (one, two))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_tensorboard_gets_every_number_and_the_picture() -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = tiny()
    model.fit(2, folder="run", tensorboard=True, progress=False)
    events = EventAccumulator("run/training_log").Reload()
    assert set(events.Tags()["scalars"]) == set(model.history[0])
    told = [(e.step, e.value) for e in events.Scalars("l1_loss")]
    assert told == [(n + 1, pytest.approx(row["l1_loss"])) for n, row in enumerate(model.history)]
    assert [image.step for image in events.Images("samples")] == [1, 2]


def test_weights_and_biases_works_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    model = tiny()
    model.fit(1, folder="run", wandb="town", progress=False)
    (record,) = Path("run").glob("wandb/offline-run-*/run-*.wandb")
    content = record.read_bytes()
    assert b"d_accuracy_real" in content
    assert b"town" in content


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_what_is_not_installed_is_said_in_one_line_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in [m for m in sys.modules if m.startswith(("torch.utils.tensorboard", name))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    model = tiny()
    said = rf"^{name} is not installed: pip install 'geo_p2p\[{name}\]'"
    with pytest.raises(ModelError, match=said):
        model.fit(1, **{name: True}, progress=False)
    assert model.history == []


# ------------------------------------------------------------------ plain words


def epochs(**columns: list[float]) -> list[dict[str, float | None]]:
    usual = {"d_accuracy_real": 0.7, "d_accuracy_fake": 0.6, "fake_d_real_class_loss": 1.0}
    usual |= {"gen_grad_norm": 3.0, "disc_grad_norm": 2.0}
    count = max(map(len, columns.values()))
    return [{**usual, **{k: v[i] for k, v in columns.items()}} for i in range(count)]


SURE = {"d_accuracy_real": [0.99] * 3, "d_accuracy_fake": [0.995] * 3}
GUESSING = {"d_accuracy_real": [0.9, 0.1, 0.5], "d_accuracy_fake": [0.1, 0.89, 0.51]}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (epochs(**SURE, fake_d_real_class_loss=[1.0, 1.2, 1.5]), ["the discriminator wins"]),
        (epochs(**SURE, fake_d_real_class_loss=[1.5, 1.2, 1.0]), []),
        (epochs(d_accuracy_real=[0.99] * 2, d_accuracy_fake=[0.99] * 2), []),
        (epochs(**GUESSING, disc_grad_norm=[0.0] * 3), ["the discriminator has collapsed"]),
        (epochs(**GUESSING, disc_grad_norm=[0.1] * 3), []),
        (epochs(gen_grad_norm=[3.0, 0.0, 1e-9, 0.0]), ["the generator stands still"]),
        (epochs(gen_grad_norm=[0.0, 0.0, 1e-3]), []),
        (epochs(gen_grad_norm=[3.0] * 9), []),
    ],
)
def test_what_goes_wrong_is_named(rows: Any, said: list[str]) -> None:
    assert advice(rows) == said


def test_a_warning_is_given_once_and_tells_the_epoch(caplog: pytest.LogCaptureFixture) -> None:
    class Still(Callback):
        order = 58

        def before_step(self) -> None:
            self.learn.opt.zero_grad()
            parameter = next(self.learn.model.parameters())
            parameter.grad = torch.zeros_like(parameter)

    with caplog.at_level(logging.WARNING, "geo_p2p"):
        tiny().fit(5, checkpoint=False, progress=False, callbacks=[Still()])
    (record,) = caplog.records
    assert record.getMessage().startswith("epoch 3: the generator stands still: for 3 epochs")


def test_a_training_without_an_adversary_tells_of_none() -> None:
    model = Pix2Pix(bunch(inverted(4), inverted(2, seed=9)), **{**TINY, "gan_weight": 0.0})
    model.fit(2, checkpoint=False, progress=False)
    told = model.history[-1].keys()
    assert {"l1_loss", "total_gen_loss", "gen_grad_norm", "valid_l1_loss"} <= told
    assert not told & {"total_disc_loss", "fake_d_real_class_loss", "d_accuracy_real"}
    assert model.plot_losses().axes
