"""What a prediction asks of a model."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card import ModelCard

__all__ = ["Engine", "Model"]


class Model(Protocol):
    """Anything that translates tiles and says what it is."""

    @property
    def card(self) -> ModelCard:
        """How the model wants to be used."""

    @property
    def fingerprint(self) -> str:
        """What tells its results from those of another: a hash of weights and precision."""

    def __call__(self, tiles: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Translate (batch, channels, rows, cols); ``seed`` fixes what is random in it."""


@runtime_checkable
class Engine(Model, Protocol):
    """A model that knows where it runs. A plain function with a card does without all of this."""

    def bytes_per_pixel(self) -> float:
        """Memory that it takes for each pixel of a tile."""

    def room(self) -> float:
        """Bytes of memory that are free where it runs."""

    @property
    def threads(self) -> int:
        """Threads that read, and as many that write, to keep it busy."""

    def session(self) -> AbstractContextManager[None]:
        """Return a context in which tiles are best translated, one after another."""

    @property
    def margin_work(self) -> float:
        """Work for a pixel of a tile's margin over that for one within, 0 to 1."""

    def start(
        self, tiles: NDArray[np.float32], seed: int, margin: int = 0
    ) -> Callable[[], NDArray[np.float32]]:
        """Begin to translate tiles, and return what waits for the result, in any thread.

        The result is without ``margin`` px at every side of the tiles, a multiple of the stride.
        """

    def exact(self, tile: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Translate (channels, rows, cols) without rounding; None if nothing is rounded anyway."""
