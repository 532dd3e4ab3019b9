"""Chips a second, against a named rival, a tutorial's loop, and the bare work, in one run.

The same chips (256 px, stride 128) of the same two rasters on one lattice: a photograph of 8-bit
RGB and a class map. Every contestant runs in a process of its own, in turn, several times; the
medians and their ratios are printed.

    python benchmarks/export_chips.py                  ours, the loop, the limit
    pip install geoai-py && python benchmarks/export_chips.py       and geoai
    python benchmarks/export_chips.py --memory         peak memory from 10 Mpx to 10 Gpx

``limit`` reads every pixel of both rasters once, encodes every chip the quickest way there is here
and writes it, in one process, without masks, filters, statistics, world files or names: what cannot
be saved. Work is the time of the cores: it tells more than the clock where others use them too.
"""

import argparse
import importlib.util
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE, STRIDE, SIDE = 256, 128, 4096


def scene(folder: Path) -> tuple[Path, Path]:
    """Write a photograph and a class map on its lattice."""
    import numpy as np

    from geo_p2p.raster import Bands, Frame, RasterSink
    from geo_p2p.scene import CLASSES, Town, scene_frames

    town = Town(3)
    small, _ = scene_frames(town, 1024)
    frame = Frame(SIDE, SIDE, small.transform, small.crs)
    repeat = (1, SIDE // 1024, SIDE // 1024)
    colors = {c.value: (*c.color, 255) for c in CLASSES}
    kinds = (
        (
            "photo.tif",
            np.tile(town.aerial(small), repeat),
            Bands(3, "uint8", interp=("red", "green", "blue")),
        ),
        (
            "classes.tif",
            np.tile(town.map_classes(small), repeat),
            Bands(1, "uint8", colors=colors, interp=("palette",)),
        ),
    )
    for name, values, bands in kinds:
        with RasterSink(folder / name, frame, bands) as sink:
            sink.write(values)
    return folder / "photo.tif", folder / "classes.tif"


def ours(photo: Path, classes: Path, out: Path, workers: int = 1) -> int:
    """Export with geo_p2p."""
    from geo_p2p.chips import export_chips

    settings = {"tile_size": SIZE, "stride": STRIDE, "split": "none"}
    folder = export_chips(photo, classes, out, workers=workers, **settings)
    return len(list((folder / "images").glob("*.tif")))


def ours_on_two(photo: Path, classes: Path, out: Path) -> int:
    """Export with geo_p2p in two processes."""
    return ours(photo, classes, out, 2)


def geoai(photo: Path, classes: Path, out: Path) -> int:
    """Export with geoai."""
    from geoai.utils.training import export_geotiff_tiles

    export_geotiff_tiles(
        str(photo), str(out), str(classes), tile_size=SIZE, stride=STRIDE, quiet=True
    )
    return len(list((out / "images").glob("*.tif")))


def tutorial(photo: Path, classes: Path, out: Path) -> int:
    """Export as rasterio's own examples would: a window after the other, a file each."""
    import rasterio
    from rasterio.windows import Window

    count = 0
    with rasterio.open(photo) as x, rasterio.open(classes) as y:
        for source, side in ((x, "images"), (y, "labels")):
            (out / side).mkdir(parents=True)
            for row in range(0, SIDE - SIZE + 1, STRIDE):
                for col in range(0, SIDE - SIZE + 1, STRIDE):
                    window = Window(col, row, SIZE, SIZE)
                    profile = source.profile | {
                        "height": SIZE,
                        "width": SIZE,
                        "transform": source.window_transform(window),
                    }
                    with rasterio.open(out / side / f"{row}_{col}.tif", "w", **profile) as chip:
                        chip.write(source.read(window=window))
                    count += side == "images"
    return count


def limit(photo: Path, classes: Path, out: Path) -> int:
    """Read every pixel once, encode every chip, write it, and nothing else."""
    import numpy as np
    from rasterio.windows import Window

    from geo_p2p.raster import RasterSource, encode_many

    count = 0
    everywhere = np.ones((SIZE, SIZE), bool)
    for source in (RasterSource(photo), RasterSource(classes)):
        folder = out / Path(source.name).stem
        folder.mkdir(parents=True)
        image, _ = source.read()
        for row in range(0, SIDE - SIZE + 1, STRIDE):
            windows = [Window(c, row, SIZE, SIZE) for c in range(0, SIDE - SIZE + 1, STRIDE)]
            chips = [(image[:, *w.toslices()], everywhere, source.frame.crop(w)) for w in windows]
            for files in encode_many("TIFF", chips):
                (folder / f"{count}.tif").write_bytes(files[".tif"])
                count += 1
    return count // 2


CONTESTANTS = {f.__name__: f for f in (ours, ours_on_two, geoai, tutorial, limit)}


def run_one(name: str, photo: str, classes: str, out: str) -> None:
    """Run one contestant and print what it did; imports do not count."""
    contestant = CONTESTANTS[name]
    if name == "geoai":
        import geoai.utils.training  # noqa: F401
    else:
        import geo_p2p.chips.registration  # noqa: F401
    started, worked = time.perf_counter(), worktime()
    count = contestant(Path(photo), Path(classes), Path(out))
    seconds, work = time.perf_counter() - started, worktime() - worked
    print(json.dumps({"chips": count, "seconds": seconds, "work": work}))


def worktime() -> float:
    """Seconds that the cores have worked for this process and those it has started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def compare(runs: int) -> None:
    """Run all in turn and print chips a second and the ratios."""
    names = [n for n in CONTESTANTS if n != "geoai" or importlib.util.find_spec("geoai")]
    with tempfile.TemporaryDirectory() as folder:
        rasters = scene(Path(folder))
        speeds: dict[str, list[float]] = {name: [] for name in names}
        work: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(runs):
            for name in names:
                out = Path(folder) / "out"
                command = [sys.executable, __file__, "--one", name, *map(str, rasters), str(out)]
                ran = subprocess.run(command, check=True, capture_output=True, text=True)
                told = json.loads(ran.stdout.splitlines()[-1])
                speeds[name].append(told["chips"] / told["seconds"])
                work[name].append(1000 * told["work"] / told["chips"])
                shutil.rmtree(out)
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    print(f"{'':12} chips/s   (least to most)   ours is   on two   work, ms a chip (least)")
    for name, each in speeds.items():
        ratios = [f"{medians[our] / medians[name]:7.2f}x" for our in ("ours", "ours_on_two")]
        print(
            f"{name:12} {medians[name]:7.0f}   {f'({min(each):.0f} to {max(each):.0f})':>15}  "
            f"{'  '.join(ratios)}   {min(work[name]):.2f}"
        )


def memory() -> None:
    """Export from sparse rasters of growing size and print the peak memory of each run."""
    print("pixels   seconds   peak MiB   chips")
    for side in (3_200, 10_000, 32_000, 100_000):
        command = [sys.executable, __file__, "--sparse", str(side)]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        print(ran.stdout.strip())


def sparse(side: int) -> None:
    """Export from a raster of which only a part holds data: a VRT around a small file."""
    import numpy as np
    import rasterio

    from geo_p2p.raster import Bands, Frame, RasterSink
    from geo_p2p.raster.mosaic import vrt_of

    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.tif"
        frame = Frame(2048, 2048, rasterio.Affine(1, 0, 0, 0, -1, 0), rasterio.CRS.from_epsg(32633))
        bands = Bands(3, "uint8", nodata=0)
        with RasterSink(small, frame, bands) as sink:
            values = np.random.default_rng(0).integers(1, 256, (3, 2048, 2048), dtype="uint8")
            sink.write(values)
        whole = Frame(side, side, frame.transform, frame.crs)
        vrt = Path(folder) / "large.vrt"
        vrt.write_text(vrt_of([(small, frame.window)], whole, bands, {}))
        from geo_p2p.chips import ChipFolder, export_chips

        started = time.perf_counter()
        chips = export_chips(vrt, vrt, Path(folder) / "chips", tile_size=256, stride=256)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{side * side:11,}   {seconds:7.1f}   {peak:8.0f}   {len(ChipFolder.open(chips))}")


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--sparse", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        run_one(*asked.one)
    elif asked.sparse:
        sparse(asked.sparse)
    elif asked.memory:
        memory()
    else:
        compare(asked.runs)


if __name__ == "__main__":
    main()
