"""What a command says: a table for people or one JSON object on stdout; progress on stderr."""

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from rich.progress import ProgressColumn, Task

log = logging.getLogger(__name__)

Report: TypeAlias = Callable[[int, int], None]
"""Called with (done, total) as the work goes on."""

StageReport: TypeAlias = Callable[[str, int, int], None]
"""Called with (stage, done, total) as the work goes on."""


def show(record: Mapping[str, object], *, as_json: bool) -> None:
    """Print the result of a command on stdout.

    Parameters
    ----------
    record
        Texts, numbers, paths, and lists and mappings of them; numpy's scalars and arrays too.
    as_json
        One JSON object, with null for a number that is not finite, instead of a table.
    """
    if as_json:
        click.echo(json.dumps(plain(record), allow_nan=False))
    else:
        print_table(list(rows(plain(record))))


def brief(scores: Mapping[str, Any]) -> dict[str, object]:
    """Return what people read first of `geo_p2p.metrics` results: no bands apart, no matrix."""
    left_out = {
        *("bands", "made", "per_chip", "ssim_pixels", "sam_pixels"),
        *("confusion", "classes", "iou"),
    }
    kept = {name: value for name, value in scores.items() if name not in left_out}
    if "iou" in scores:
        kept["iou"] = dict(zip(scores["classes"], scores["iou"], strict=True))
    return kept


def brief_run(record: Mapping[str, Any]) -> dict[str, object]:
    """Return what people read of predictions: how many blocks are strange, not which."""
    kept = dict(record)
    if "rasters" in record:
        kept["rasters"] = [brief_run(each) for each in record["rasters"]]
    if "outside" in record:
        kept |= {"confidence": record["confidence"] or "", "outside": len(record["outside"])}
    return kept


def print_spread(per_chip: Mapping[str, Mapping[str, Any]]) -> None:
    """Print how the scores of single chips spread: a line a measure."""
    header = ("mean", "min", "max", "sd", "chips")
    lines = [
        (name.replace("_", " "), *(text(spread[column]) for column in header))
        for name, spread in per_chip.items()
        if spread["chips"]
    ]
    print_table(lines, ("per chip", *header))


def plain(value: object) -> object:
    """Return a value in JSON's own types; a number that is not finite is None."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case PurePath():
            return str(value)
    if hasattr(value, "tolist"):  # numpy, recognised without loading it
        return plain(value.tolist())
    return value


def rows(value: object, label: str = "") -> Iterator[tuple[str, str]]:
    """Yield (label, text) of every leaf of a plain value, labels joined on the way down.

    An empty text is left out: there is nothing to say.
    """
    match value:
        case "":
            return
        case dict():
            for key, item in value.items():
                yield from rows(item, f"{label} {key.replace('_', ' ')}".strip())
        case [dict(), *_]:
            for number, item in enumerate(value, start=1):
                yield from rows(item, f"{label} {number}")
        case list():
            yield label, ", ".join(map(text, value))
        case _:
            yield label, text(value)


def text(value: object) -> str:
    """Return a leaf as people read it: four decimals are enough, and None is a dash."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) >= 0.01 else f"{value:.3g}"
    return str(value)


def print_table(lines: Sequence[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print texts in columns, the first one dim; nothing is cut short where no terminal reads."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    if header:
        table.add_row(*(Text(name, style="dim") for name in header))
    for label, *cells in lines:
        table.add_row(Text(label, style="dim"), *(Text(cell, overflow="fold") for cell in cells))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def wanted() -> bool:
    """Tell whether progress is wanted: ``--quiet`` was not said."""
    return logging.getLogger("geo_p2p").isEnabledFor(logging.INFO)


@contextmanager
def progress(description: str, *, pixels: bool = False) -> Iterator[Report]:
    """Show a bar on stderr while the work goes on, on a terminal and unless ``--quiet``.

    Parameters
    ----------
    description : what goes on.
    pixels : whether the work is counted in pixels, and its speed is to be told.

    Yields
    ------
    Report
        To be called with (done, total).
    """
    with bars(pixels=pixels) as report:
        yield partial(report, description)


@contextmanager
def stages() -> Iterator[StageReport]:
    """Show a bar for each stage of a long work; where no terminal reads, a line in the log.

    Yields
    ------
    StageReport
        To be called with (stage, done, total).
    """
    begun: set[str] = set()
    with bars() as update:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in begun and not sys.stderr.isatty():
                log.info("%s", stage)
            begun.add(stage)
            update(stage, done, total)

        yield report


def _pixel_columns() -> "tuple[ProgressColumn, ...]":
    """Megapixels done, and a second; what an earlier run had done counts for no speed."""
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Done(ProgressColumn):
        def render(self, task: "Task") -> Text:
            return Text(f"{task.completed / 1e6:.1f}/{(task.total or 0) / 1e6:.1f} Mpx")

    class Speed(ProgressColumn):
        def render(self, task: "Task") -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed / 1e6:.2f} Mpx/s")

    return Done(), Speed()


@contextmanager
def bars(*, pixels: bool = False) -> Iterator[StageReport]:
    """Show bars that appear as they are first told of; of pixels also how many a second."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20 if pixels else 40),  # so that all fits into 80 columns
        *(_pixel_columns() if pixels else (MofNCompleteColumn(),)),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    hidden = not (console.is_terminal and wanted())
    # Results stay on stdout: left to itself, a bar would send them to its own console.
    with Progress(*columns, console=console, disable=hidden, redirect_stdout=False) as bar:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=None)
            bar.update(tasks[stage], completed=done, total=total)

        yield report
