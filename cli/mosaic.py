"""``geo-p2p mosaic``: finish a run whose blocks were made by several processes."""

from dataclasses import asdict

import click

from geo_p2p.predict import mosaic as finish

from . import options, output


@click.command()
@click.argument("parts", nargs=-1, required=True)
@click.argument("dst", metavar="OUTPUT")
@options.co
@click.option("--remove-parts", is_flag=True, help="Remove PARTS once OUTPUT is there.")
@options.overwrite
@options.json
def mosaic(
    parts: tuple[str, ...],
    dst: str,
    remove_parts: bool,
    overwrite: bool,
    as_json: bool,
    co: dict[str, str],
) -> None:
    """Make the Cloud Optimized GeoTIFF OUTPUT of the blocks in PARTS.

    PARTS is the folder <OUTPUT>.parts in which `predict-raster --shard` has left them, or several
    of one run, from machines that do not share one. Neither the model nor the raster is needed.
    It can be repeated, and tells which shards are missing.
    """
    done = finish(parts, dst, overwrite=overwrite, options=co, remove=remove_parts)
    record = asdict(done)
    del record["mpx_per_s"]  # no block is made here
    output.show(record if as_json else output.brief_run(record), as_json=as_json)
