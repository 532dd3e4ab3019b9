"""How far off a translation may be: intervals and sets of classes that hold a promised share.

A network's own idea of its error has the right pattern and the wrong size. Split-conformal scaling
gives it the size: on ground that was not trained on, the error of each pixel is divided by what the
network expected, and a quantile of these ratios is the factor by which intervals are widened. The
promise is marginal: of all pixels of ground like that ground, not of each class or neighbourhood.

References
----------
V. Vovk et al., Algorithmic Learning in a Random World, 2005; J. Lei et al., Distribution-Free
Predictive Inference for Regression, JASA 2018, https://arxiv.org/abs/1604.04173 (section 5.2,
locally weighted); for classes M. Sadinle et al., Least Ambiguous Set-Valued Classifiers with
Bounded Error Levels, JASA 2019, https://arxiv.org/abs/1609.00451.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card.scaling import Scaling
from geo_p2p.errors import ModelError

__all__ = [
    "LEVELS",
    "TAG",
    "Confidence",
    "confidence_path",
    "fit_confidence",
    "probabilities",
    "scales_of",
    "scores_of",
]

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95, 0.99)
"""Shares of the pixels that intervals can be asked to hold."""

TAG = "GEO_P2P_CONFIDENCE"
"""Metadata item of a file of half-widths or set sizes: the level."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Confidence:
    """What widens intervals so that they hold a share of the truth, and what share they held.

    Parameters
    ----------
    levels : shares that can be asked for, rising, 0-1.
    factors : of each level, per band: of values by what the network's own scale is multiplied; of
        classes the score up to which a class stays in the set (see `scores_of`).
    coverage : of each level, per band: the share held on the blocks that were held out.
    pixels, blocks : how many the factors were taken from, and how many the coverage.

    Raises
    ------
    ModelError
        If it holds no level, or not a factor and a coverage for each.
    """

    levels: tuple[float, ...]
    factors: tuple[tuple[float, ...], ...]
    coverage: tuple[tuple[float, ...], ...]
    pixels: tuple[int, int]
    blocks: tuple[int, int]

    def __post_init__(self) -> None:
        """Refuse what cannot be looked up."""
        if not len(self.levels) == len(self.factors) == len(self.coverage) > 0:
            raise ModelError("a confidence needs levels, and a factor and a coverage for each")

    def at(self, level: float) -> tuple[float, ...]:
        """Return the factors of a level, per band.

        Raises
        ------
        ModelError
            If nothing is known of that level.
        """
        if level not in self.levels:
            known = ", ".join(f"{each:g}" for each in self.levels)
            raise ModelError(f"confidence {level:g}: the model was calibrated for {known}")
        return self.factors[self.levels.index(level)]

    def held(self, scores: Sequence[Scores]) -> tuple[tuple[float, ...], ...]:
        """Share of some scores, (bands, pixels) each, that lies within: of each level, per band."""
        pooled = np.concatenate(scores, axis=1)
        return tuple(
            tuple(float(share) for share in (pooled <= np.array(factor)[:, None]).mean(1))
            for factor in self.factors
        )

    def told(self, shares: Sequence[Sequence[float]]) -> dict[str, list[float]]:
        """Return shares, one a level and band, by level, for people: {"0.9": [0.89]}."""
        pairs = zip(self.levels, shares, strict=True)
        return {f"{level:g}": [round(share, 4) for share in row] for level, row in pairs}

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        factors, coverage = (
            tuple(tuple(map(float, row)) for row in plain[name]) for name in ("factors", "coverage")
        )
        (fitted, measured), (one, two) = plain["pixels"], plain["blocks"]
        return cls(tuple(plain["levels"]), factors, coverage, (fitted, measured), (one, two))


def confidence_path(output: str | Path) -> Path:
    """Name the file that lies beside a translation and tells how far off it may be."""
    return Path(output).with_name(f"{Path(output).stem}_confidence.tif")


def scores_of(
    target: Scaling, made: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_]
) -> Scores:
    """Measure how unexpected the truth is, pixel by pixel.

    Parameters
    ----------
    target : scaling of the target.
    made : what the network gives, (channels, rows, cols): for values the translation and as many
        log scales, for classes their scores.
    truth : (bands, rows, cols) in raster units.
    valid : (rows, cols).

    Returns
    -------
    (bands, pixels), 0 or more, of the valid pixels: for values the error of what is written, in
    scales; for classes 1 minus the probability of the true class, or 0 where that is the one the
    map shows. Pixels whose class is not known are left out.
    """
    if target.classes:
        which = truth[0] == target.values[:, None, None]
        valid = valid & which.any(0)
        probability = probabilities(made[:, valid])
        right = which[:, valid].argmax(0)
        score = 1 - np.take_along_axis(probability, right[None], 0)
        shown: Scores = np.where(right == probability.argmax(0), 0.0, score)
        return shown
    image = target.inverse(made[: target.count])
    error = np.abs(image[:, valid].astype(np.float64) - truth[:, valid])
    ratio: Scores = error / scales_of(target, made)[:, valid]
    return ratio


def scales_of(target: Scaling, made: NDArray[Any]) -> NDArray[np.float64]:
    """Return the network's own scales, (bands, rows, cols), raster units.

    Raises
    ------
    ModelError
        If it gives none.
    """
    if len(made) != 2 * target.count:
        raise ModelError("the model gives no scales of its errors: train it with --confidence")
    half = np.array(target.data_range)[:, None, None] / 2
    scales: NDArray[np.float64] = np.exp(made[target.count :].astype(np.float64)) * half
    return scales


def probabilities(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax over the first axis."""
    powers = np.exp(scores.astype(np.float64) - scores.max(0))
    shares: NDArray[np.float64] = powers / powers.sum(0)
    return shares


def fit_confidence(
    calibration: Sequence[Scores], held_out: Sequence[Scores], blocks: tuple[int, int]
) -> Confidence:
    """Choose the factors on some ground, and measure on other ground what they hold.

    Parameters
    ----------
    calibration, held_out : scores (bands, pixels), see `scores_of`.
    blocks : how many blocks of ground each of the two is from.

    Raises
    ------
    ModelError
        If either has no pixels, or the first too few for any level.
    """
    pixels = tuple(sum(each.shape[1] for each in side) for side in (calibration, held_out))
    if not all(pixels):
        raise ModelError(
            "no valid validation pixels on both halves of the ground to calibrate confidence on: "
            "export with a larger validation share"
        )
    pooled = np.sort(np.concatenate(calibration, axis=1), axis=1)
    # The rank that holds the level for one pixel more, as if it were one of these.
    ranks = {level: math.ceil((pixels[0] + 1) * level) for level in LEVELS}
    known = {level: rank for level, rank in ranks.items() if rank <= pixels[0]}
    factors = tuple(tuple(map(float, pooled[:, rank - 1])) for rank in known.values())
    blank = Confidence(tuple(known), factors, factors, (pixels[0], pixels[1]), blocks)
    return replace(blank, coverage=blank.held(held_out))
