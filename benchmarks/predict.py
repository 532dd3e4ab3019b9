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
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.windows import Window
from scipy import ndimage
from torch import Tensor, nn

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.device import precision_name
from geo_p2p.model_file import Translator
from geo_p2p.networks import build_generator, calibrate_batch_norm, initialise
from geo_p2p.predict import PredictConfig
from geo_p2p.predict.layout import Layout
from geo_p2p.predict.mosaicking import publish
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job
from geo_p2p.predict.run import Runner
from geo_p2p.raster import Bands, Frame, RasterSink, RasterSource
from geo_p2p.version import versions

RGB = Scaling("uint8", (0.0,) * 3, (255.0,) * 3, interp=("red", "green", "blue"))
STRIPE = 512
"""Rows that are written, and compared, at once."""


class Missing(Exception):
    """A tool is not installed."""


@dataclass(frozen=True)
class Case:
    """What is translated, by what, and where to."""

    generator: nn.Module
    card: ModelCard
    raster: Path
    out: Path
    precision: str
    block_size: int | None

    @property
    def translator(self) -> Translator:
        """The network, as ours runs it."""
        return Translator(self.generator, self.card, "cpu", self.precision)

    @property
    def config(self) -> PredictConfig:
        """Settings of ours."""
        return PredictConfig(block_size=self.block_size)


def network(ngf: int) -> tuple[nn.Module, ModelCard]:
    """Return a U-Net whose output varies as that of a trained one does."""
    draw = torch.Generator().manual_seed(0)
    arguments = {"in_channels": 3, "out_channels": 3, "halvings": 5, "ngf": ngf}
    net = initialise(build_generator("unet", **arguments), draw)
    images = [torch.rand(4, 3, 256, 256, generator=draw) * 2 - 1 for _ in range(3)]
    calibrate_batch_norm(net, images)
    net.eval()
    with torch.no_grad():
        net.last.layer.weight.mul_(0.4 / net(images[0]).std())
    fields: dict[str, Any] = {"network": "unet", "arguments": arguments, "tile_safe": True}
    return net, ModelCard(RGB, RGB, size=256, stride=net.stride, halo=net.halo, **fields)


def photograph(path: Path, size: int) -> None:
    """Write a raster with grain, edges and slopes; tiles of 512 px, as ours cuts them."""
    draw = np.random.default_rng(0)
    frame = Frame(size, size, Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), CRS.from_epsg(32633))
    with RasterSink(path, frame, Bands(3, "uint8", interp=RGB.interp)) as sink:
        for row in range(0, size, STRIPE):
            rows = min(STRIPE, size - row)
            noise = draw.normal(size=(3, rows, size))
            image = 128 + 400 * ndimage.gaussian_filter(noise, (0, 3, 3)) + 4 * noise
            values = np.clip(image, 0, 255).astype("uint8")
            sink.write(values, window=Window(0, row, size, rows))


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


def tutorial(case: Case) -> tuple[float, Path | None]:
    """Translate windows side by side, as most pages show it."""
    started = time.perf_counter()
    with rasterio.open(case.raster) as src, rasterio.open(case.out, "w", **src.profile) as dst:
        for row in range(0, src.height, STRIPE):
            for col in range(0, src.width, STRIPE):
                shape = min(STRIPE, src.height - row), min(STRIPE, src.width - col)
                window = Window(col, row, shape[1], shape[0])
                image = torch.from_numpy(src.read(window=window).astype("float32") / 127.5 - 1)
                with torch.no_grad():
                    output = case.generator(_padded(image[None]))[0, :, : shape[0], : shape[1]]
                dst.write(_bytes(output), window=window)
    return time.perf_counter() - started, case.out


def geoai(case: Case) -> tuple[float, Path | None]:
    """Run geoai's ``predict_geotiff``, tiles of 256 px that overlap by 64."""
    with optional("geoai"):
        from geoai.inference import predict_geotiff
    started = time.perf_counter()
    predict_geotiff(
        model=Colours(case.generator, 1.0),
        input_raster=str(case.raster),
        output_raster=str(case.out),
        num_classes=3,
        output_dtype="float32",
        device="cpu",
    )
    return time.perf_counter() - started, case.out


def terratorch(case: Case) -> tuple[float, Path | None]:
    """Run terratorch's ``tiled_inference``: it takes and gives a raster in memory."""
    with optional("terratorch"):
        from terratorch.tasks.tiled_inference import tiled_inference
    started = time.perf_counter()
    with rasterio.open(case.raster) as src:
        image, profile = torch.from_numpy(src.read().astype("float32")), src.profile
    with torch.no_grad():
        output = tiled_inference(Colours(case.generator, 255.0), image[None], 3)
    with rasterio.open(case.out, "w", **profile) as dst:
        dst.write(np.rint(output[0].numpy()).clip(0, 255).astype("uint8"))
    return time.perf_counter() - started, case.out


def opensr(case: Case) -> tuple[float, Path | None]:
    """Run opensr-utils' ``super_resolve`` at a factor of one: windows of 128 px overlap by 8."""
    with optional("opensr-utils"):
        from opensr_utils import super_resolve
    started = time.perf_counter()
    # It takes reflectances, divides them by 10 000, and multiplies what comes out again.
    model = Colours(case.generator, 255 / 10_000)
    super_resolve(str(case.raster), model, str(case.out), factor=1, device="cpu")
    return time.perf_counter() - started, case.out


def samgeo(case: Case) -> tuple[float, Path | None]:
    """Run samgeo's ``tiff_to_tiff``: windows of 512 px with 128 px around, one band out."""
    with optional("samgeo"):
        from samgeo.common import tiff_to_tiff

    def translate(image: NDArray[Any], **settings: Any) -> NDArray[Any]:
        tile = torch.from_numpy(image[..., :3].transpose(2, 0, 1).astype("float32") / 127.5 - 1)
        with torch.no_grad():
            output = case.generator(_padded(tile[None]))[0, :1, : tile.shape[1], : tile.shape[2]]
        return _bytes(output)[0]

    started = time.perf_counter()
    tiff_to_tiff(str(case.raster), str(case.out), translate)
    return time.perf_counter() - started, case.out


class Colours(nn.Module):
    """The network for tools that bring colours from 0 to ``top``, and take them back like that."""

    def __init__(self, generator: nn.Module, top: float) -> None:
        super().__init__()
        self.generator, self.top = generator, top

    def forward(self, x: Tensor) -> Tensor:
        """Translate (batch, 3, rows, cols), mirrored out to whole strides."""
        rows, cols = x.shape[2:]
        output = self.generator(_padded(x * (2 / self.top) - 1))[..., :rows, :cols]
        return (output + 1) * (self.top / 2)


@contextlib.contextmanager
def optional(name: str) -> Iterator[None]:
    """Import in here what may be missing."""
    try:
        yield
    except ImportError as error:
        raise Missing(f"{name} is not installed") from error


def _padded(tiles: Tensor) -> Tensor:
    """Mirror tiles out to whole strides at their right and lower edges."""
    up, over = (-n % 32 for n in tiles.shape[2:])
    return nn.functional.pad(tiles, (0, over, 0, up), mode="reflect")


def _bytes(output: Tensor) -> NDArray[np.uint8]:
    result: NDArray[np.uint8] = np.rint((output.numpy() + 1) * 127.5).clip(0, 255).astype("uint8")
    return result


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
