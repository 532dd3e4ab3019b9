"""Images a second of a training step, against the step of the reference repositories, in one run.

The same networks (U-Net of 5 halvings, 70 px PatchGAN, batch norm) with the same weights, the same
chips (256 px, 8-bit RGB to RGB), the same batch. Ours is a whole epoch of `Pix2Pix.fit`: decoding
to [-1, 1], augmentation, both losses with their masks, telemetry. The rival is the loop that the
authors' PyTorch code, and those that follow it, write out: fp32, D's pass on the real and on the
translated pair, G's pass, two Adams; its tensors lie ready. Both run in this process in turn, and
the best round of each counts.

    python benchmarks/train.py --batch 4 --rounds 3
    python benchmarks/train.py --device cuda --batch 16 --steps 50

The last lines say how far the step is from what the machine can do: the arithmetic of a step, as
torch counts it, a second, over that of a large product of matrices in the same number format.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from rasterio.crs import CRS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from geo_p2p.card import Scaling, fit_scaling
from geo_p2p.chips import Chip
from geo_p2p.data import DataBunch, Origin
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.raster import Bands, Frame

SIDE = 256


def pairs(count: int) -> list[Chip]:
    """Return pairs of noise: what they show costs nothing."""
    rng = np.random.default_rng(0)
    frame = Frame(SIDE, SIDE, Affine(1, 0, 500_000, 0, -1, 5_000_000), CRS.from_epsg(32633))
    valid = np.ones((SIDE, SIDE), bool)
    images = rng.integers(0, 256, (count, 2, 3, SIDE, SIDE), np.uint8)
    return [Chip(x, y, valid, frame, str(i)) for i, (x, y) in enumerate(images)]


def rgb(chips: list[Chip]) -> Scaling:
    """Scale 8-bit colours."""
    bands = asdict(Bands(3, "uint8", interp=("red", "green", "blue")))
    return fit_scaling([c.x for c in chips], [c.valid for c in chips], bands, False)


class Ours:
    """`Pix2Pix`, an epoch of some steps a round."""

    def __init__(self, steps: int, batch: int, settings: dict[str, Any]) -> None:
        chips = pairs(steps * batch)
        scaling = rgb(chips)
        data = DataBunch(chips, [], (scaling, scaling), Origin(Path()))
        self.model = Pix2Pix(data, batch_size=batch, **settings)
        self.images = steps * batch

    def __call__(self) -> float:
        """Train for an epoch; return images a second."""
        self.model.fit(1, checkpoint=False, progress=False)
        return self.images / self.model.history[-1]["seconds"]


class Plain:
    """The step as the authors' PyTorch code writes it."""

    def __init__(self, steps: int, batch: int, networks: tuple[nn.Module, nn.Module]) -> None:
        self.G, self.D = networks
        self.device = next(self.G.parameters()).device
        adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
        self.for_g = torch.optim.Adam(self.G.parameters(), **adam)
        self.for_d = torch.optim.Adam(self.D.parameters(), **adam)
        self.x, self.y = torch.rand(2, batch, 3, SIDE, SIDE, device=self.device) * 2 - 1
        self.steps, self.images = steps, steps * batch

    def step(self) -> None:
        """Take a step of D, then one of G."""
        fake = self.G(self.x)
        self.D.requires_grad_(True)
        self.for_d.zero_grad()
        on_fake, on_real = self.D(self.x, fake.detach()), self.D(self.x, self.y)
        loss = 0.5 * (verdict(on_fake, 0.0) + verdict(on_real, 1.0))
        loss.backward()
        self.for_d.step()
        self.D.requires_grad_(False)
        self.for_g.zero_grad()
        loss = verdict(self.D(self.x, fake), 1.0) + 100 * F.l1_loss(fake, self.y)
        loss.backward()
        self.for_g.step()

    def __call__(self) -> float:
        """Take the steps of a round; return images a second."""
        finished(self.device)
        start = time.perf_counter()
        for _ in range(self.steps):
            self.step()
        finished(self.device)
        return self.images / (time.perf_counter() - start)


def verdict(scores: Tensor, real: float) -> Tensor:
    """Binary cross-entropy of a verdict."""
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, real))


def finished(device: torch.device) -> None:
    """Wait for what was sent to a device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def arithmetic(step: Callable[[], None]) -> float:
    """Floating-point operations of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def peak(device: torch.device, dtype: torch.dtype, side: int = 4096) -> float:
    """Floating-point operations a second of a large product of matrices, the best of five."""
    one, two = torch.rand(2, side, side, device=device).to(dtype)
    best = float("inf")
    for _ in range(5):
        finished(device)
        start = time.perf_counter()
        one @ two
        finished(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("batch", 4), ("steps", 6), ("rounds", 3), ("ngf", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--norm", default="batch")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()

    # As published, but for the number of halvings: the rival keeps no mean of its weights.
    published = {"gan": "bce", "gan_weight": 1.0, "detail": 0, "ema": 0.0}
    settings = {"ngf": args.ngf, "norm": args.norm, "device": args.device, **published}
    contestants: dict[str, Ours | Plain] = {
        f"ours, {precision}": Ours(args.steps, args.batch, {**settings, "precision": precision})
        for precision in ("fp32", args.precision)
    }
    # A third of the same, for networks with the same weights.
    model = Ours(1, args.batch, {**settings, "precision": "fp32"}).model
    networks = (model.generator.to(model.device), model.discriminator.to(model.device))
    plain = contestants["plain, fp32"] = Plain(args.steps, args.batch, networks)
    for contestant in contestants.values():
        contestant()  # what is allocated and chosen at the first steps
    speeds = {name: [run() for _ in range(1)] for name, run in contestants.items()}
    for _ in range(args.rounds - 1):
        for name, run in contestants.items():
            speeds[name].append(run())
    flops = arithmetic(plain.step) / args.batch
    for name, found in speeds.items():
        ratio = max(found) / max(speeds["plain, fp32"])
        print(f"{name:12}  {max(found):8.2f} images/s   {ratio:5.2f} x")
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    limit = peak(plain.device, dtype)
    reached = flops * max(speeds[f"ours, {args.precision}"])
    print(f"{flops / 1e9:.0f} GFLOP an image; {reached / 1e9:.0f} of {limit / 1e9:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
