"""Draw units of ground (blocks, scenes) by a seed until each part has its share of chips."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["LIMITS", "Draw", "Unit", "draw"]

LIMITS = (0.5, 2.0)
"""Least and largest share that is good enough, in multiples of the share asked for: 5 to 20 %
where 10 % are."""

OVERSHOOT = 1.1
"""Multiple of the share asked for up to which a unit is taken without looking for a better one."""


@dataclass(frozen=True)
class Unit:
    """A piece of ground that goes to one part as a whole.

    Parameters
    ----------
    inside : places of the chips that lie wholly in it.
    near : places of the chips that no other part may have: those inside, across its edge, or
        within the buffer around it.
    """

    inside: NDArray[np.intp]
    near: NDArray[np.intp]


@dataclass
class Draw:
    """What is held out so far.

    Parameters
    ----------
    count : chips in all.
    asked : share to hold out, 0-1, by part.
    """

    count: int
    asked: Mapping[str, float]
    chosen: dict[str, list[int]] = field(init=False)
    near: dict[str, NDArray[np.bool_]] = field(init=False)
    held: dict[str, int] = field(init=False)
    parts: NDArray[np.str_] = field(init=False)
    free: NDArray[np.bool_] = field(init=False)
    trained: int = field(init=False)

    def __post_init__(self) -> None:
        """Begin with all chips in training."""
        self.chosen = {part: [] for part in self.asked}
        self.near = {part: np.zeros(self.count, bool) for part in self.asked}
        self.held = dict.fromkeys(self.asked, 0)
        self.parts = np.full(self.count, "train", dtype="<U5")
        self.free = np.ones(self.count, bool)
        self.trained = self.count

    def share(self, part: str) -> float:
        """Chips of a part among those kept, 0-1."""
        kept = self.trained + sum(self.held.values())
        return self.held[part] / kept if kept else 0.0

    def off(self) -> float:
        """How far the shares are from those asked for, added up."""
        return sum(abs(self.share(part) - asked) for part, asked in self.asked.items())

    def good(self) -> bool:
        """Whether every share is within `LIMITS`."""
        return all(
            LIMITS[0] * asked <= self.share(part) <= LIMITS[1] * asked
            for part, asked in self.asked.items()
        )

    def share_with(self, part: str, unit: Unit) -> float | None:
        """Share a part would have with one unit more; None if it cannot have it.

        It cannot where it comes near the ground of another part, where it holds no chip whole, or
        where nothing would be left to train on.
        """
        others = (near for name, near in self.near.items() if name != part)
        if not len(unit.inside) or any(near[unit.inside].any() for near in others):
            return None
        trained = self.trained - int(self.free[unit.near].sum())
        held = self.held[part] + len(unit.inside)
        kept = trained + held + sum(n for name, n in self.held.items() if name != part)
        return held / kept if trained else None

    def take(self, part: str, index: int, unit: Unit) -> None:
        """Give a unit to a part."""
        self.chosen[part].append(index)
        self.near[part][unit.near] = True
        self.held[part] += len(unit.inside)
        lost = unit.near[self.free[unit.near]]
        self.trained -= len(lost)
        self.free[lost] = False
        self.parts[lost] = ""
        self.parts[unit.inside] = part


def draw(
    count: int, order: Sequence[int], unit: Callable[[int], Unit], asked: Mapping[str, float]
) -> Draw:
    """Hold out units in their order until each part has its share.

    A unit goes to the part that lacks most. One that would overshoot is passed over; if the units
    run out before a share is reached, the one that leads nearest to it is taken.

    Parameters
    ----------
    count : chips in all.
    order : the units, as drawn.
    unit : gives a unit by its number.
    asked : share to hold out, 0-1, by part.
    """
    state = Draw(count, asked)
    taken = set()
    for index in order:
        lacking = _lacking(state)
        if not lacking:
            return state
        candidate = unit(index)
        for part in lacking:
            share = state.share_with(part, candidate)
            if share is not None and share <= OVERSHOOT * asked[part]:
                state.take(part, index, candidate)
                taken.add(index)
                break
    for part in _lacking(state):
        rest = [index for index in order if index not in taken]
        taken.update(_overshoot(state, part, rest, unit))
    return state


def _lacking(state: Draw) -> list[str]:
    """Parts below their share, the one that lacks most first."""
    behind = {part: state.share(part) / asked for part, asked in state.asked.items()}
    return sorted((part for part, done in behind.items() if done < 1), key=behind.__getitem__)


def _overshoot(
    state: Draw, part: str, rest: Sequence[int], unit: Callable[[int], Unit]
) -> set[int]:
    """Take the one unit more that leads nearest to a part's share, if that is nearer than now."""
    best, least = None, abs(state.share(part) - state.asked[part])
    for index in rest:
        share = state.share_with(part, unit(index))
        if share is not None and (
            abs(share - state.asked[part]) < least or (best is None and not state.held[part])
        ):
            best, least = index, abs(share - state.asked[part])
    if best is None:
        return set()
    state.take(part, best, unit(best))
    return {best}
