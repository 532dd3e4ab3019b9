"""Memory and cost of translating as the raster grows: dense up to 1 Gpx, and a huge sparse one.

The command as a user says it (`geo-p2p predict-raster`), each time in a process of its own, with a
narrow network, so that what is not the network shows. The dense rasters are one photograph of
4096 px side by side in a VRT; of the sparse one all but that photograph is empty, and is never
read. GDAL's cache is bounded as ever. What the command takes for a raster of 512 px is start-up,
and is taken off the cost of the others.

    python benchmarks/predict_growth.py                        (some minutes)
    python benchmarks/predict_growth.py --sides 4096 --ngf 64
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from contest import RGB, network, photograph
from rasterio.windows import Window

from geo_p2p.model_file import save_model
from geo_p2p.raster import Bands, Frame, RasterSource
from geo_p2p.raster.mosaic import vrt_of

PIECE = 4096
"""Side of the photograph, px."""

SMALL = 512
"""Side of what is translated to see what starting costs, px."""

PROBE = """
import json, resource, sys, time
from geo_p2p.cli.main import main
started = time.perf_counter()
try:
    main(sys.argv[1:])
finally:
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))
"""


def pieces(folder: Path, side: int, filled: int) -> Path:
    """Lay the photograph side by side over the upper left ``filled`` px of a VRT."""
    photo = RasterSource(folder / "photo.tif")
    places = product(range(0, filled, PIECE), repeat=2)
    files = [(folder / "photo.tif", Window(col, row, PIECE, PIECE)) for row, col in places]
    frame = Frame(side, side, photo.frame.transform, photo.frame.crs)
    path = folder / f"{side}.vrt"
    path.write_text(vrt_of(files, frame, Bands(3, "uint8", nodata=0, interp=RGB.interp), {}))
    return path


def translated(src: Path, folder: Path, *options: str) -> dict[str, Any]:
    """Run the command, and tell what it says of itself, its seconds and its most MiB."""
    out = folder / "out.tif"
    words = ("predict-raster", str(src), str(out), "--model", str(folder / "model"), "--json")
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, *words, *options], check=True, capture_output=True, text=True
    )
    said, measured = map(json.loads, ran.stdout.splitlines())
    out.unlink()
    return {**said, **measured}


def table(folder: Path, sides: list[int], sparse: int, options: list[str]) -> Iterator[str]:
    """Write the rows as Markdown."""
    start = translated(folder / "small.tif", folder, *options)["seconds"]
    yield f"start-up {start:.1f} s, taken off s/Mpx\n"
    yield "| pixels | Mpx of data | blocks | to the COG, s | s/Mpx | of that blocks | peak MiB |"
    yield "|---|---|---|---|---|---|---|"
    for side, filled in [*((side, side) for side in sides), (sparse, PIECE)]:
        if not side:
            continue
        started = time.perf_counter()
        found = translated(pieces(folder, side, filled), folder, *options)
        data = filled**2 / 1e6
        blocks = "" if side != filled else f"{1 / found['mpx_per_s']:.4f}"
        print(f"{side} px: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
        yield (
            f"| {side:,}² | {data:.0f} | {found['blocks']} | {found['seconds']:.1f} | "
            f"{(found['seconds'] - start) / data:.4f} | {blocks} | {found['peak']:.0f} |"
        )


def main() -> None:
    """Fill the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="*", default=[4096, 8192, 16384, 32768])
    parser.add_argument("--sparse", type=int, default=100_000, help="0 to leave it out")
    parser.add_argument("--ngf", type=int, default=8)
    parser.add_argument("--block-size", type=int)
    args = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        photograph(folder / "photo.tif", PIECE)
        photograph(folder / "small.tif", SMALL)
        generator, card = network(args.ngf)
        save_model(folder / "model", generator, card)
        options = [] if args.block_size is None else ["--block-size", str(args.block_size)]
        print("\n".join(table(folder, args.sides, args.sparse, options)))


if __name__ == "__main__":
    main()
