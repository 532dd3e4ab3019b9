"""What a command says: a table for people or one JSON object on stdout; progress on stderr."""

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath
from typing import TypeAlias

import click

Report: TypeAlias = Callable[[int, int], None]
"""Called with (done, total) as the work goes on."""


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
        print_table(dict(rows(plain(record))))


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


def print_table(pairs: Mapping[str, str]) -> None:
    """Print labels and texts in two columns; nothing is cut short where no terminal reads."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for label, value in pairs.items():
        table.add_row(Text(label, style="dim"), Text(value, overflow="fold"))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


@contextmanager
def progress(description: str) -> Iterator[Report]:
    """Show a bar on stderr while the work goes on, on a terminal and unless ``--quiet``.

    Yields
    ------
    Report
        To be called with (done, total).
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    shown = console.is_terminal and logging.getLogger("geo_p2p").isEnabledFor(logging.INFO)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Results stay on stdout: left to itself, the bar would send them to its own console.
    with Progress(*columns, console=console, disable=not shown, redirect_stdout=False) as bar:
        task = bar.add_task(description, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report
