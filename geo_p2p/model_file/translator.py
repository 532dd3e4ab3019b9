"""A generator as prediction runs it."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from geo_p2p.card import ModelCard
from geo_p2p.device import (
    choose_device,
    exact_arithmetic,
    free_memory,
    inference_precision,
    kept_memory,
    precision_name,
)
from geo_p2p.errors import ModelError
from geo_p2p.model_file.inference import most_alive, ready
from geo_p2p.networks import Generator

__all__ = ["Translator"]

LEAST = 128
"""Side of a tile, px, from which on borders count little in the memory for a pixel."""


class Translator:
    """A generator with its card, ready to be run on tiles: the `Model` that `predict` asks for.

    Parameters
    ----------
    generator : with its weights; moved to the device and put into eval mode.
    card : its card.
    device : name of a device, or "auto".
    precision : "fp32", "bf16" or "auto".

    Attributes
    ----------
    reload : loads it again, in another process too; None if it does not lie on disk.
    """

    def __init__(
        self,
        generator: nn.Module,
        card: ModelCard,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.card = card
        self.reload: Callable[[], Translator] | None = None
        self.device = choose_device(device)
        self.dtype = inference_precision(precision, self.device, card.target)
        self.generator = _telling(generator.to(self.device).eval(), False)
        # By hand and not by train(): the statistics stay those of training.
        for module in self.generator.modules():
            if isinstance(module, nn.Dropout):
                module.train(card.test_dropout)

    @property
    def precision(self) -> str:
        """Name of the number format the inner layers run in."""
        return precision_name(self.dtype)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights, precision and what the card says of their use, in hexadecimal.

        Scores, provenance, and what was seen or measured of its errors do not count: they change
        nothing in what the model makes.
        """
        digest = hashlib.sha256(self.precision.encode())
        card = replace(self.card, metrics={}, provenance={}, confidence=None, seen=None)
        digest.update(json.dumps(card.to_emd("", ""), sort_keys=True).encode())
        for name, tensor in sorted(self.generator.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def with_scales(self) -> "Translator":
        """Return the same, but that log scales of the errors follow the bands it gives.

        Of classes there are none, for their scores tell as much.

        Raises
        ------
        ModelError
            If the generator gives no scales.
        """
        if not (self.card.target.classes or self.card.arguments.get("confidence")):
            raise ModelError(
                "the model tells nothing of its errors: train it with --confidence, or translate "
                "without"
            )
        telling = Translator(self.generator, self.card, str(self.device), self.precision)
        telling.generator = _telling(self.generator, True)
        telling.reload = None if self.reload is None else partial(_with_scales, self.reload)
        return telling

    def bytes_per_pixel(self) -> float:
        """Memory that the network takes for each pixel of a tile, and half as much to be sure."""
        return self._bytes_per_pixel

    @cached_property
    def _bytes_per_pixel(self) -> float:
        side = self.card.stride * -(-LEAST // self.card.stride)
        tile = np.zeros((1, self.card.input.channels, side, side), np.float32)
        return 1.5 * most_alive(self._network, lambda: self(tile, 0)) / side**2

    def room(self) -> float:
        """Bytes of memory that are free on the device."""
        return free_memory(self.device)

    @property
    def threads(self) -> int:
        """Threads that read, and as many that write, to keep the network busy."""
        return min(8, max(1, (os.cpu_count() or 1) // 2)) if self.device.type == "cuda" else 1

    @cached_property
    def _network(self) -> nn.Module:
        """The generator as it is when the first tile comes, made ready for translating."""
        return ready(self.generator, self.device, self.dtype)

    def session(self) -> AbstractContextManager[None]:
        """Return a context in which tiles are best translated, one after another."""
        return kept_memory() if self.device.type == "cpu" else nullcontext()

    def exact(self, tile: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Translate a tile in fp32, to tell what the precision costs; None if that is fp32.

        Parameters
        ----------
        tile : (channels, rows, cols) in [-1, 1]; sides are multiples of the stride.

        Returns
        -------
        (channels, rows, cols), as it would be without rounding.
        """
        if self.dtype is torch.float32:
            return None
        other = Translator(self.generator, self.card, str(self.device), "fp32")
        result: NDArray[np.float32] = other(tile[None], 0)[0]
        return result

    def __call__(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Translate tiles.

        Parameters
        ----------
        tiles : (batch, channels, rows, cols) in [-1, 1]; sides are multiples of the stride.
        seed : of the dropout, if the card keeps it on.

        Returns
        -------
        (batch, channels, rows, cols) in [-1, 1], or class scores; after `with_scales` as many
        channels more, the log scales of the errors.
        """
        return self.start(tiles, seed)()

    @torch.inference_mode()
    def start(self, tiles: NDArray[np.float32], seed: int) -> Callable[[], NDArray[np.float32]]:
        """Begin to translate tiles, and return what waits for the result, in any thread.

        On a GPU the next tiles can be sent meanwhile.
        """
        batch = torch.from_numpy(tiles)
        forked = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(forked), exact_arithmetic(self.device, self.dtype):
            torch.manual_seed(seed)
            # One by one: the sums of a tile must not depend on how many others came with it, and
            # a tile large enough to be worth its halo fills the device.
            output = torch.cat([self._network(self._sent(tile)) for tile in batch])
        if self.device.type != "cuda":
            return lambda: _to_numpy(output)
        made = torch.cuda.Event()  # type: ignore[no-untyped-call]
        made.record()
        return lambda: self._fetched(output, made)

    def _fetched(self, output: Tensor, made: Any) -> NDArray[np.float32]:
        """Copy an output from the GPU, beside whatever is computed there by now."""
        self._back.wait_event(made)
        with torch.cuda.stream(self._back):
            output.record_stream(self._back)
            return _to_numpy(output)

    @cached_property
    def _back(self) -> Any:
        """The stream on which outputs come back from the GPU."""
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def _sent(self, tile: Tensor) -> Tensor:
        """Send a tile to the device, as the network wants it."""
        if self.device.type == "cuda":
            # From pinned memory a copy does not wait, and runs while the tile before is computed.
            tile = tile.pin_memory()
        tile = tile[None].to(self.device, non_blocking=True)
        return tile.contiguous(memory_format=torch.channels_last)


def _with_scales(load: Callable[[], Translator]) -> Translator:
    """Load a translator that tells its errors' scales."""
    return load().with_scales()


def _telling(generator: nn.Module, scales: bool) -> nn.Module:
    """Return a generator of the same layers that runs its scale head, if it has one, or not."""
    if not isinstance(generator, Generator) or generator.scale_head is None:
        return generator
    twin = copy(generator)
    twin.tells_scales = scales
    return twin


def _to_numpy(output: Tensor) -> NDArray[np.float32]:
    """Return (batch, channels, rows, cols) as an array, its columns last in memory."""
    result: NDArray[np.float32] = output.float().cpu().contiguous().numpy()
    return result
