"""The curves of a training."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from ..errors import GeoP2PError
from .style import DPI, FAINT, INK, LINE, PAPER

History: TypeAlias = Sequence[Mapping[str, float | None]]

# Okabe and Ito's colours, which colour-blind readers tell apart.
_ORANGE, _BLUE, _GREEN = "#d55e00", "#0072b2", "#009e73"
_GRID = "#e5e7eb"


class Curve(NamedTuple):
    """How one key of the history is drawn."""

    label: str
    color: str
    line: str = "-"
    opacity: float = 1.0


_LOSSES = {
    "total_gen_loss": Curve("generator, total", _ORANGE),
    "fake_d_real_class_loss": Curve("generator, adversarial", _ORANGE, ":"),
    "total_disc_loss": Curve("discriminator, total", _BLUE),
    "real_d_loss": Curve("discriminator, real", _BLUE, "--"),
    "fake_d_loss": Curve("discriminator, translated", _BLUE, ":"),
}
_ADVERSARIES = _LOSSES | {
    f"valid_{key}": curve._replace(label=f"{curve.label} (validation)", opacity=0.4)
    for key, curve in _LOSSES.items()
}
_LIKENESS = {
    "l1_loss": Curve("training", _ORANGE),
    "valid_l1_loss": Curve("validation", _BLUE),
}
_FURTHER = {
    "Share of patches the discriminator judges right": {
        "d_accuracy_real": Curve("real", _BLUE, "--"),
        "d_accuracy_fake": Curve("translated", _BLUE, ":"),
    },
    "Gradient norm": {
        "gen_grad_norm": Curve("generator", _ORANGE),
        "disc_grad_norm": Curve("discriminator", _BLUE),
    },
}
_MEASURES = {
    "l1": "L1 in the target's unit",
    "psnr": "PSNR in dB",
    "ssim": "SSIM",
    "hp_l1": "HP-L1",
    "miou": "mean IoU",
}


def loss_curves(history: History) -> Figure:
    """Return the losses and the validation measures of a training, epoch by epoch.

    Left, generator against discriminator; right, the distance to the truth in training and
    validation (L1, or what stands in its place for classes). Below, where the history holds them:
    how well the discriminator judges, the gradients, and axes for every further ``valid_*``.
    A value that is missing, None or not finite is left out and its neighbours are joined:
    validation may be rarer than epochs.

    Parameters
    ----------
    history
        One dict an epoch: ``total_gen_loss``, ``fake_d_real_class_loss``, ``l1_loss``,
        ``total_disc_loss``, ``real_d_loss``, ``fake_d_loss``, ``d_accuracy_real``,
        ``d_accuracy_fake``, ``gen_grad_norm``, ``disc_grad_norm`` and ``valid_*``. Other keys are
        not drawn.

    Returns
    -------
    Figure
        Two axes, and one for each further subject.

    Raises
    ------
    GeoP2PError
        If the history is empty.
    """
    if not history:
        raise GeoP2PError("no epoch has been trained: there is no history to draw")
    names = dict.fromkeys(name for epoch in history for name in epoch)
    further = {
        title: curves
        for title, curves in _FURTHER.items()
        if any(np.isfinite(_values(history, name)).any() for name in curves)
    }
    for name in (name for name in names if _is_measure(name, history)):
        measure = name.removeprefix("valid_")
        title = _MEASURES.get(measure, measure.replace("_", " "))
        further[f"{title} (validation)"] = {name: Curve(title, _GREEN)}
    lines = math.ceil((2 + len(further)) / 2)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.05, hspace=0.06)
    figure = Figure(figsize=(10, 3.75 * lines), dpi=DPI, layout=layout, facecolor=PAPER)
    axes = [figure.add_subplot(lines, 2, number + 1) for number in range(2 + len(further))]
    _draw(axes[0], "Generator against discriminator", history, _ADVERSARIES)
    _draw(axes[1], "Distance to the truth", history, _LIKENESS)
    for each, (title, curves) in zip(axes[2:], further.items(), strict=True):
        _draw(each, title, history, curves)
    return figure


def lr_curve(rates: Sequence[float], losses: Sequence[float], chosen: float) -> Figure:
    """Return the loss by step size of a sweep, with the step size that was chosen.

    Parameters
    ----------
    rates, losses
        Of every step.
    chosen
        One of the rates.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(6, 3.75), dpi=DPI, layout=layout, facecolor=PAPER)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color=_ORANGE, linewidth=1.6, label="generator, total")
    axes.axvline(chosen, color=_BLUE, linestyle=":", label=f"chosen: {chosen:.2g}")
    axes.set_xscale("log")
    axes.set_title("Loss by step size", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("step size", color=FAINT)
    _plain(axes)
    return figure


def _is_measure(name: str, history: History) -> bool:
    """Tell whether a key of the history has axes of its own."""
    if not name.startswith("valid_") or name in _LIKENESS or name in _ADVERSARIES:
        return False
    return bool(np.isfinite(_values(history, name)).any())


def _draw(axes: Axes, title: str, history: History, curves: Mapping[str, Curve]) -> None:
    """Draw those of the curves that the history holds."""
    epochs = np.arange(1, len(history) + 1)
    for key, curve in curves.items():
        values = _values(history, key)
        known = np.isfinite(values)
        if known.any():
            marker = "o" if known.sum() <= 12 else ""
            axes.plot(
                epochs[known], values[known], curve.line, label=curve.label, color=curve.color,
                alpha=curve.opacity, linewidth=1.6, marker=marker, markersize=3.5,
            )  # fmt: skip
    _tidy(axes, title, len(epochs))


def _values(history: History, key: str) -> NDArray[np.float64]:
    """Return the values of one key, one an epoch, NaN where there is none."""
    return np.array([epoch.get(key) for epoch in history], dtype=np.float64)


def _tidy(axes: Axes, title: str, epochs: int) -> None:
    """Give axes a title, a faint grid, whole epochs, a legend, and a log scale where it helps."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel("epoch", color=FAINT)
    margin = max(0.02 * epochs, 0.1)
    axes.set_xlim(1 - margin, epochs + margin)
    whole = MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    axes.xaxis.set_major_locator(whole)
    values = np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines] or [np.ones(1)])
    if values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    _plain(axes)


def _plain(axes: Axes) -> None:
    """Give axes a faint grid, no box and, of several lines, a legend."""
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=FAINT)
    if len(axes.lines) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
