"""Speed and exactness of translating a large raster: ours, the bare network, and other tools.

One network (U-Net of 5 halvings, batch norm, weights drawn and calibrated), one raster (8-bit RGB),
one run. The bare network translates as many tiles of the plan's shape as the plan has, halo and
all, from memory to nothing, as fast as it can: that is the limit. Ours is timed to the last block
and to the finished Cloud Optimized GeoTIFF. The tutorial loop is what most pages show: windows of
512 px side by side, fp32, written one by one. Other tools run at their own defaults where they are
installed (geoai, terratorch, opensr-utils, samgeo); imports, and the loading of the model, count
for nobody.

Each row says how far it is from the translation of the whole raster at once (from blocks with a
halo in fp32 where memory does not allow the whole: `geo-p2p seams` shows these to be equal).

    python benchmarks/predict.py --size 2048 --ngf 16             (minutes)
    python benchmarks/predict.py --size 8192 --rounds 3           (an hour on two cores)
"""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import torch
from contest import STRIPE, Case, network, photograph
from peers import Missing, geoai, opensr, samgeo, terratorch, tutorial
from rasterio.windows import Window

from geo_p2p.device import precision_name
from geo_p2p.model_file import Translator
from geo_p2p.predict import PredictConfig
from geo_p2p.predict.layout import Layout
from geo_p2p.predict.mosaicking import publish
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job
from geo_p2p.predict.run import Runner
from geo_p2p.raster import RasterSource
from geo_p2p.version import versions

# ------------------------------------------------------------------ who takes part


def bare(case: Case) -> tuple[float, Path | None]:
    """Translate tiles that lie in memory, and forget them."""
    model, plan = case.translator, Job.of(case.translator, RasterSource(case.raster), case.config)
    tile = np.random.default_rng(0).uniform(-1, 1, (1, 3, *plan.plan.tile_shape)).astype("float32")
    with model.session():
        model(tile, 0)
        started = time.perf_counter()
        for _ in plan.blocks:
            model(tile, 0)
        return time.perf_counter() - started, None


def ours(case: Case, to_the_end: bool) -> tuple[float, Path | None]:
    """Run all blocks, and make the mosaic of them if asked to."""
    job = Job.of(case.translator, RasterSource(case.raster), case.config)
    seconds = run(job, case.out, to_the_end)
    return seconds, case.out if to_the_end else None


def run(job: Job, out: Path, to_the_end: bool = True) -> float:
    """Run a job; seconds to its last block, or to the finished mosaic."""
    parts = Parts.of(out)
    with parts.held():
        parts.begin(job.recipe, Layout.of(job))
        started = time.perf_counter()
        for _ in Runner(job, parts).run(job.blocks):
            pass
        if to_the_end:
            publish([parts], parts.layout, out, overwrite=True)
        seconds = time.perf_counter() - started
        parts.remove()
    return seconds


RUNS: dict[str, Callable[[Case], tuple[float, Path | None]]] = {
    "bare network": bare,
    "ours, last block": lambda case: ours(case, False),
    "ours, COG": lambda case: ours(case, True),
    "tutorial loop": tutorial,
    "geoai": geoai,
    "terratorch": terratorch,
    "opensr-utils": opensr,
    "samgeo": samgeo,
}


# ------------------------------------------------------------------ the table


def reference(case: Case, largest: int) -> tuple[Path, str]:
    """Translate the raster in fp32: at once, or in blocks where it is too large for that."""
    path = case.out.with_name("whole.tif")
    source = RasterSource(case.raster)
    size = max(source.frame.shape)
    side = -(-size // case.card.stride) * case.card.stride if size <= largest else None
    job = Job.of(Translator(case.generator, case.card, "cpu", "fp32"), source, PredictConfig(side))
    run(job, path)
    return path, "the whole at once" if side else f"blocks of {job.plan.size} px in fp32"


def distance(path: Path, truth: Path) -> tuple[float, float]:
    """Mean and largest absolute difference from the whole, in 255ths of the range."""
    total, most, count = 0.0, 0.0, 0
    with rasterio.open(path) as one, rasterio.open(truth) as two:
        # geoai writes what the network gives, from 0 to 1; samgeo the first band alone.
        scale = 255.0 if one.dtypes[0].startswith("float") else 1.0
        for row in range(0, two.height, STRIPE):
            window = Window(0, row, two.width, min(STRIPE, two.height - row))
            mine, right = one.read(window=window), two.read(window=window)
            off = np.abs(scale * mine - right[: len(mine)])
            total, most, count = (
                total + float(off.sum()),
                max(most, float(off.max())),
                count + off.size,
            )
    return total / count, most


def compare(case: Case, names: list[str], rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Run everybody in turn: the least seconds of each, and what the last run of each left."""
    seconds: dict[str, float] = {}
    told: dict[str, Any] = {}
    truth, _ = reference(case, 4096)
    for _ in range(rounds):
        for name in names:
            case.out.unlink(missing_ok=True)
            if isinstance(told.get(name), Missing):
                continue
            try:
                spent, made = RUNS[name](case)
            except Missing as error:
                told[name] = error
                continue
            seconds[name] = min(seconds.get(name, spent), spent)
            told[name] = distance(made, truth) if made else None
            print(f"{name}: {spent:.2f} s", flush=True)
    return seconds, told


def table(case: Case, seconds: dict[str, float], told: dict[str, Any]) -> Iterator[str]:
    """Write the rows as Markdown."""
    job = Job.of(case.translator, RasterSource(case.raster), case.config)
    mpx = job.window.width * job.window.height / 1e6
    yield f"blocks of {job.plan.size} px, tiles of {job.plan.tile_shape}, {len(job.blocks)} of them"
    yield "| | s/Mpx | of the bare network | off the whole, mean | largest |\n|---|---|---|---|---|"
    for name, found in told.items():
        if isinstance(found, Missing):
            yield f"| {name} | {found} | | | |"
            continue
        ratio = seconds.get("bare network", float("nan")) / seconds[name]
        off = f"{found[0]:.3g} | {found[1]:.3g}" if found else " | "
        yield f"| {name} | {seconds[name] / mpx:.3f} | {ratio:.2f} | {off} |"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8192, help="side of the raster, px")
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument("--block-size", type=int)
    parser.add_argument("--only", nargs="*", default=list(RUNS), choices=list(RUNS))
    return parser.parse_args()


def main() -> None:
    """Fill the table."""
    args = arguments()
    generator, card = network(args.ngf)
    with TemporaryDirectory() as name:
        folder = Path(name)
        photograph(folder / "photo.tif", args.size)
        case = Case(
            *(generator, card, folder / "photo.tif", folder / "out.tif"),
            *(args.precision, args.block_size),
        )
        found = compare(case, args.only, args.rounds)
        print(f"\n{versions()}\n{torch.get_num_threads()} threads", end=", ")
        print(precision_name(case.translator.dtype))
        print("\n".join(table(case, *found)))


if __name__ == "__main__":
    main()
