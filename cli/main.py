"""The ``geo-p2p`` command: which commands there are, and what all of them share.

A command lives in the module of its name and is loaded when it is run, so that ``--help``
loads none. What is meant for people to act on leaves on stderr, results on stdout.

Exit codes: 0 done; 1 refused, with one line that says why; 2 wrong usage; 130 interrupted.
An exception of any other kind is a bug and keeps its traceback.
"""

import logging
import sys
from importlib import import_module
from typing import Any

import click

from geo_p2p import __version__
from geo_p2p.errors import GeoP2PError

COMMANDS = {
    "export-chips": "Cut two rasters of one place into paired chips.",
    "train": "Train a model on a folder of chips.",
    "evaluate": "Score a model on chips, or a raster against the truth.",
    "predict-raster": "Translate a raster of any size into a GeoTIFF.",
    "mosaic": "Finish a run of predict-raster in shards.",
    "seams": "Measure the seams of a translated raster.",
    "info": "Tell what a raster, a chip folder or a model is.",
    "demo": "Do all of it on a made-up town, in minutes.",
}


class Commands(click.Group):
    """A group that knows its commands by name and loads them one at a time."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the work, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command: the object of the module's own name in the module."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f".{name}", __package__), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table: help loads no command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; turn what it refuses to do into one line, and nothing else."""
        from rasterio import Env

        try:
            with Env():  # without one GDAL writes its warnings to stderr, with it to a log
                return super().invoke(ctx)
        except GeoP2PError as error:
            # On one line even if a library in between has added words of its own to it.
            raise click.ClickException(" ".join(str(error).split())) from error
        except (KeyboardInterrupt, click.Abort):
            click.echo("Interrupted", err=True)
            raise click.exceptions.Exit(130) from None


class Messages(logging.Handler):
    """Log records as plain lines on whatever is stderr at the moment.

    A progress bar takes the place of ``sys.stderr`` while it is shown, to print lines above
    itself. A handler that keeps the first stream it saw, or ``click.echo``, which looks for the
    stream beneath, would write across the bar.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; name the level from a warning up."""
        prefix = f"{record.levelname.title()}: " if record.levelno >= logging.WARNING else ""
        sys.stderr.write(f"{prefix}{self.format(record)}\n")


def configure_logging(verbosity: int) -> None:
    """Send the library's log to stderr.

    Parameters
    ----------
    verbosity
        0 shows what a run decides for you (INFO); each step up or down moves one level. Above
        0, what GDAL warns of is shown too.
    """
    logger = logging.getLogger("geo_p2p")
    logger.handlers = [Messages()]
    logger.propagate = False
    logger.setLevel(min(max(logging.INFO - 10 * verbosity, logging.DEBUG), logging.CRITICAL))
    logging.getLogger("rasterio").handlers = [
        Messages() if verbosity > 0 else logging.NullHandler()
    ]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", count=True, help="Say more on stderr.")
@click.option("-q", "--quiet", count=True, help="Say less: no progress; -qq only errors.")
@click.version_option(__version__, prog_name="geo-p2p")
def main(verbose: int, quiet: int) -> None:
    """Train a pix2pix on two rasters of one place, then translate rasters of any size.

    A first look: `geo-p2p demo`. What a command wants: `geo-p2p COMMAND --help`.
    """
    configure_logging(verbose - quiet)
