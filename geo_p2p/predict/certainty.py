"""Beside a translation, how far off it may be: half-widths of intervals, or sizes of sets."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geo_p2p.card import Confidence, ModelCard, Scaling, scales_of
from geo_p2p.card.confidence import TAG, probabilities
from geo_p2p.errors import ModelError
from geo_p2p.predict.config import PredictConfig
from geo_p2p.raster import Bands

__all__ = ["Certainty"]


@dataclass(frozen=True)
class Certainty:
    """A level, and what turns the scales of a network into what holds that share of the truth.

    Of values it is the half-width of an interval about the translation, one band for each, in
    their unit, float32. Of classes it is the size of a set, the class of the map among them: 1
    where no other is possible at that level.
    """

    level: float
    target: Scaling
    confidence: Confidence

    @classmethod
    def of(cls, card: ModelCard, config: PredictConfig) -> "Certainty | None":
        """Take the level that is asked for from a model's calibration; None if none is.

        Raises
        ------
        ModelError
            If it was not calibrated, or not for that level or this way of translating.
        """
        level = config.confidence
        if level is None:
            return None
        if card.confidence is None:
            raise ModelError(
                "the model's confidence was never measured: train it with --confidence, or "
                "translate without"
            )
        # What was measured of chips says nothing of their blends, nor of statistics of a raster.
        if not card.tile_safe:
            raise ModelError(
                "confidence needs a model that is tile-safe as it was trained, which this one is "
                "not: translate without"
            )
        if config.tta:
            raise ModelError(
                "confidence was measured of single translations, not of the mean of eight views: "
                "leave out one of the two"
            )
        card.confidence.at(level)
        return cls(level, card.target, card.confidence)

    @property
    def _factors(self) -> NDArray[np.float64]:
        return np.array(self.confidence.at(self.level))[:, None, None]

    def values(self, made: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the bands for what a network gives, (channels, rows, cols).

        Raises
        ------
        ModelError
            If it gives no scales, or such that are not finite at a valid pixel.
        """
        if not self.target.classes:
            widths = (scales_of(self.target, made) * self._factors).astype(np.float32)
            if not np.isfinite(widths[:, valid]).all():
                raise ModelError("the model's scales are not finite; its weights are unusable")
            return np.where(valid, widths, np.float32(np.nan))
        shares = probabilities(np.where(valid, made, 0))
        others = (1 - shares <= self._factors).sum(0) - (1 - shares.max(0) <= self._factors[0])
        return np.where(valid, 1 + others, 0).astype(np.uint16)[None]

    @property
    def bands(self) -> Bands:
        """What the bands hold."""
        target, share = self.target, f"{100 * self.level:g} %"
        if target.classes:
            return Bands(1, "uint16", 0.0, (f"classes possible at {share}",))
        names = target.names or ("",) * target.count
        told = tuple(f"{name} half-width, {share}".strip() for name in names)
        # What is stored is a multiple of the unit where the target's values are.
        return Bands(target.count, "float32", float("nan"), told, target.units, scales=self._scales)

    @property
    def _scales(self) -> tuple[float, ...]:
        return tuple(abs(scale) for scale in self.target.scales)

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the bytes, as JSON gives it back."""
        return {"level": self.level, "factors": list(self.confidence.at(self.level))}

    def tags(self) -> dict[str, str]:
        """What was promised, and what was held where that was tried."""
        known = self.confidence
        held = known.told(known.coverage)[f"{self.level:g}"]
        return {
            TAG: f"{self.level:g}",
            "GEO_P2P_COVERAGE": json.dumps(
                {"held": held, "pixels": known.pixels[1], "blocks": known.blocks[1]}
            ),
        }
