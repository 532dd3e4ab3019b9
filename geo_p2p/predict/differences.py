"""By how much translations of the same pixels differ."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card import Scaling
from geo_p2p.predict.tiles import require_finite

__all__ = ["Differences"]

Values = NDArray[Any]
Mask = NDArray[np.bool_]


class Differences:
    """Absolute differences of translations, at valid pixels."""

    def __init__(self, target: Scaling) -> None:
        self._target = target
        self._scaled: list[Values] = []
        self._units: list[Values] = []

    def add(self, one: Values, other: Values, valid: Mask) -> None:
        """Compare (channels, rows, cols), scaled."""
        for image in (one, other):
            require_finite(image, valid)
        one, other = one[:, None, valid], other[:, None, valid]
        values = [self._target.inverse(image)[:, 0] for image in (one, other)]
        if self._target.classes:
            self._units.append((values[0] != values[1]).astype(np.float64))
        else:
            self._units.append(np.abs(values[0].astype(np.float64) - values[1]))
        self._scaled.append(np.abs(one - other)[:, 0])

    @property
    def pixels(self) -> int:
        """Valid pixels compared."""
        return sum(part.shape[1] for part in self._scaled)

    def result(self) -> dict[str, float]:
        """Return "mean", "p99" and "max" of the absolute difference in output units.

        Of classes it is 1 where they differ. "scaled_mean" and "scaled_max" are of what the
        network gives (on [-1, 1]; of classes their scores), and "pixels" is how many were compared.
        """
        units = np.concatenate(self._units, axis=1)
        scaled = np.concatenate(self._scaled, axis=1)
        return {
            "mean": float(units.mean()),
            "p99": float(np.percentile(units, 99)),
            "max": float(units.max()),
            "scaled_mean": float(scaled.mean(dtype=np.float64)),
            "scaled_max": float(scaled.max()),
            "pixels": self.pixels,
        }
