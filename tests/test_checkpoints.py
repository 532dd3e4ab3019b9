"""Checkpoints: a training goes on to the bit, whoever stopped it, and nothing else is kept."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fastai.callback.core import Callback
from pairs import TINY, bunch, inverted
from torch import Tensor

from geo_p2p.data import DataBunch
from geo_p2p.errors import ModelError
from geo_p2p.model_file import load_model
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix import fit as fitting
from geo_p2p.pix2pix.plan import FitConfig, best_epoch, has_stalled
from geo_p2p.pix2pix.state import take

CHANCE: dict[str, Any] = {"dropout": 0.5, "augment": "dihedral", "jitter": 4}
"""Settings that draw from every source of chance there is."""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a folder of its own, and calibrate batch norm on little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "CALIBRATION", 3)


def pairs() -> DataBunch:
    return bunch(inverted(9), inverted(3, seed=50))


def tiny(**settings: Any) -> Pix2Pix:
    return Pix2Pix(pairs(), **{**TINY, "lr": 1e-3, **settings})


def state(model: Pix2Pix) -> dict[str, Tensor]:
    return take(model._require_training())


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def losses(model: Pix2Pix) -> list[dict[str, float | None]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in model.history]


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


class Spoil(Callback):
    """Ruins the weights of one epoch, so that an earlier one is the best."""

    def __init__(self, epoch: int) -> None:
        self.ruined = epoch

    def before_validate(self) -> None:
        if self.epoch == self.ruined:
            for parameter in self.learn.model.parameters():
                parameter.data *= 20


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize(
    "settings",
    [CHANCE, {"ema": 0.9, **CHANCE}, {"generator": "resnet", "norm": "layer", "gan": "bce"}],
    ids=["batch norm", "running mean", "resnet"],
)
def test_some_epochs_and_the_rest_are_all_epochs_to_the_bit(settings: dict[str, Any]) -> None:
    whole = tiny(**settings)
    whole.fit(5, checkpoint="all", folder="whole", progress=False)
    assert checkpoints(Path("whole")) == [f"epoch_{n:04d}" for n in (1, 2, 3, 4, 5)]
    torch.manual_seed(99)
    part = Pix2Pix.from_model("whole/checkpoints/epoch_0002", pairs())
    assert part.epochs == 2
    part.resume(progress=False)
    assert equal(state(part), state(whole))
    assert losses(part) == losses(whole)
    # It has written beside, and not over, what came after the second epoch.
    assert part.folder != whole.folder
    for name in ("epoch_0005.safetensors", "state.safetensors"):
        one, two = (run / "checkpoints/epoch_0005" / name for run in (part.folder, Path("whole")))
        assert one.read_bytes() == two.read_bytes()


def test_every_part_of_the_state_is_needed_to_go_on() -> None:
    whole = tiny(ema=0.9)
    whole.fit(2, checkpoint="all", folder="whole", progress=False)
    before = state(whole)
    parts = {name.split(".")[0] for name in before}
    networks = {"generator", "discriminator", "average"}
    assert parts == networks | {f"{n}_optimiser" for n in networks - {"average"}} | {"steps"}
    whole.fit(1, checkpoint=False, progress=False)
    after = state(whole)
    assert {n.split(".")[0] for n in after if not torch.equal(before[n], after[n])} == parts


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from test_checkpoints import tiny, CHANCE
from geo_p2p.model_file import saving
from geo_p2p.pix2pix import fit, state
fit.CALIBRATION = 3
model = tiny(ema=0.9, **CHANCE)
calls = []

def die(*_):
    calls.append(1)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

if sys.argv[2] == "step":
    loss = model.learn.loss_func
    model.learn.loss_func = lambda *batch: die() or loss(*batch)
else:
    write = state.write_tensors
    state.write_tensors = lambda *words: die() or write(*words)
model.fit(5, folder="run", progress=False)
"""


