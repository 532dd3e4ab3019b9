"""Quality of the recipes on ground that no chip was trained on, at equal wall time.

Each pair of rasters is exported with a split by blocks. Each recipe is trained for about the same
time (an epoch of a model that is thrown away tells how many epochs that is), translates the whole
raster, and is scored on the held-out blocks of the stitched mosaic. Beside the recipes stand what
needs no network: the best constant, per-pixel regression, and the input copied. Seams of every
mosaic are measured: R, its interval, the mean disagreement D of neighbouring blocks, and the
largest difference from a window translated at once, both in the target's unit.

    python benchmarks/quality.py --pairs demo --minutes 4 --seeds 1
    python benchmarks/quality.py --data DATA --minutes 30 --seeds 3 --device cuda --out results

A line of JSON a row goes to OUT/rows.jsonl as soon as it is known, and rows that are there already
are not computed again; at the end the tables are printed as Markdown.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geo_p2p import Pix2Pix, RasterSource, export_chips, prepare_data
from geo_p2p.baselines import CopiedInput, MedianColour, PixelRegression
from geo_p2p.data import DataBunch
from geo_p2p.evaluate import evaluate_rasters
from geo_p2p.predict import Model, PredictConfig, predict
from geo_p2p.scene import Town, write_scene
from geo_p2p.seams import disagreement, seams_of
from geo_p2p.version import versions

BLOCK = 512
"""Side of the blocks that mosaics are made of, px: small, so that there are seams to look for."""

RECIPES: dict[str, Mapping[str, Any]] = {
    "paper": {"recipe": "paper"},
    "seamless": {"recipe": "seamless"},
    "plain": {"recipe": "seamless", "gan_weight": 0.0},
}
"""What is trained: "plain" is the generator of "seamless" without an adversary."""

VALUES = ("l1", "psnr", "ssim", "hp_l1")
CLASSES = ("accuracy", "miou")
SEAMS = ("r", "r_low", "r_high", "d", "whole")


@dataclass(frozen=True)
class Pair:
    """Two rasters of one place, and how chips are cut from them."""

    src: Path
    additional: Path
    export: Mapping[str, Any]


def pairs(data: Path | None, out: Path) -> dict[str, Callable[[], Pair]]:
    """Return the pairs by name; those of real rasters need the folder of these."""
    found: dict[str, Callable[[], Pair]] = {"demo": partial(demo, out)}
    if data is None:
        return found
    banepa, zion = data / "banepa", data / "zion"
    photo, landsat = banepa / "ortho.tif", zion / "zion_landsat8_rgbn.tif"
    small, large = {"tile_size": 256, "stride": 64}, {"tile_size": 256, "stride": 128}
    real = {
        "banepa map": Pair(photo, banepa / "osm_map_rgba.tif", large),
        "banepa classes": Pair(photo, banepa / "osm_classes.tif", large),
        "zion nir": Pair(landsat, landsat, {**small, "bidx": (1, 2, 3), "additional_bidx": (4,)}),
        "zion land cover": Pair(landsat, zion / "nlcd.tif", small),
    }
    return {**found, **{name: partial(_same, pair) for name, pair in real.items()}}


def _same(pair: Pair) -> Pair:
    return pair


def demo(out: Path) -> Pair:
    """Make the scene of `geo-p2p demo`."""
    scene = write_scene(out / "scene", town=Town(7), size=1536, overwrite=True)
    return Pair(scene.aerial, scene.map, {"tile_size": 256, "stride": 128, "buffer": 128})


def epochs_for(data: DataBunch, settings: Mapping[str, Any], seconds: float) -> int:
    """How many epochs fit into the time, by one of a model that is thrown away."""
    model = Pix2Pix(data, **settings)
    model.fit(1, checkpoint=False, progress=False)
    return max(1, round(seconds / float(model.history[0]["seconds"] or 1)))


def models(
    data: DataBunch, args: argparse.Namespace, seed: int, known: set[str]
) -> Iterator[tuple[str, Model, dict[str, Any]]]:
    """Make every contestant that is not known yet, with what is told of its training."""
    if seed == args.first_seed:  # these hang on no seed worth the time
        scalings = data.scalings
        if "median" not in known:
            yield "median", MedianColour(data.chips[0], scalings), {}
        if "regression" not in known:
            yield "regression", PixelRegression(data.chips[0], scalings, seed), {}
        if not scalings[1].classes and "copied input" not in known:
            yield "copied input", CopiedInput(scalings), {}
    recipes = {**RECIPES, **args.variants}
    for name in args.recipes or recipes:
        if name in known:
            continue
        own = {**args.settings, **recipes[name], "seed": seed, "device": args.device}
        epochs = epochs_for(data, own, 60 * args.minutes)
        model = Pix2Pix(data, **own)
        model.fit(epochs, checkpoint=False, progress=False)
        spent = sum(float(row["seconds"] or 0) for row in model.history)
        yield name, model.translator, {"epochs": epochs, "seconds": round(spent)}


def scored(name: str, model: Model, pair: Pair, chips: Path, out: Path) -> dict[str, Any]:
    """Translate the raster, and score the held-out ground and the seams."""
    source = RasterSource(pair.src, pair.export.get("bidx"))
    mosaic = out / f"{name.replace(' ', '_')}.tif"
    mosaic.unlink(missing_ok=True)
    config = PredictConfig(block_size=BLOCK)
    predict(model, source, mosaic, config)
    scores = evaluate_rasters(
        mosaic,
        pair.additional,
        chips=chips,
        split="val",
        truth_bidx=pair.export.get("additional_bidx"),
    )
    row = {key: scores[key] for key in (*VALUES, *CLASSES, "data_range", "pixels") if key in scores}
    seams = seams_of(mosaic)
    row |= {key: seams[key] for key in ("r", "r_low", "r_high", "verdict")}
    if model.card.size > 1:  # of one pixel there is nothing to disagree about
        tiled = disagreement(model, source, block_size=BLOCK)
        row |= {"d": tiled["disagreement"]["mean"], "whole": tiled["whole"]["max"]}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Format the rows of one pair as Markdown; of several seeds one below the other."""
    measures = [key for key in (*VALUES, *CLASSES) if key in rows[0]]
    columns = ["model", "seed", "epochs", "seconds", *measures, *SEAMS]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = (_cell(row.get(column)) for column in columns)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of real rasters")
    parser.add_argument("--pairs", nargs="*", help="names; all that can be had if left out")
    parser.add_argument("--recipes", nargs="*", help="names; all of them if left out")
    parser.add_argument(
        "--variants", type=json.loads, default={}, help="JSON: more recipes, settings by name"
    )
    parser.add_argument("--minutes", type=float, default=4, help="of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=42)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON, for all recipes")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    return parser.parse_args()


def main() -> None:
    """Fill the table."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    log = args.out / "rows.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    available = pairs(args.data, args.out)
    for pair_name in args.pairs or available:
        pair = available[pair_name]()
        folder = args.out / pair_name.replace(" ", "_")
        folder.mkdir(exist_ok=True)
        chips = export_chips(
            pair.src, pair.additional, folder / "chips", overwrite=True, **pair.export
        )
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            known = {r["model"] for r in rows if (r["pair"], r["seed"]) == (pair_name, seed)}
            data = prepare_data(chips, seed=seed)
            for name, model, told in models(data, args, seed, known):
                row = {"pair": pair_name, "model": name, "seed": seed, **told}
                row |= scored(name, model, pair, chips, folder)
                rows.append(row)
                with log.open("a") as file:
                    file.write(json.dumps({**row, "settings": args.settings}) + "\n")
                print(f"{pair_name}: {name}: {row}", flush=True)
    print(f"\n{versions()}")
    for pair_name in dict.fromkeys(row["pair"] for row in rows):
        print(f"\n## {pair_name}\n")
        print(table([row for row in rows if row["pair"] == pair_name]))


if __name__ == "__main__":
    main()
