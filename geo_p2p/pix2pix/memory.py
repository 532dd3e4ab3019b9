"""How many chips a training step has room for."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from geo_p2p import processes
from geo_p2p.device import exact_arithmetic, free_memory
from geo_p2p.errors import ModelError
from geo_p2p.losses import fill
from geo_p2p.pix2pix.adversary import judge_pairs
from geo_p2p.pix2pix.training import Training

__all__ = ["largest_batch", "told_of_memory"]

MARGIN = 1.3
"""What a step takes over what it keeps for the way back: gradients, and room to work in."""

PER_WEIGHT = 12
"""Bytes beside a weight itself: its gradient, and Adam's two moments."""

MOST = 1 << 20
"""Chips that are said to fit where the system does not tell how much memory there is."""

TRIED = 2
"""Chips of the batch that is tried; a norm needs more than one."""


def largest_batch(training: Training, memory: float) -> int:
    """Return how many chips a step can have in so many bytes beside the weights; 0 for none."""
    networks = (training.learn.model, training.adversary.discriminator)
    weights = sum(p.numel() for network in networks for p in network.parameters())
    rest = memory - PER_WEIGHT * weights
    return max(0, int(min(MOST, rest / (MARGIN * _bytes_a_chip(training)))))


@contextmanager
def told_of_memory(training: Training) -> Iterator[None]:
    """Say which batch would fit where one did not.

    Raises
    ------
    ModelError
        Instead of torch's own words.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_lack_of_memory(error):
            raise
        size, side = training.data.batch_size, training.data.chip_size
        training.learn.opt.zero_grad()
        if processes.count() > 1:  # to try what fits, all of them would have to come by
            advice = "take a smaller batch_size, or more processes"
        else:
            fits = min(size - 1, largest_batch(training, free_memory(training.device)))
            smaller = "cut smaller chips, or take ngf=32"
            advice = f"batch_size={fits} would fit" if fits > 0 else smaller
        raise ModelError(
            f"{training.device}: no memory for a step of {size} chips of {side} px; {advice}"
        ) from error


def _is_lack_of_memory(error: RuntimeError) -> bool:
    """Tell lack of memory from other failures; of the CPU's there is no class of its own."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "allocate memory" in str(error)


def _bytes_a_chip(training: Training) -> float:
    """Count what a chip leaves in both networks for the way back."""
    generator = deepcopy(training.learn.model).train()
    judge = deepcopy(training.adversary.discriminator).train()
    x, y = training.data.scalings
    shape = (TRIED, 1, training.data.chip_size, training.data.chip_size)
    image = torch.zeros(TRIED, x.channels, *shape[2:], device=training.device)
    target = torch.zeros(TRIED, y.channels, *shape[2:], device=training.device)
    valid = torch.ones(shape, dtype=torch.bool, device=training.device)
    dtype = training.learn.precision.dtype
    with torch.random.fork_rng([]), exact_arithmetic(training.device, dtype):
        with _counted(generator.parameters()) as kept:
            made = generator(image).float()[:, : y.channels]  # not the scales
            training.learn.loss_func(made, target, valid)
        total = sum(kept.values())
        if training.config.gan_weight:
            with _counted(judge.parameters()) as kept:
                judge_pairs(judge, image, fill(made.detach(), valid), valid)
            total += 2 * sum(kept.values())  # the real pair, and the translated one
    return total / TRIED


@contextmanager
def _counted(weights: Iterable[nn.Parameter]) -> Iterator[dict[int, int]]:
    """Note the bytes of every storage that is kept for the way back, but for those of weights."""
    known = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        yield kept
