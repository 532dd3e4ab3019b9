"""The mean over the eight ways to turn and flip a tile: test-time augmentation."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card import ModelCard
from geo_p2p.predict.model import Engine, Model

__all__ = ["VIEWS", "Dihedral", "DihedralEngine", "averaged", "view"]

VIEWS = 8
"""Elements of the dihedral group of the square."""

Tiles = NDArray[np.float32]


def view(tiles: NDArray[np.float32], number: int) -> Tiles:
    """Turn and flip tiles.

    Parameters
    ----------
    tiles : (..., rows, cols).
    number : 0 to 7: +1 flips rows, +2 flips columns, then +4 swaps rows and columns.

    Returns
    -------
    (..., rows, cols), or (..., cols, rows) from 4 on.
    """
    steps = (-1 if number & 1 else 1), (-1 if number & 2 else 1)
    seen = tiles[..., :: steps[0], :: steps[1]]
    return seen.swapaxes(-2, -1) if number & 4 else seen


def _back(tiles: Tiles, number: int) -> Tiles:
    """Undo `view`: the swap first, then the flips, which undo themselves."""
    plain = tiles.swapaxes(-2, -1) if number & 4 else tiles
    return view(plain, number & 3)


def averaged(model: Model) -> Model:
    """Return the mean of a model's views, which knows where it runs if the model does."""
    if isinstance(model, Dihedral):
        return model
    if not isinstance(model, Engine):
        return Dihedral(model)
    engine: Engine = DihedralEngine(model)  # so that the type checker compares the two
    return engine


@dataclass(frozen=True)
class Dihedral:
    """A model that translates each tile eight times, turned and flipped, and takes the mean.

    Class scores are averaged before the best one is chosen. Where the model is tile-safe so is
    this: the sides of a tile are whole strides, so that a flip moves pixels by whole strides
    against those of the tile beside it, and its halo is as wide on all sides.

    Parameters
    ----------
    model : the one to average; its card says how this one wants to be used, too.
    """

    model: Any
    card: ModelCard = field(init=False)

    def __post_init__(self) -> None:
        """Take the card of the model."""
        object.__setattr__(self, "card", self.model.card)

    @property
    def fingerprint(self) -> str:
        """What tells its results from those of others, the model's own among them."""
        return hashlib.sha256(f"dihedral mean of {self.model.fingerprint}".encode()).hexdigest()

    def __call__(self, tiles: Tiles, seed: int) -> Tiles:
        """Translate (batch, channels, rows, cols); ``seed`` is the model's."""
        return _mean(partial(self.model, seen, seed) for seen in _views(tiles))


class DihedralEngine(Dihedral):
    """The same of a model that knows where it runs: it has the next view while one is computed."""

    def __call__(self, tiles: Tiles, seed: int) -> Tiles:
        """Translate (batch, channels, rows, cols); ``seed`` is the model's."""
        return self.start(tiles, seed)()

    def bytes_per_pixel(self) -> float:
        """Memory that the network takes for each pixel of a tile: one view at a time."""
        return float(self.model.bytes_per_pixel())

    def room(self) -> float:
        """Bytes of memory that are free where it runs."""
        return float(self.model.room())

    @property
    def threads(self) -> int:
        """Threads that read, and as many that write, to keep it busy."""
        return int(self.model.threads)

    def session(self) -> AbstractContextManager[None]:
        """Return a context in which tiles are best translated, one after another."""
        session: AbstractContextManager[None] = self.model.session()
        return session

    @property
    def margin_work(self) -> float:
        """Work for a pixel of a tile's margin over that for one within, 0 to 1."""
        return float(self.model.margin_work)

    def start(self, tiles: Tiles, seed: int, margin: int = 0) -> Callable[[], Tiles]:
        """Begin to translate tiles, and return what waits for the mean, in any thread."""
        waits = [self.model.start(seen, seed, margin) for seen in _views(tiles)]
        return lambda: _mean(waits)

    def exact(self, tile: Tiles) -> Tiles | None:
        """Translate (channels, rows, cols) without rounding; None if nothing is rounded anyway."""
        first, *others = _views(tile)
        begun = self.model.exact(first)
        if begun is None:
            return None
        rest = (partial(self.model.exact, seen) for seen in others)
        return _mean([lambda: begun, *rest])


def _views(tiles: Tiles) -> list[Tiles]:
    """All views of tiles, in order."""
    return [np.ascontiguousarray(view(tiles, number)) for number in range(VIEWS)]


def _mean(results: Iterable[Callable[[], Tiles]]) -> Tiles:
    """Mean of what comes of the views, each turned back."""
    total: NDArray[np.float64] | None = None
    for number, result in enumerate(results):
        plain = _back(result(), number)
        total = plain.astype(np.float64) if total is None else total + plain
    assert total is not None  # there are eight
    return (total / VIEWS).astype(np.float32)
