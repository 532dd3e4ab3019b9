"""Other ways to translate a raster: what most pages show, and the tools that others publish."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from contest import STRIPE, Case
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn


class Missing(Exception):
    """A tool is not installed."""


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
