"""Several sets of pairs as one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from geo_p2p.chips.chip import Chip
from geo_p2p.chips.pairs import Bidx, Pairs
from geo_p2p.chips.split import PARTS
from geo_p2p.errors import ChipError
from geo_p2p.raster import Bands, common_nodata

__all__ = ["Several", "join"]


@dataclass(frozen=True)
class Several:
    """Several sets of pairs of the same bands, as one.

    Parameters
    ----------
    members : the sets by their labels, which make the names of the pairs unique: "label/name".
    """

    members: Mapping[str, Pairs]

    @property
    def path(self) -> Path:
        """Where the first set lies."""
        return next(iter(self.members.values())).path

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the pairs: label of the set, and name in it."""
        return tuple(f"{label}/{n}" for label, member in self.members.items() for n in member.names)

    @property
    def split(self) -> Mapping[str, Any] | None:
        """The splits of the sets as one; None unless each has one.

        Sets may share ground: see `geo_p2p.data.parts`, which takes care of it.
        """
        splits = {label: member.split for label, member in self.members.items()}
        known = {label: split for label, split in splits.items() if split is not None}
        if len(known) < len(splits):
            return None
        parts = {
            part: [f"{label}/{n}" for label, split in known.items() for n in split.get(part, ())]
            for part in PARTS
        }
        methods = dict.fromkeys(split["method"] for split in known.values())
        kept = len(parts["train"]) + len(parts["val"])
        share = 100 * len(parts["val"]) / max(1, kept)
        how = {"method": ", ".join(methods), "val_pct": share, "seed": 0, "side": 0, "buffer": 0}
        return {**how, **parts}

    @property
    def bidx(self) -> Bidx:
        """Those that all sets share; otherwise unknown."""
        bidx = {member.bidx for member in self.members.values()}
        return bidx.pop() if len(bidx) == 1 else ((), ())

    def bands(self) -> tuple[Bands, Bands]:
        """What the bands of the first set hold, with the class names and colours of all."""
        return self._bands

    @cached_property
    def _bands(self) -> tuple[Bands, Bands]:
        x, y = zip(*(member.bands() for member in self.members.values()), strict=True)
        return self._common("input", x), self._common("target", y)

    def _common(self, side: str, bands: Sequence[Bands]) -> Bands:
        """Describe the bands that all sets have, or refuse the first set that has others."""
        paths = [member.path for member in self.members.values()]
        first = bands[0]
        for path, other in zip(paths[1:], bands[1:], strict=True):
            for what, here, there in _differences(first, other):
                raise ChipError(
                    f"{path}: its {side} has {what} {there}, but that of {paths[0]} has {here}; "
                    "sets that are used as one need the same bands"
                )
        colors = {value: color for each in reversed(bands) for value, color in each.colors.items()}
        classes = {value: name for each in reversed(bands) for value, name in each.classes.items()}
        nodata = common_nodata([each.nodata for each in bands], first.dtype)
        return replace(first, nodata=nodata, colors=colors, classes=classes)

    def _member(self, name: str) -> tuple[Pairs, str]:
        label, _, inner = name.partition("/")
        return self.members[label], inner

    def shape(self, name: str) -> tuple[int, int]:
        """Rows and columns of a pair, px."""
        member, inner = self._member(name)
        return member.shape(inner)

    def picture(self, name: str) -> str:
        """The picture that a pair was cut from."""
        member, inner = self._member(name)
        return f"{name.partition('/')[0]}/{member.picture(inner)}"

    def read(self, name: str) -> Chip:
        """Read a pair, under its name in this set."""
        member, inner = self._member(name)
        return replace(member.read(inner), name=name)


def _differences(first: Bands, other: Bands) -> list[tuple[str, object, object]]:
    """What differs in a way that matters, and how."""
    clash = [v for v, color in other.colors.items() if first.colors.get(v, color) != color]
    pairs = [
        ("a count of bands of", first.count, other.count),
        ("the type", first.dtype, other.dtype),
        ("classes:", first.categorical, other.categorical),
        ("names of bands", _told(first, other), _told(other, first)),
        ("scales", first.scales, other.scales),
        ("offsets", first.offsets, other.offsets),
        *((f"for class {v} the colour", first.colors[v], other.colors[v]) for v in clash[:1]),
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _told(bands: Bands, other: Bands) -> tuple[str, ...]:
    """Names of bands where both sets tell them: no name is like every name."""
    named = zip(bands.names, other.names, strict=False)
    return tuple(name if there else "" for name, there in named)


def join(sets: Sequence[Pairs]) -> Several:
    """Join sets under labels that tell them apart: the names of their folders, numbered if alike.

    Raises
    ------
    ChipError
        Naming the first set whose bands are not those of the first, or a folder that comes twice.
    """
    places = Counter(each.path.resolve() for each in sets)
    twice = [place for place, count in places.items() if count > 1]
    if twice:
        raise ChipError(f"{twice[0]}: comes twice; name each set once")
    stems = [each.path.resolve().name for each in sets]
    alike = {stem for stem, count in Counter(stems).items() if count > 1}
    labels = [f"{stem}-{i}" if stem in alike else stem for i, stem in enumerate(stems, 1)]
    members = dict(zip(labels, sets, strict=True))
    if len(members) < len(sets):  # somebody calls folders "a", "a" and "a-2"
        members = {f"set-{i}": each for i, each in enumerate(sets, 1)}
    joined = Several(members)
    joined.bands()
    return joined