@pytest.mark.parametrize(("where", "call", "left"), [("step", 11, 3), ("write", 3, 2)])
def test_a_killed_training_goes_on_to_the_bit(where: str, call: int, left: int) -> None:
    # An epoch is two steps and one validation batch.
    words = [sys.executable, "-W", "ignore", "-c", KILLED, str(Path(__file__).parent)]
    ran = subprocess.run([*words, where, str(call)], capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert not Path("run/history.csv").read_text().endswith(",")
    resumed = Pix2Pix.from_model("run", pairs())
    assert resumed.epochs == left
    assert (
        load_model(Path("run/checkpoints") / f"epoch_{left:04d}").card.provenance["epochs"] == left
    )
    resumed.resume(progress=False)
    whole = tiny(ema=0.9, **CHANCE)
    whole.fit(5, folder="whole", progress=False)
    assert equal(state(resumed), state(whole))
    assert losses(resumed) == losses(whole)
    assert checkpoints(Path("run")) == checkpoints(Path("whole"))
    assert str(resumed.folder) == "run"
    numbers = [line.split(",")[0] for line in Path("run/history.csv").read_text().splitlines()]
    assert numbers == ["epoch", "1", "2", "3", "4", "5"]


def test_a_training_of_weights_alone_begins_with_fresh_optimisers() -> None:
    model = tiny()
    model.fit(2, checkpoint=False, progress=False)
    loaded = Pix2Pix.from_model(model.save("m"), pairs())
    assert not any("optimiser" in name for name in state(loaded))
    with pytest.raises(ModelError, match="no fit to go on with: load a checkpoint, or call fit"):
        loaded.resume()


def test_a_finished_run_goes_on_where_the_longer_schedule_is() -> None:
    model = tiny(lr=1e-3)
    model.fit(2, folder="run", progress=False)
    again = Pix2Pix.from_model("run", pairs())
    again.resume(4, progress=False)
    assert again.epochs == len(again.history) == 4
    # Two steps an epoch, the last of which is kept; flat for half of it, then down to nothing.
    rates = [row["lr"] for row in again.history]
    assert rates == pytest.approx([1e-3, 0.5e-3, 0.75e-3, 0.25e-3])
    again.resume(progress=False)
    assert again.epochs == 4


def test_another_fit_has_a_schedule_of_its_own() -> None:
    model = tiny(lr=1e-3)
    model.fit(2, progress=False)
    model.fit(2, progress=False)
    assert [row["lr"] for row in model.history] == pytest.approx([1e-3, 0.5e-3] * 2)
    assert model._require_training().plan.first == 2


def test_other_data_than_before_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    tiny().fit(1, folder="run", progress=False)
    with caplog.at_level(logging.WARNING, "geo_p2p"):
        Pix2Pix.from_model("run", pairs())
        assert not caplog.records
        Pix2Pix.from_model("run", bunch(inverted(8), inverted(3), seed=1))
    (record,) = caplog.records
    assert "training chips 9, now 8; seed 42, now 1" in record.getMessage()


# ------------------------------------------------------------------ what is kept


@pytest.mark.parametrize(
    ("checkpoint", "kept"),
    [(True, [2, 5]), ("all", [1, 2, 3, 4, 5]), (3, [2, 3, 5]), (4, [2, 4, 5])],
)
def test_only_what_was_asked_for_is_kept(checkpoint: bool | int | str, kept: list[int]) -> None:
    model = tiny(lr=2e-3)
    model.fit(
        5,
        checkpoint=checkpoint,
        folder="run",
        progress=False,
        callbacks=[Spoil(2), Spoil(3), Spoil(4)],
    )
    assert best_epoch(model.history, "valid_loss") == 1
    assert checkpoints(Path("run")) == [f"epoch_{n:04d}" for n in kept]


def test_the_best_weights_are_those_at_the_end() -> None:
    model = tiny(norm="layer", lr=2e-3)
    model.fit(3, folder="run", progress=False, callbacks=[Spoil(2)])
    assert best_epoch(model.history, "valid_loss") == 1
    best = load_model("run/checkpoints/epoch_0002")
    for one, two in zip(best.generator.parameters(), model.generator.parameters(), strict=True):
        assert torch.equal(one, two)
    assert len(model.history) == 3
    last = tiny(norm="layer", lr=2e-3)
    last.fit(3, checkpoint=False, progress=False, callbacks=[Spoil(2)])
    assert not equal(state(last), state(model))
    assert not Path("models").exists()  # nothing was asked for, nothing was written


def test_a_run_without_a_name_lies_with_the_models(tmp_path: Path) -> None:
    one, two = tiny(), tiny()
    one.fit(1, progress=False)
    two.fit(1, progress=False)
    assert one.folder != two.folder
    assert {one.folder.parent, two.folder.parent} == {Path("models")}
    first = one.folder
    one.fit(1, progress=False)
    assert one.folder == first


def test_without_validation_chips_the_newest_is_kept() -> None:
    model = Pix2Pix(bunch(inverted(4)), **TINY)
    model.fit(3, folder="run", progress=False)
    assert checkpoints(Path("run")) == ["epoch_0003"]


def test_the_folder_of_another_run_is_not_taken() -> None:
    tiny().fit(2, folder="run", progress=False)
    with pytest.raises(ModelError, match="run: holds the checkpoints of another run"):
        tiny().fit(1, folder="run", progress=False)


def cut(folder: Path) -> None:
    os.truncate(folder / "state.safetensors", 500)


def no_tensors(folder: Path) -> None:
    (folder / "state.safetensors").unlink()


def no_json(folder: Path) -> None:
    (folder / "state.json").write_text("{")


def newer(folder: Path) -> None:
    numbers = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**numbers, "format": 99}))


