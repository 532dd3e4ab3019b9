"""Pairs of images, and settings, small enough to train on in a second."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window
from rasters import utm
from scipy import ndimage

from geo_p2p.card import ModelCard, Scaling, fit_scaling
from geo_p2p.chips import Chip
from geo_p2p.data import DataBunch, Origin
from geo_p2p.raster import Bands

SIDE = 32
PLAIN: dict[str, Any] = {
    **{"batch_size": 8, "lr": 2e-4, "detail": 0},
    **{"ssim_weight": 0.0, "gan_weight": 1.0, "ema": 0.0},
}
"""A GAN and a pixel loss and nothing else, so that a test names what it is about."""

TINY: dict[str, Any] = {
    **PLAIN,
    **{"halvings": 2, "ngf": 4, "ndf": 4, "layers": 1, "device": "cpu"},
}
"""Settings of a training that takes a moment."""

COLOURS = {1: (10, 20, 30, 255), 2: (200, 0, 0, 255), 5: (0, 200, 0, 255)}


def blobs(bands: int, rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Smooth noise over the whole range of 8 bits, (bands, rows, cols)."""
    noise = np.random.default_rng(seed).normal(size=(bands, rows, cols))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2), mode="wrap")
    return np.clip(128 + 70 * smooth / smooth.std(), 0, 255).astype("uint8")


def chip(x: np.ndarray, y: np.ndarray, valid: np.ndarray | None = None, place: int = 0) -> Chip:
    """Return a pair that lies ``place`` chips to the east."""
    shape = x.shape[1:]
    frame = utm(10_000, 100_000).crop(Window(place * shape[1], 0, shape[1], shape[0]))
    return Chip(x, y, np.ones(shape, bool) if valid is None else valid, frame, f"{place:06d}")


def inverted(count: int, seed: int = 0, bands: tuple[int, int] = (2, 1)) -> list[Chip]:
    """Return pairs whose target is the negative of the input's first bands."""
    images = [blobs(bands[0], SIDE, SIDE, seed + place) for place in range(count)]
    return [chip(x, 255 - x[: bands[1]], place=place) for place, x in enumerate(images)]


def classed(count: int, seed: int = 0, ends: tuple[int, int] = (110, 150)) -> list[Chip]:
    """Return pairs whose target is a class map, by thresholds on the input; some holes."""
    pairs = []
    for place in range(count):
        x = blobs(2, SIDE, SIDE, seed + place)
        y = np.array([1, 2, 5], "uint8")[np.digitize(x[:1], ends)]
        valid = np.ones((SIDE, SIDE), bool)
        valid[:4, : 4 + place] = False
        pairs.append(chip(x, y, valid, place))
    return pairs


def scalings(pairs: Sequence[Chip], **target: Any) -> tuple[Scaling, Scaling]:
    """Fit the scalings of some pairs; a palette makes the target one of classes."""
    valids = [pair.valid for pair in pairs]
    arrays = [pair.x for pair in pairs], [pair.y for pair in pairs]
    x, y = (Bands(len(side[0]), side[0].dtype.name) for side in arrays)
    y = Bands(**{**asdict(y), **target})
    return (
        fit_scaling(arrays[0], valids, asdict(x), False),
        fit_scaling(arrays[1], valids, asdict(y), y.categorical),
    )


def bunch(
    train: Sequence[Chip], valid: Sequence[Chip] = (), *, seed: int = 42, **target: Any
) -> DataBunch:
    """Return a `DataBunch` of some pairs, in batches of four."""
    both = scalings(train, **target)
    return DataBunch(train, valid, both, Origin(Path()), batch_size=4, seed=seed)


class Shown:
    """A model that is a function of (batch, channels, rows, cols), and remembers its calls."""

    def __init__(self, card: ModelCard, function: Any, fingerprint: str = "shown") -> None:
        self.card = card
        self.function = function
        self.fingerprint = fingerprint
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, tiles: np.ndarray, seed: int) -> np.ndarray:
        self.calls.append(tiles.shape)
        return self.function(tiles, seed)
