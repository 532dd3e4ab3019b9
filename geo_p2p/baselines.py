"""Translations without a network: what a model must beat to be worth its training.

Both are models like any other, so that they are predicted, stitched and scored the same way.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.chips import Chip
from geo_p2p.errors import ModelError

__all__ = ["CopiedInput", "MedianColour", "PixelRegression"]

SAMPLE = 60_000
"""Training pixels of the regression, spread evenly over the chips."""


class MedianColour:
    """Answers with the training targets' median, band by band: the best constant in L1.

    For classes, with the most frequent one.
    """

    def __init__(self, chips: Sequence[Chip], scalings: tuple[Scaling, Scaling]) -> None:
        self.card = _card(scalings, "median")
        pixels = _pixels(chips, scalings[1], target=True)
        middle = np.mean if scalings[1].classes else np.median
        self._colour = middle(pixels, axis=0).astype(np.float32)
        self.fingerprint = _fingerprint(self.card, self._colour)

    def __call__(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Paint (batch, channels, rows, cols) with one colour."""
        shape = (len(tiles), len(self._colour), *tiles.shape[2:])
        return np.broadcast_to(self._colour[None, :, None, None], shape).copy()


class CopiedInput:
    """Answers with its input, stretched over the target's range: band for band, or their mean.

    What is nearer to its input than to the truth has learned to do nothing. For classes there is
    no such answer.

    Raises
    ------
    ModelError
        For a target of classes.
    """

    def __init__(self, scalings: tuple[Scaling, Scaling]) -> None:
        if scalings[1].classes:
            raise ModelError("an input cannot be copied into classes: compare with the median")
        self.card = _card(scalings, "copy")
        self.fingerprint = _fingerprint(self.card)

    def __call__(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Copy (batch, channels, rows, cols)."""
        channels = self.card.target.channels
        if tiles.shape[1] != channels:
            tiles = tiles.mean(1, keepdims=True).repeat(channels, 1)
        return tiles


class PixelRegression:
    """Regresses each target band on the input's bands of the same pixel, by boosted trees.

    It sees colour and no context: what a network gains over it is what it sees around a pixel.
    """

    def __init__(
        self, chips: Sequence[Chip], scalings: tuple[Scaling, Scaling], seed: int = 42
    ) -> None:
        self.card = _card(scalings, "regression")
        x = _pixels(chips, scalings[0], target=False)
        y = _pixels(chips, scalings[1], target=True)
        # What it is scored by beside the network: absolute error; for classes, whose channels are
        # 0 and 1, the squared error makes it their probability.
        loss = "squared_error" if scalings[1].classes else "absolute_error"
        self._trees = [
            HistGradientBoostingRegressor(
                loss=loss, max_iter=60, early_stopping=False, random_state=seed
            ).fit(x, band)
            for band in y.T
        ]
        self.fingerprint = _fingerprint(self.card, x, y, np.array(seed))

    def __call__(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Translate (batch, channels, rows, cols) pixel by pixel."""
        batch, channels, rows, cols = tiles.shape
        pixels = tiles.transpose(0, 2, 3, 1).reshape(-1, channels)
        bands = [tree.predict(pixels).reshape(batch, rows, cols) for tree in self._trees]
        return np.stack(bands, 1).astype(np.float32)


def _card(scalings: tuple[Scaling, Scaling], name: str) -> ModelCard:
    """Card of a model that looks at one pixel at a time."""
    x, y = scalings
    return ModelCard(x, y, size=1, network=name, arguments={}, stride=1, halo=0, tile_safe=True)


def _fingerprint(card: ModelCard, *learned_from: NDArray[Any]) -> str:
    """SHA-256 over a card and what else decides the results."""
    digest = hashlib.sha256(json.dumps(card.to_emd("", ""), sort_keys=True).encode())
    for array in learned_from:
        digest.update(array.tobytes())
    return digest.hexdigest()


def _pixels(chips: Sequence[Chip], scaling: Scaling, *, target: bool) -> NDArray[np.float32]:
    """Scaled valid pixels of chips, (n, channels), thinned to about `SAMPLE`; pairs stay pairs."""
    total = sum(int(chip.valid.sum()) for chip in chips)
    # Odd, so that it does not keep to some columns of chips that are a power of two wide.
    step = total // SAMPLE | 1
    images = [
        scaling.forward(chip.y if target else chip.x, chip.valid)[:, chip.valid] for chip in chips
    ]
    return np.concatenate([image.T[::step] for image in images])
