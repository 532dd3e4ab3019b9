"""Make one chip folder of two: one as it was, and what is appended to it."""

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from geo_p2p.chips.append import Former, plan_digest
from geo_p2p.chips.cut import SIDES
from geo_p2p.chips.esri import ESRI
from geo_p2p.chips.own import GEOJSON, OWN, SPLIT_GEOJSON, write_json
from geo_p2p.chips.split import PARTS
from geo_p2p.chips.stats import BandStats
from geo_p2p.raster import FORMATS, PlainImage

__all__ = ["join"]

DESCRIBED = (OWN, GEOJSON, SPLIT_GEOJSON, *ESRI)
"""Files that are written anew; all others are carried over."""

LISTS = (*PARTS, "blocks", "folds")
"""What is long in a split; the joined split holds it."""


def join(former: Former, made: Path, out: Path, plan: Path) -> str:
    """Make a folder of a former one and of the chips that are appended to it.

    Images are hard links to those of either, so that they take no room and nothing is changed of
    the former folder; where links cannot be, they are copied. All else that lies in the former
    folder, a trained model for one, is carried over alike. The names of scenes that are taken get
    a number.

    Parameters
    ----------
    former : folder as it was.
    made : folder of the new chips, as an export makes it, of names behind those of the former.
    out : folder to make.
    plan : file of the plan that the new chips were cut by.

    Returns
    -------
    What there is now, for people.

    Raises
    ------
    OSError
        If it cannot be written.
    RasterError
        If chips were removed from the former folder, and one of the rest cannot be read.
    """
    shutil.rmtree(out, ignore_errors=True)
    _carry(former.path, out, DESCRIBED)
    for side in SIDES:
        _fill(out / side, (made / side).iterdir())
    new = Former.open(made)
    names = [*former.chips.names, *new.chips.names]
    renamed = _renamed(new.own["scenes"], former.own["scenes"])
    for name, mine, its in (
        (GEOJSON, former.places, [_placed(place, renamed) for place in new.places]),
        (SPLIT_GEOJSON, former.areas, new.areas),
    ):
        write_json(out / name, {"type": "FeatureCollection", "features": [*mine, *its]})
    suffix = FORMATS[former.own["settings"]["image_format"]].suffix
    totals = zip(_totals(former), new.esri.stats, strict=True)
    x, y = (mine.merge(its) for mine, its in totals)
    former.esri.write_joined(out, new.esri, [f"{name}{suffix}" for name in names], (x, y))
    document = _own(former, new, renamed, plan_digest(plan.read_text(encoding="utf-8")))
    write_json(out / OWN, document, indent=2)
    summary: str = document["split"]["summary"]
    return f"{len(new.chips)} chips appended; {summary}"


def _carry(old: Path, new: Path, without: Collection[str] = ()) -> None:
    """Put all that a folder holds into a new one, but for some names."""
    new.mkdir()
    items = [item for item in old.iterdir() if item.name not in without]
    folders = {
        item for item in items if item.is_dir() and (item.name in SIDES or not item.is_symlink())
    }
    for item in folders:
        _carry(item, new / item.name)
    _fill(new, (item for item in items if item not in folders))


def _fill(folder: Path, files: Iterable[Path]) -> None:
    """Link files into a folder; copy those that cannot be linked."""
    for file in files:
        try:
            os.link(file, folder / file.name, follow_symlinks=False)
        except FileExistsError:  # never written over: it may be a link to what must stay
            raise
        except OSError:
            shutil.copy2(file, folder / file.name, follow_symlinks=False)


