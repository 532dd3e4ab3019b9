"""What one call of `fit` is asked to do, and how its epochs compare."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from geo_p2p.errors import ModelError

__all__ = [
    "FitConfig",
    "Row",
    "available_metrics",
    "best_epoch",
    "has_stalled",
    "plan_of",
    "require_monitored",
]

Row: TypeAlias = Mapping[str, float | None]
"""What the history holds of an epoch."""

LESS_IS_BETTER = {
    "valid_loss": True,
    "valid_l1_loss": True,
    "valid_l1": True,
    "valid_rmse": True,
    "valid_hp_l1": True,
    "valid_psnr": False,
    "valid_ssim": False,
    "valid_accuracy": False,
    "valid_miou": False,
}
"""What epochs can be compared by."""

LOSSES, OF_CLASSES = {"valid_loss", "valid_l1_loss"}, {"valid_accuracy", "valid_miou"}
"""Those that every target has, and those of class targets alone."""

ALIASES = {"valid_loss": "valid_l1_loss"}
"""arcgis.learn's names of what the history has under another."""

PATIENCE, MIN_DELTA = 5, 0.001
"""Epochs to wait for a gain, and what counts as one: those of arcgis.learn."""


@dataclass(frozen=True)
class FitConfig:
    """Settings of `Pix2Pix.fit`.

    Parameters
    ----------
    epochs : passes over the training chips.
    lr : largest step size; that of the recipe if None.
    one_cycle : True for a step size that rises over the first quarter and falls to nothing; None
        or False for the recipe's, flat and then falling. Adam's decay rates stay what they are.
    early_stopping : whether to stop when `monitor` has not become better for 5 epochs.
    checkpoint : True to keep the newest and the best epoch on disk, "all" to keep every epoch, a
        number n to keep every n-th; but for False, the best is loaded at the end.
    monitor : what tells which epoch is best: "valid_loss" or another of `available_metrics`.
    tensorboard : whether to write for TensorBoard.
    wandb : whether to tell Weights & Biases; a text is the name of the project.
    first : epochs that had been trained before.

    Raises
    ------
    ModelError
        For a setting no training can have.
    """

    epochs: int = 10
    lr: float | None = None
    one_cycle: bool | None = None
    early_stopping: bool = False
    checkpoint: bool | int | str = True
    monitor: str = "valid_loss"
    tensorboard: bool = False
    wandb: bool | str = False
    first: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        """Refuse what no training can have."""
        if self.epochs < 1:
            raise ModelError(f"epochs is {self.epochs}: give at least 1")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ModelError(f"lr is {self.lr}: give a number above 0")
        if self.monitor not in LESS_IS_BETTER:
            known = ", ".join(LESS_IS_BETTER)
            raise ModelError(f"monitor is {self.monitor!r}: choose one of {known}")
        word = isinstance(self.checkpoint, str) and self.checkpoint != "all"
        if word or (not isinstance(self.checkpoint, str) and self.checkpoint < 0):
            raise ModelError(
                f"checkpoint is {self.checkpoint!r}: give True, False, 'all', or every how many "
                "epochs to keep one"
            )

    @property
    def last(self) -> int:
        """Epochs that will have been trained when it is done."""
        return self.first + self.epochs

    def keeps(self, epoch: int) -> bool:
        """Whether the checkpoint of an epoch (from 1) stays, were it not the newest nor best."""
        if self.checkpoint == "all":
            return True
        if isinstance(self.checkpoint, bool | str):
            return False
        return epoch % self.checkpoint == 0


def plan_of(epochs: int, lr: float | None, first: int, settings: Mapping[str, Any]) -> FitConfig:
    """Make the plan of a fit.

    Raises
    ------
    ModelError
        For a setting there is not, or that no training can have.
    """
    known = {each.name for each in fields(FitConfig)} - {"epochs", "lr", "first"}
    unknown = settings.keys() - known
    if unknown:
        raise ModelError(f"fit knows no setting called {', '.join(sorted(unknown))}")
    return FitConfig(epochs, lr, first=first, **settings)


def require_monitored(plan: FitConfig, classes: bool, chips: int) -> None:
    """Refuse to watch what no epoch of the fit would have.

    Parameters
    ----------
    plan : of the fit.
    classes : whether the target holds classes.
    chips : to validate on.

    Raises
    ------
    ModelError
        Naming what can be watched.
    """
    of_values = LESS_IS_BETTER.keys() - LOSSES - OF_CLASSES
    others = of_values if classes else OF_CLASSES
    if plan.monitor in others:
        known = ", ".join(name for name in LESS_IS_BETTER if name not in others)
        kind = "classes" if classes else "values"
        raise ModelError(f"monitor is {plan.monitor!r}, but the target holds {kind}: take {known}")
    if plan.early_stopping and not chips:
        raise ModelError(
            f"early_stopping watches {plan.monitor}, but there are no validation chips: leave it "
            "out, or export with a validation share"
        )


def available_metrics(rows: Sequence[Row]) -> list[str]:
    """Names that `monitor` can take, by what a history holds; all there are, without one."""
    if not rows:
        return list(LESS_IS_BETTER)
    return [name for name in LESS_IS_BETTER if rows[-1].get(ALIASES.get(name, name)) is not None]


def best_epoch(rows: Sequence[Row], monitor: str) -> int | None:
    """Index of the best row; None where none tells, for want of validation chips, say."""
    values = _badness(rows, monitor)
    known = [index for index, value in enumerate(values) if math.isfinite(value)]
    return min(known, key=values.__getitem__) if known else None


def has_stalled(rows: Sequence[Row], monitor: str) -> bool:
    """Tell whether the last epochs have brought no gain."""
    values = _badness(rows, monitor)
    if len(values) <= PATIENCE:
        return False
    return min(values[-PATIENCE:]) > min(values[:-PATIENCE]) - MIN_DELTA


def _badness(rows: Sequence[Row], monitor: str) -> list[float]:
    """The monitored value of each row, less is better; infinite where there is none."""
    sign = 1 if LESS_IS_BETTER[monitor] else -1
    values: list[Any] = [row.get(ALIASES.get(monitor, monitor)) for row in rows]
    return [math.inf if value is None else sign * value for value in values]
