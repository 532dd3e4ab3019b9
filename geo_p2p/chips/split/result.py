"""What a split is: the part of each chip, and how it came about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rasterio.windows import Window

from geo_p2p.chips.split.draw import LIMITS
from geo_p2p.chips.split.ground import ground_of
from geo_p2p.raster import Frame

__all__ = ["HOW", "Held", "Split"]

HOW = ("method", "val_pct", "seed", "side", "buffer")
"""Fields of a split that go with its chips wherever they are trained on, into a model card too."""


@dataclass(frozen=True)
class Held:
    """A block that is held out: the part it belongs to, and its window, px of a scene."""

    part: str
    window: Window
    scene: str = ""


@dataclass(frozen=True)
class Split:
    """Which chips train, which validate and which test.

    Parameters
    ----------
    method : one of `METHODS`; "none" also where blocks found no room for all parts.
    parts : "train", "val", "test" or "" (left out) for each chip, in their order.
    val_pct, test_pct : shares asked for, percent.
    seed : of the choice.
    side, buffer : of the blocks and between the parts, px; 0 where there are none.
    held : blocks of this split; they may reach over the edge of the raster.
    folds : the parts of each chip for every fold in turn; empty but for "kfold".
    fold : the one that validates here: ``parts == folds[fold]``.
    common : pixels that lie in chips of two parts.
    nearest : px between the nearest chips of two parts; None where there are no two parts, or
        they share no territory.
    """

    method: str
    parts: tuple[str, ...]
    val_pct: float
    seed: int
    side: int = 0
    buffer: int = 0
    test_pct: float = 0.0
    held: tuple[Held, ...] = ()
    folds: tuple[tuple[str, ...], ...] = ()
    fold: int = 0
    common: int = 0
    nearest: float | None = None

    def count(self, part: str) -> int:
        """Chips in a part."""
        return self.parts.count(part)

    def share_of(self, part: str) -> float:
        """Chips of a part among those kept, 0-1."""
        kept = len(self.parts) - self.count("")
        return self.count(part) / kept if kept else 0.0

    @property
    def share(self) -> float:
        """Validation chips among those kept, 0-1."""
        return self.share_of("val")

    @property
    def blocks(self) -> tuple[Window, ...]:
        """Windows of the validation blocks, px."""
        return tuple(block.window for block in self.held if block.part == "val")

    @property
    def how(self) -> dict[str, Any]:
        """How it was made, in plain data: the fields named in `HOW`."""
        return {key: getattr(self, key) for key in HOW}

    @property
    def used(self) -> tuple[bool, ...]:
        """Which chips are in a part; with folds, in a part of some fold."""
        tables = self.folds or (self.parts,)
        return tuple(any(parts) for parts in zip(*tables, strict=True))

    def common_pixels(
        self,
        windows: Sequence[Window],
        scenes: Sequence[str] | None = None,
        frames: Mapping[str, Frame] | None = None,
        angles: Sequence[float] | None = None,
    ) -> int:
        """Count the pixels that lie in chips of two parts, once for every two parts.

        Exact for chips of one lattice; of a turned chip the box around it counts.

        Parameters
        ----------
        windows, scenes, frames, angles : as for `split_territory`.
        """
        return ground_of(windows, scenes, frames, angles).common_pixels(self.parts)

    def __str__(self) -> str:
        """Say what was chosen, for people."""
        text = f"{self.count('train')} train, {self.count('val')} val ({self.share:.0%})"
        if self.test_pct or self.count("test"):
            text += f", {self.count('test')} test ({self.share_of('test'):.0%})"
        text += self._how()
        if self.nearest is None:
            return text
        return f"{text}; {self.common} px in common, nearest {int(self.nearest)} px"

    def _how(self) -> str:
        """Say how the parts came about."""
        apart = f"{self.buffer} px apart, {self.count('')} chips left out in between"
        if self.method == "blocks":
            number = f"{len(self.held)} blocks of {self.side} px"
            return f"{self._far_off()} by {number}, {apart}"
        if self.method == "kfold":
            return f" by fold {self.fold} of {len(self.folds)}, blocks of {self.side} px, {apart}"
        if self.method == "random":
            return " at random: no two chips overlap"
        if self.method == "random-overlapping":
            return " at random: where chips overlap, scores will flatter"
        if self.method == "scene":
            return f"{self._far_off()} by whole scenes"
        if self.method == "polygons":
            return f" by polygons, {self.count('')} chips left out"
        if self.val_pct or self.test_pct:
            return ": too little ground to set some apart"
        return ""

    def _far_off(self) -> str:
        """Say what was asked for where the ground did not give it."""
        asked = {"val": self.val_pct, "test": self.test_pct}
        off = [
            f"{pct:g} % {part}"
            for part, pct in asked.items()
            if not LIMITS[0] * pct <= 100 * self.share_of(part) <= LIMITS[1] * pct
        ]
        return f" where {' and '.join(off)} was asked for, the ground being coarse," if off else ""
