"""A generator as prediction runs it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geo_p2p.card import ModelCard
from geo_p2p.device import choose_device, choose_precision, exact_arithmetic, precision_name

__all__ = ["Translator"]


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
        self.dtype = choose_precision(precision, self.device, card.target.dtype)
        self.generator = generator.to(self.device).eval()
        # By hand and not by train(): the statistics stay those of training.
        for module in self.generator.modules():
            if isinstance(module, nn.Dropout):
                module.train(card.test_dropout)

    @property
    def precision(self) -> str:
        """Name of the number format the inner layers run in."""
        return precision_name(self.dtype)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, precision and what the card says of their use, in hexadecimal.

        Scores and provenance do not count: they change nothing in what the model makes.
        """
        digest = hashlib.sha256(self.precision.encode())
        card = replace(self.card, metrics={}, provenance={})
        digest.update(json.dumps(card.to_emd("", ""), sort_keys=True).encode())
        for name, tensor in sorted(self.generator.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.inference_mode()
    def __call__(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Translate tiles.

        Parameters
        ----------
        tiles : (batch, channels, rows, cols) in [-1, 1]; sides are multiples of the stride.
        seed : of the dropout, if the card keeps it on.

        Returns
        -------
        (batch, channels, rows, cols) in [-1, 1], or class scores.
        """
        batch = torch.from_numpy(tiles).to(self.device)
        forked = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(forked), exact_arithmetic(self.device, self.dtype):
            torch.manual_seed(seed)
            # One by one: the sums of a tile must not depend on how many others came with it, and
            # a tile large enough to be worth its halo fills the device.
            output = torch.cat([self.generator(tile[None]) for tile in batch])
        result: NDArray[np.float32] = output.float().cpu().numpy()
        return result