def other(folder: Path) -> None:
    tiny(ngf=8, ema=0.9).fit(1, folder="other", progress=False)
    shutil.copy("other/checkpoints/epoch_0001/state.safetensors", folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "state.safetensors: weights that cannot be read"),
        (no_tensors, "state.safetensors: weights that cannot be read"),
        (no_json, "state.json: cannot be read"),
        (newer, "state.json: written by another version"),
        (other, "the state is that of other networks"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(damage: Any, said: str) -> None:
    tiny(ema=0.9).fit(1, folder="run", progress=False)
    damage(Path("run/checkpoints/epoch_0001"))
    with pytest.raises(ModelError, match=said) as refused:
        Pix2Pix.from_model("run", pairs())
    assert "\n" not in str(refused.value)


def test_a_full_disk_stops_the_training_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from geo_p2p.pix2pix import state as written

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(written, "write_tensors", full)
    model = tiny()
    with pytest.raises(ModelError, match="^run/checkpoints/epoch_0001: cannot be written"):
        model.fit(2, folder="run", progress=False)


# ------------------------------------------------------------------ which epoch is best


def rows(*values: float | None, name: str = "valid_l1_loss") -> list[dict[str, float | None]]:
    return [{name: value} for value in values]


def test_the_best_epoch_is_that_of_the_least_loss_or_the_highest_score() -> None:
    assert best_epoch(rows(3, 1, 2, 1), "valid_loss") == 1
    assert best_epoch(rows(3, 1, 2, name="valid_psnr"), "valid_psnr") == 0
    assert best_epoch(rows(None, 1, name="valid_psnr"), "valid_psnr") == 1
    assert best_epoch([{}, {}], "valid_loss") is None


def test_a_training_has_stalled_after_five_epochs_without_a_gain() -> None:
    assert not has_stalled(rows(1, 2, 2, 2, 2), "valid_loss")
    assert has_stalled(rows(1, 2, 2, 2, 2, 0.9995), "valid_loss")
    assert not has_stalled(rows(1, 2, 2, 2, 2, 0.998), "valid_loss")
    assert has_stalled(rows(5, 5, 5, 5, 5, 5, name="valid_ssim"), "valid_ssim")


def test_a_stalled_training_stops_early_and_is_then_done() -> None:
    model = tiny(lr=1e-9)
    model.fit(20, early_stopping=True, folder="run", progress=False)
    assert 6 <= model.epochs < 12
    again = Pix2Pix.from_model("run", pairs())
    again.resume(progress=False)
    assert again.epochs == model.epochs


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": float("inf")},
        {"monitor": "fid"},
        {"checkpoint": "best"},
        {"checkpoint": -1},
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        FitConfig(**wrong)


# ------------------------------------------------------------------ the running mean


def test_the_mean_is_that_of_the_steps_and_the_one_that_is_used() -> None:
    model = tiny(ema=0.8)
    trained, seen = model.learn.model, []

    class Note(Callback):
        order = -30

        def after_batch(self) -> None:
            if self.training:
                seen.append([p.detach().clone() for p in trained.parameters()])

    first = [p.detach().clone() for p in trained.parameters()]
    model.fit(3, checkpoint=False, progress=False, callbacks=[Note()])
    mean = first
    for number, values in enumerate(seen, start=1):
        decay = min(0.8, (1 + number) / (10 + number))
        mean = [decay * m + (1 - decay) * v for m, v in zip(mean, values, strict=True)]
    assert len(seen) == 6
    for one, two in zip(mean, model.generator.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    assert model.generator is not trained
    assert model.translator.generator is model.generator
    saved = load_model(model.save("m"), "cpu")
    for one, two in zip(saved.generator.parameters(), model.generator.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_mean_is_what_is_validated() -> None:
    model = tiny(ema=0.8)
    loss, nets = model.learn.loss_func, []

    def spied(*batch: Tensor) -> Tensor:
        nets.append((model.learn.model, batch[0].requires_grad))
        return loss(*batch)

    trained = model.learn.model
    model.learn.loss_func = spied
    model.fit(1, checkpoint=False, progress=False)
    assert {net for net, training in nets if training} == {trained}
    assert {net for net, training in nets if not training} == {model.generator}
    assert model.learn.model is trained
