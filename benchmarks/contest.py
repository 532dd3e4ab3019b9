"""What translations are compared on: a network, a raster, and where its translation goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from rasterio.crs import CRS
from rasterio.windows import Window
from scipy import ndimage
from torch import nn

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.model_file import Translator
from geo_p2p.networks import build_generator, calibrate_batch_norm, initialise
from geo_p2p.predict import PredictConfig
from geo_p2p.raster import Bands, Frame, RasterSink

RGB = Scaling("uint8", (0.0,) * 3, (255.0,) * 3, interp=("red", "green", "blue"))
STRIPE = 512
"""Rows that are written, and compared, at once."""


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
