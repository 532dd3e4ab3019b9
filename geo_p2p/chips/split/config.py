"""What can be asked of a split."""

import math
from dataclasses import dataclass

from geo_p2p.errors import ChipError

__all__ = ["METHODS", "PARTS", "SplitConfig"]

METHODS = ("blocks", "polygons", "scene", "kfold", "random", "random-overlapping", "none")
"""How to split: by blocks of territory, by polygons, by whole scenes, in folds of blocks, at random
(chips that overlap leak, so that must be asked for by its longer name), or not at all."""

PARTS = ("train", "val", "test")
"""What a chip can be in; "" says that it is in none."""


@dataclass(frozen=True)
class SplitConfig:
    """Settings of a split and their defaults.

    Parameters
    ----------
    method : one of `METHODS`.
    val_pct, test_pct : shares of chips to validate and to test on, percent; "kfold" validates on
        one fold instead, and "polygons" on what they hold.
    buffer : px between the chips of different parts. If None: for blocks and folds the largest of
        half a chip, the halo and the autocorrelation range, the latter two up to one chip; for
        scenes and polygons 0.
    seed : of the draw.
    halo : px around a block that the generator reads at prediction.
    autocorrelation : px within which values of the target resemble each other.
    folds, fold : number of folds, and which of them validates, from 0.
    """

    method: str = "blocks"
    val_pct: float = 10.0
    test_pct: float = 0.0
    buffer: int | None = None
    seed: int = 42
    halo: int = 0
    autocorrelation: float = 0.0
    folds: int = 5
    fold: int = 0

    def __post_init__(self) -> None:
        """Refuse settings no split can have."""
        if self.method not in METHODS:
            raise ChipError(f"split {self.method!r}: choose one of {', '.join(METHODS)}")
        self._refuse_impossible_shares()
        distances = {
            "a buffer": self.buffer or 0,
            "a halo": self.halo,
            "an autocorrelation range": self.autocorrelation,
        }
        for name, px in distances.items():
            if not 0 <= px < math.inf:
                raise ChipError(f"{name} of {px} px: give 0 or more")
        if self.method == "kfold":
            self._refuse_impossible_folds()

    def _refuse_impossible_shares(self) -> None:
        for name, share in (("validation", self.val_pct), ("test", self.test_pct)):
            if not 0 <= share < 100:
                raise ChipError(f"a {name} share of {share} %: give 0 up to, not including, 100")
        if self.val_pct + self.test_pct >= 100:
            raise ChipError(
                f"{self.val_pct:g} % to validate and {self.test_pct:g} % to test on leave nothing "
                "to train on; give less than 100 % together"
            )

    def _refuse_impossible_folds(self) -> None:
        if self.folds < 2:
            raise ChipError(f"{self.folds} folds: give at least 2")
        if not 0 <= self.fold < self.folds:
            raise ChipError(f"fold {self.fold} of {self.folds}: give 0 to {self.folds - 1}")
        if self.test_pct:
            raise ChipError("folds have no test share: each validates once; give test_pct=0")

    @property
    def asked(self) -> dict[str, float]:
        """Shares to hold out, 0-1, of the parts that are asked for."""
        shares = {"val": self.val_pct / 100, "test": self.test_pct / 100}
        return {part: share for part, share in shares.items() if share}
