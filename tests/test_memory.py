"""How many chips a step has room for, and what is said where it had none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pairs import TINY, bunch, inverted
from torch import Tensor

from geo_p2p import Pix2Pix, estimate_batch_size, processes
from geo_p2p.errors import ModelError
from geo_p2p.pix2pix import estimate, memory
from geo_p2p.pix2pix.memory import PER_WEIGHT, largest_batch

from fastai.callback.core import Callback  # isort: skip

ROOM = 50e6


def model(count: int = 6, **settings: Any) -> Pix2Pix:
    return Pix2Pix(bunch(inverted(count)), **{**TINY, "batch_size": 4, **settings})


def room_for(trained: Pix2Pix, free: float = ROOM) -> int:
    assert trained._training is not None
    return largest_batch(trained._training, free)


def test_twice_the_memory_holds_twice_the_chips_and_wider_networks_fewer() -> None:
    weights = sum(
        p.numel() for net in (model().generator, model().discriminator) for p in net.parameters()
    )
    one, two = (room_for(model(), PER_WEIGHT * weights + free) for free in (ROOM, 2 * ROOM))
    assert two == pytest.approx(2 * one, abs=1)
    assert room_for(model(ngf=8)) < one
    assert room_for(model(gan_weight=0)) > one
    assert room_for(model(), 1000) == 0
    assert room_for(model(), float("inf")) == memory.MOST


def test_what_is_counted_is_what_a_step_keeps() -> None:
    """Of one convolution and its norm: its input, its output, and what the norm made of it."""
    trained = model()
    assert trained._training is not None
    small = memory._bytes_a_chip(trained._training)
    trained._training.learn.model = torch.nn.Conv2d(2, 1, 3, padding=1)
    trained._training.config = trained.config.__class__(gan_weight=0)
    # The input, 2 bands; the output, made a loss of: the difference's sign or mask, 1 band each.
    plain = memory._bytes_a_chip(trained._training)
    pixels = 32 * 32
    assert 4 * 2 * pixels <= plain <= 4 * 8 * pixels
    assert small > plain


def test_an_estimate_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = model()
    monkeypatch.setattr(estimate, "free_memory", lambda device: ROOM)
    before = [value.clone() for value in trained.generator.state_dict().values()]
    chance = torch.random.get_rng_state()
    found = estimate_batch_size(trained)
    assert torch.equal(torch.random.get_rng_state(), chance)
    after: list[Tensor] = list(trained.generator.state_dict().values())
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert all(p.grad is None for p in trained.generator.parameters())
    assert found.recommended_batchsize in (1, 2, 4)  # of six chips
    assert found.recommended_batchsize <= found.max_batchsize <= 6
    with pytest.raises(ModelError, match="only 'train' is estimated"):
        estimate_batch_size(trained, "eval")


Raised = Callable[[], RuntimeError]


@pytest.mark.parametrize(
    "raised",
    [
        lambda: torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
    ],
)
@pytest.mark.parametrize(("free", "advice"), [(ROOM, "batch_size=3 would fit"), (0, "smaller")])
def test_a_step_without_room_is_one_line_with_a_batch_that_fits(
    raised: Raised, free: float, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Callback):  # type: ignore[misc]
        def before_backward(self) -> None:
            raise raised()

    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    with pytest.raises(ModelError, match=f"no memory for a step of 4 chips.*{advice}") as caught:
        model().fit(1, checkpoint=False, progress=False, callbacks=[Full()])
    assert "\n" not in str(caught.value)


def test_among_several_processes_nothing_is_tried_that_the_others_would_have_to_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = model()
    assert trained._training is not None
    monkeypatch.setattr(processes, "count", lambda: 2)
    words = "take a smaller batch_size, or more processes"
    with pytest.raises(ModelError, match=words), memory.told_of_memory(trained._training):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_other_failures_keep_their_own_words() -> None:
    class Broken(Callback):  # type: ignore[misc]
        def before_backward(self) -> None:
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot"):
        model().fit(1, checkpoint=False, progress=False, callbacks=[Broken()])
