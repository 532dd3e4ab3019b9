"""A whole training of the published recipe comes from its seed alone, to the bit."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from pairs import blobs, bunch, chip
from torch import Tensor

from geo_p2p.data import ChipSet, DataBunch
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix.state import take

SIDE = 256
SHORT = 4


def pairs(count: int) -> DataBunch:
    images = [blobs(3, SIDE, SIDE, seed) for seed in range(count + 1)]
    chips = [chip(x, 255 - x, place=place) for place, x in enumerate(images)]
    data = bunch(chips[:count], chips[count:])
    data.asked = None, None  # the recipe decides: one chip a batch, jitter and mirror
    return data


def trained(chips: int, epochs: int, **settings: Any) -> tuple[dict[str, Tensor], list[Any]]:
    """Train the recipe "paper" with narrow networks; return its state and its history."""
    narrow = {"ngf": 2, "ndf": 2, "device": "cpu", **settings}
    model = Pix2Pix(pairs(chips), recipe="paper", **narrow)
    model.fit(epochs, checkpoint=False, progress=False)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in model.history]
    return take(model._require_training()), rows


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def elsewhere() -> None:
    """Leave the random numbers of all three libraries somewhere else."""
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)


@contextmanager
def busy() -> Iterator[None]:
    """Keep another thread at work, so that whatever runs beside it runs in another order."""
    over = threading.Event()

    def work() -> None:
        layer, image = torch.nn.Conv2d(3, 3, 3), torch.ones(1, 3, 64, 64)
        while not over.wait(0.02):
            layer(image).sum().backward()

    thread = threading.Thread(target=work)
    elsewhere()
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_some_hundred_steps_of_the_paper_s_recipe_follow_from_the_seed_to_the_bit() -> None:
    first, rows = trained(20, 10)
    counted = {name: int(value) for name, value in first.items() if name.endswith(".step")}
    assert set(counted.values()) == {200}
    with busy():
        again, told = trained(20, 10)
    assert same(again, first)
    assert told == rows


@pytest.fixture(scope="module")
def short() -> dict[str, Tensor]:
    """Return the state after a few steps."""
    return trained(SHORT, 1)[0]


def unseeded_order(patch: pytest.MonkeyPatch) -> None:
    def begin(data: DataBunch, number: int) -> None:
        data.train_dl.rng = random.Random()
        data.train_dl.dataset.begin_epoch(number)

    patch.setattr(DataBunch, "begin_epoch", begin)


def unseeded_variation(patch: pytest.MonkeyPatch) -> None:
    def begin(chips: ChipSet, number: int) -> None:
        chips.rng = np.random.default_rng()

    patch.setattr(ChipSet, "begin_epoch", begin)


def unseeded_weights(patch: pytest.MonkeyPatch) -> None:
    def initialise(net: Any, seeded: torch.Generator) -> Any:
        seeded.seed()
        return original(net, seeded)

    from geo_p2p.pix2pix import build

    original = build.initialise
    patch.setattr(build, "initialise", initialise)


def unseeded_dropout(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch, "manual_seed", lambda seed: None)


def none(patch: pytest.MonkeyPatch) -> None:
    pass


@pytest.mark.parametrize(
    ("leak", "settings"),
    [
        (none, {}),
        (unseeded_order, {}),
        (unseeded_variation, {}),
        (unseeded_weights, {}),
        (unseeded_dropout, {}),
        (none, {"seed": 43}),
    ],
)
def test_a_single_draw_without_the_seed_is_seen(
    leak: Callable[[pytest.MonkeyPatch], None],
    settings: dict[str, Any],
    short: dict[str, Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere()
    leak(monkeypatch)
    sound = leak is none and not settings
    assert same(trained(SHORT, 1, **settings)[0], short) == sound
