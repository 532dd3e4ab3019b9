"""Scores of chips: of all of them together, and how they spread from chip to chip."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from .common import Core


class Scores(Protocol):
    """What `ImageScores` and `ClassScores` have in common."""

    @property
    def MEASURES(self) -> tuple[str, ...]:
        """Names in the result of the measures that are one number."""

    def blank(self) -> Self:
        """Return one that has counted nothing."""

    def add(self, other: Self) -> None:
        """Count all that another one has counted."""

    def update(
        self, predicted: ArrayLike, truth: ArrayLike, valid: ArrayLike, core: Core | None = None
    ) -> None:
        """Count the pixels of one window."""

    def result(self) -> dict[str, Any]:
        """Return the measures over all windows so far."""


class ChipScores:
    """The measures over all chips, and mean, minimum, maximum and spread of each chip's own.

    Parameters
    ----------
    pooled
        An accumulator that has counted nothing: which measures, with which ranges or classes.

    Examples
    --------
    >>> from geo_p2p.metrics import ImageScores
    >>> scores = ChipScores(ImageScores(255))
    >>> truth, valid = np.zeros((1, 16, 16)), np.ones((16, 16), dtype=bool)
    >>> for error in (1, 3):
    ...     scores.update(truth + error, truth, valid)
    >>> scores.result()["l1"], scores.result()["per_chip"]["l1"]
    (2.0, {'mean': 2.0, 'min': 1.0, 'max': 3.0, 'sd': 1.0, 'chips': 2})
    """

    def __init__(self, pooled: Scores) -> None:
        self._pooled = pooled
        self._chips: list[Scores] = []

    def update(self, predicted: ArrayLike, truth: ArrayLike, valid: ArrayLike) -> None:
        """Count one chip: see the accumulator's own `update`."""
        chip = self._pooled.blank()
        chip.update(predicted, truth, valid)
        self._pooled.add(chip)
        if np.any(valid):
            self._chips.append(chip)

    def result(self) -> dict[str, Any]:
        """Return the measures over all chips so far, as plain JSON data.

        Returns
        -------
        dict
            The accumulator's result, every valid pixel of every chip counted alike, and

            ``per_chip``
                For each measure, of the scores that chips have on their own: ``mean``, ``min``,
                ``max``, ``sd`` (of the population, divided by n) and ``chips``, how many have
                one. Left out are chips without a valid pixel, and where a chip's score is None:
                PSNR of a faultless chip. MS-SSIM over fewer ``scales`` than other chips have is
                another measure, and left out too. All None where no chip has one.

        Raises
        ------
        GeoP2PError
            If no valid pixel was counted.
        """
        pooled = self._pooled.result()
        rows = [chip.result() for chip in self._chips]
        spread = {name: _spread_of(name, rows) for name in self._pooled.MEASURES}
        return {**pooled, "per_chip": spread}


def _spread_of(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, float | int | None]:
    """Return how one measure spreads over the results of chips."""
    if name != "ms_ssim":
        return _spread([row[name] for row in rows if row[name] is not None])
    most = max(row["ms_ssim_scales"] for row in rows)
    alike = [row for row in rows if most and row["ms_ssim_scales"] == most]
    return {**_spread([row[name] for row in alike]), "scales": most}


def _spread(scores: Sequence[float]) -> dict[str, float | int | None]:
    """Return mean, minimum, maximum and standard deviation, and of how many."""
    if not scores:
        return {"mean": None, "min": None, "max": None, "sd": None, "chips": 0}
    mean = math.fsum(scores) / len(scores)
    variance = math.fsum((score - mean) ** 2 for score in scores) / len(scores)
    return {
        "mean": mean,
        "min": min(scores),
        "max": max(scores),
        "sd": math.sqrt(variance),
        "chips": len(scores),
    }