def _renamed(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """A name for each scene that is not taken."""
    given: dict[str, str] = {}
    for name in names:
        free, number = name, 1
        while free in taken or free in given.values():
            number += 1
            free = f"{name}_{number}"
        given[name] = free
    return given


def _placed(place: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """The feature of a chip, with the new name of its scene."""
    told = place["properties"]
    return {**place, "properties": {**told, "scene": renamed[told["scene"]]}}


def _own(former: Former, new: Former, renamed: Mapping[str, str], plan: str) -> dict[str, Any]:
    """Say what both folders hold; what describes one export alone is that of the first."""
    mine, its = former.own, new.own
    joined = {
        key: {**mine[key], **{renamed[name]: told for name, told in its[key].items()}}
        for key in ("scenes", "registration")
    }
    about = {key: its[key] for key in ("settings", "input", "additional", "versions")}
    entry = {
        "first": new.chips.names[0],
        "chips": len(new.chips),
        "scenes": list(renamed.values()),
        "plan": plan,
        "split": {key: value for key, value in its["split"].items() if key not in LISTS},
        **about,
    }
    appended = [*mine.get("appended", ()), entry]
    return {
        **mine,
        **joined,
        "split": _split(mine["split"], its["split"], 1 + len(appended)),
        "statistics": _statistics(_trained(former), its["statistics"]),
        "appended": appended,
    }


def _split(mine: Mapping[str, Any], its: Mapping[str, Any], exports: int) -> dict[str, Any]:
    """Join the parts; how near they come to each other across exports is not known."""
    parts = _together(mine, its)
    common = mine["common"] + its["common"]
    told = ", ".join(f"{len(names)} {part}" for part, names in parts.items())
    return {
        **mine,
        **parts,
        "summary": f"{told} of {exports} exports; {common} px in common",
        "common": common,
        "nearest": None,
        "folds": [_together(*pair) for pair in zip(mine["folds"], its["folds"], strict=True)],
    }


def _together(mine: Mapping[str, Any], its: Mapping[str, Any]) -> dict[str, list[str]]:
    """Names in the parts of two splits."""
    return {part: [*mine[part], *its[part]] for part in PARTS if part in mine}


def _totals(former: Former) -> tuple[BandStats, BandStats]:
    """Statistics of all chips of a folder: measured again if somebody took some out."""
    if former.esri.accumulated["NumTiles"] == len(former.chips):
        return former.esri.stats
    x, y, _ = _measured(former, former.chips.names)
    return x, y


def _trained(former: Former) -> Mapping[str, Any]:
    """Describe the training chips of a folder: measured again if somebody took some out."""
    told: Mapping[str, Any] = former.own["statistics"]
    train = former.own["split"]["train"]
    if told.get("chips", 0) == len(train):
        return told
    if not train:
        return {}
    x, y, census = _measured(former, train)
    described = {"chips": len(train), "input": x.described(), "additional": y.described()}
    return described | ({"census": census} if "census" in told else {})


def _measured(former: Former, names: Sequence[str]) -> tuple[BandStats, BandStats, dict[str, int]]:
    """Statistics of the images of chips, and of their targets' values how often each occurs."""
    suffix = FORMATS[former.own["settings"]["image_format"]].suffix
    states: tuple[list[BandStats], list[BandStats]] = [], []
    census: Counter[str] = Counter()
    for name in names:
        for side, state in zip(SIDES, states, strict=True):
            values, valid = PlainImage(str(former.path / side / f"{name}{suffix}")).read()
            state.append(BandStats.of(values, valid))
        if former.chips.bands()[1].categorical:
            found, counts = np.unique(values[0][valid], return_counts=True)
            census.update(dict(zip(map(str, found.tolist()), counts.tolist(), strict=True)))
    x, y = (reduce(BandStats.merge, state) for state in states)
    return x, y, dict(census)


def _statistics(mine: Mapping[str, Any], its: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the training chips of both; of percentiles of the two there are none of all."""
    if not mine or not its:
        return dict(mine or its)
    joined: dict[str, Any] = {"chips": mine["chips"] + its["chips"]}
    for side in ("input", "additional"):
        states = (BandStats.from_described(each[side]) for each in (mine, its))
        joined[side] = reduce(BandStats.merge, states).described()
    if "census" in mine:
        census = Counter(mine["census"]) + Counter(its["census"])
        joined["census"] = {value: census[value] for value in sorted(census, key=int)}
    return joined
