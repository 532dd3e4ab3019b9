"""A generator as prediction runs it."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy, deepcopy
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
from geo_p2p.networks import Generator, UNet, fix_statistics, per_image_norms
from geo_p2p.networks.layers import cut
from geo_p2p.networks.locality import is_local, obstacle_of, switch_dropout

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
    precision : "fp32", "bf16", "fp16" or "auto".

    Attributes
    ----------
    reload : loads it again, in another process too; None if it does not lie on disk.
    settlement : what it was `settled` by; empty of a model as it was trained.
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
        switch_dropout(self.generator, card.test_dropout)
        self.settlement: Mapping[str, str] = {}
        self._settled_by = ""

    @property
    def precision(self) -> str:
        """Name of the number format the inner layers run in."""
        return precision_name(self.dtype)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights, precision and what the card says of their use, in hexadecimal.

        Scores, provenance, and what was seen or measured of its errors do not count: they change
        nothing in what the model makes. Of a
        `settled` model it goes on behind a dash, with a hash of what it was settled by.
        """
        if self._settled_by:
            return self._settled_by
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

    @property
    def obstacle(self) -> str:
        """Why two tiles do not agree about the pixels they share; empty of a tile-safe model."""
        return "" if self.card.tile_safe else obstacle_of(self.generator, self.card.halo)

    def settled(
        self, sample: Callable[[], NDArray[np.float32]] | None, dropout: bool
    ) -> "Translator":
        """Return this model without what makes its tiles disagree, as far as that goes.

        Its card says whether it is tile-safe then: that is measured, with the halo on the card.

        Parameters
        ----------
        sample : reads tiles (count, channels, rows, cols) in [-1, 1] of what is to be translated,
            the statistics of which norms shall use for all of it; None leaves each tile its own.
        dropout : whether dropout that the card keeps on stays on, drawn by the seed of a tile.

        Raises
        ------
        ModelError
            If there is a norm whose statistics cannot be fixed.
        """
        card = replace(self.card, test_dropout=self.card.test_dropout and dropout)
        norms = per_image_norms(self.generator)
        if not norms and card.test_dropout == self.card.test_dropout:
            return self  # nothing to settle, so that the card's word stands
        settlement = {"dropout": "seeded" if card.test_dropout else "off"}
        net, told = deepcopy(self.generator), json.dumps(settlement).encode()
        if norms:
            settlement["statistics"] = "tile" if sample is None else "raster"
        if norms and sample is not None:
            tiles = sample()
            # Of the sample and not of its statistics: their last bits hang on the machine.
            told += tiles.tobytes()
            net = self._fixed(net, tiles)
        if isinstance(net, UNet):
            net.forget_untrained(card.size)
        result = Translator(net, card, str(self.device), self.precision)
        result.settlement = settlement
        for name in norms if sample is None else ():  # which may be in train mode on purpose
            result.generator.get_submodule(name).train(norms[name].training)
        result._settled_by = f"{self.fingerprint}-{hashlib.sha256(told).hexdigest()[:16]}"
        if is_local(result.generator, card.stride, card.input.channels, card.halo):
            result.card = replace(card, tile_safe=True)
        return result

    def _fixed(self, net: nn.Module, tiles: NDArray[np.float32]) -> nn.Module:
        """Return a network whose norms have the statistics of some tiles."""
        switch_dropout(net, False)  # its noise is a tile's, and not the raster's
        with exact_arithmetic(self.device, self.dtype):
            return fix_statistics(net, torch.from_numpy(tiles).to(self.device))

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
    def start(
        self, tiles: NDArray[np.float32], seed: int, margin: int = 0
    ) -> Callable[[], NDArray[np.float32]]:
        """Begin to translate tiles, and return what waits for the result, in any thread.

        On a GPU the next tiles can be sent meanwhile. Without ``margin`` px at every side, a
        multiple of the stride, which cost less then.
        """
        batch = torch.from_numpy(tiles)
        forked = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(forked), exact_arithmetic(self.device, self.dtype):
            torch.manual_seed(seed)
            # One by one: the sums of a tile must not depend on how many others came with it, and
            # a tile large enough to be worth its halo fills the device.
            output = torch.cat([self._core(self._sent(tile), margin) for tile in batch])
        if self.device.type != "cuda":
            return lambda: _to_numpy(output)
        made = torch.cuda.Event()  # type: ignore[no-untyped-call]
        made.record()
        return lambda: self._fetched(output, made)

    def _core(self, tile: Tensor, margin: int) -> Tensor:
        """Translate (1, channels, rows, cols) on the device, but for a margin."""
        net = self._network
        made: Tensor = (
            net.core(tile, margin) if isinstance(net, Generator) else cut(net(tile), margin)
        )
        return made

    @property
    def margin_work(self) -> float:
        """Work for a pixel of a tile's margin over that for one within, 0 to 1."""
        return self.generator.margin_work if isinstance(self.generator, Generator) else 1.0

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
