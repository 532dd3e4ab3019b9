"""Models that are not tile-safe: made so where it can be, else blended, and said by how much."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pairs import Shown
from rasterio.windows import Window
from rasters import opened, utm, write
from torch import Tensor, nn

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.errors import ModelError, RasterError
from geo_p2p.grid import TileGrid, assemble
from geo_p2p.model_file import Translator, save_model
from geo_p2p.networks import (
    UNet,
    build_generator,
    fix_statistics,
    initialise,
    per_image_norms,
)
from geo_p2p.predict import PredictConfig, mosaic, predict, run, sample
from geo_p2p.predict.array import ArraySource, predict_values
from geo_p2p.predict.differences import Differences
from geo_p2p.predict.disagreement import disagreement_of
from geo_p2p.predict.plan import Job
from geo_p2p.predict.sample import sample_of
from geo_p2p.predict.settle import settings_of, settle
from geo_p2p.raster import RasterSource

UNIT = Scaling("float32", (-1.0,), (1.0,))
TILE = PredictConfig(statistics="tile")
SEEDED = PredictConfig(dropout="seeded")


class Attention(nn.Module):
    """Every pixel looks at every other."""

    def forward(self, x: Tensor) -> Tensor:
        """Add the mean over the image."""
        return x + x.mean((2, 3), keepdim=True)


def foreign(norm: Callable[[int], nn.Module]) -> nn.Module:
    """Return a network as somebody else writes one: it knows nothing of this toolkit."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), norm(4), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1), nn.Tanh()
    )
    return initialise(net, torch.Generator().manual_seed(1)).requires_grad_(False)


def strong(net: nn.Module) -> nn.Module:
    """Make first weights so large that what a network sees shows in what it gives."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.weight.data *= 10
    return net


def paper(**arguments: Any) -> nn.Module:
    """Return the paper's generator, small."""
    fields = {"halvings": 3, "ngf": 4, "norm": "instance", "dropout": 0.5, **arguments}
    net = build_generator("unet", 1, 1, **fields)
    return strong(initialise(net, torch.Generator().manual_seed(0)))


def model_of(net: nn.Module, **changes: Any) -> Translator:
    """Return a network as prediction runs it; of a foreign one its user says stride and halo."""
    fields = {"size": 16, "network": "unet", "arguments": {}, "tile_safe": False, "halo": 4}
    fields |= {"stride": 1, "test_dropout": True, **changes}
    if isinstance(net, UNet):
        fields |= {"stride": net.stride, "halo": net.halo}
    return Translator(net, ModelCard(UNIT, UNIT, **fields), "cpu", "fp32")


def slope(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Noise on a slope: of two tiles the means differ."""
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, (1, rows, cols))
    ramp = np.linspace(-0.6, 0.6, rows)[:, None] + np.linspace(0, 0.1, cols)
    return np.clip(noise + ramp, -1, 1).astype("float32")


def source_of(path: Path, values: np.ndarray, **options: Any) -> RasterSource:
    return RasterSource(write(path, values, utm(*values.shape[1:]), **options))


@pytest.fixture
def src(tmp_path: Path) -> RasterSource:
    return source_of(tmp_path / "src.tif", slope(75, 90))


def values_of(path: Path) -> np.ndarray:
    return RasterSource(path).read()[0]


def whole(model: Any, values: np.ndarray) -> np.ndarray:
    """Translate an image at once: reflected by the halo, and to whole strides, then cut."""
    stride, margin = model.card.stride, -(-model.card.halo // model.card.stride) * model.card.stride
    pads = [(margin, margin + -n % stride) for n in values.shape[1:]]
    out = model(np.pad(values, ((0, 0), *pads), mode="reflect")[None], 0)[0]
    return out[:, margin : margin + values.shape[1], margin : margin + values.shape[2]]


# ------------------------------------------------------------------ statistics that are fixed

NORMS = {
    "instance": lambda n: nn.InstanceNorm2d(n, affine=True),
    "plain instance": nn.InstanceNorm2d,
    "group": lambda n: nn.GroupNorm(2, n),
    "batch of the image": lambda n: nn.BatchNorm2d(n, track_running_stats=False),
    "batch in train mode": nn.BatchNorm2d,
}


@pytest.mark.parametrize("kind", NORMS)
def test_of_the_image_they_are_of_nothing_changes(kind: str) -> None:
    net = foreign(NORMS[kind]).train(kind == "batch in train mode")
    images = torch.from_numpy(slope(64, 32)).reshape(2, 1, 32, 32)
    fixed = fix_statistics(net, images[:1])
    assert list(per_image_norms(net)) == ["1"]
    assert not per_image_norms(fixed)
    with torch.no_grad():
        assert torch.allclose(fixed(images[:1]), net(images[:1]), atol=1e-6)
        assert (fixed(images[1:]) - net(images[1:])).abs().max() > 1e-3


def test_they_are_of_all_images_together() -> None:
    net = paper(dropout=0.0).eval()
    image = torch.from_numpy(slope(64, 64))[None]
    joint = torch.cat([image, 0.2 * image + 0.5])
    one, both = fix_statistics(net, image), fix_statistics(net, joint)
    trained = paper(dropout=0.0, norm="batch").train()
    trained.load_state_dict(net.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.allclose(both(joint), trained(joint), atol=2e-5)  # as of a batch of two
        assert (one(image) - both(image)).abs().max() > 1e-2


@pytest.mark.parametrize("norm", ["batch", "tracked-instance", "layer", "none"])
def test_norms_that_take_none_of_the_image_are_left_alone(norm: str) -> None:
    assert not per_image_norms(build_generator("unet", 1, 1, halvings=2, norm=norm).eval())


class Twice(nn.Module):
    """Runs one norm at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, bend, and normalise again."""
        return self.norm(self.norm(x).relu())


def test_a_norm_that_is_run_twice_is_refused() -> None:
    with pytest.raises(ModelError, match=r"norm norm takes .* comes twice: .*statistics 'tile'"):
        fix_statistics(Twice(), torch.zeros(1, 1, 8, 8))


def test_a_norm_that_lies_at_two_places_has_statistics_for_each() -> None:
    norm = nn.InstanceNorm2d(1)
    net, image = nn.Sequential(norm, nn.ReLU(), norm), torch.from_numpy(slope(16, 16))[None]
    fixed = fix_statistics(net, image)
    assert torch.allclose(fixed(image), net(image), atol=1e-6)
    assert not per_image_norms(fixed)


def test_weights_that_no_chip_reaches_are_zero_and_chips_do_not_notice() -> None:
    net = paper(dropout=0.0).eval()
    chip = torch.from_numpy(slope(8, 8))[None]
    tile = torch.from_numpy(slope(32, 32))[None]
    with torch.no_grad():
        before = [net(image) for image in (chip, tile)]
        net.forget_untrained(16)  # of chips of two strides every weight is trained
        assert torch.equal(net(tile), before[1])
        net.forget_untrained(8)
        assert torch.equal(net(chip), before[0])
        assert not torch.allclose(net(tile), before[1], atol=1e-4)


# ------------------------------------------------------------------ exact, where that can be


@pytest.mark.parametrize("name", ["paper", *NORMS])
def test_with_statistics_of_the_raster_tiles_equal_the_whole(
    src: RasterSource, tmp_path: Path, name: str
) -> None:
    model = model_of(paper() if name == "paper" else strong(foreign(NORMS[name])))
    if name == "batch in train mode":  # and kept there by whoever wrote it
        model.generator[1].train()
    settled = settle(model, src, PredictConfig())
    assert settled.card.tile_safe
    expected = whole(settled, src.read()[0])
    assert expected.std() > 0.1
    for block in (16, 40, 128):
        config = PredictConfig(block_size=block, exact=True)
        done = predict(model, src, tmp_path / "o.tif", config, overwrite=True)
        assert np.abs(values_of(done.output) - expected).max() < 5e-6
        assert (done.tile_safe, done.disagreement) == (True, None)
    with opened(tmp_path / "o.tif") as dataset:
        tags = dataset.tags()
    assert tags["GEO_P2P_TILES"] == "exact"
    assert tags["GEO_P2P_MODEL"].startswith(model.fingerprint)
    assert settings_of(tags) == PredictConfig()


def test_the_model_itself_stays_as_it_was(src: RasterSource) -> None:
    model = model_of(paper())
    before = model.fingerprint, model(slope(16, 16)[None], 3)
    settle(model, src, PredictConfig())
    assert model.fingerprint == before[0]
    assert np.array_equal(model(slope(16, 16)[None], 3), before[1])
    assert not model.card.tile_safe


def test_dropout_alone_is_no_reason_to_blend(src: RasterSource) -> None:
    model = model_of(paper(norm="batch"))
    assert settle(model, src, PredictConfig()).card.tile_safe
    assert not settle(model, src, SEEDED).card.tile_safe


def test_dropout_has_no_part_in_the_statistics(src: RasterSource) -> None:
    loud, still = (settle(model_of(paper()), src, c) for c in (SEEDED, PredictConfig()))
    for one, other in zip(loud.generator.buffers(), still.generator.buffers(), strict=True):
        assert torch.equal(one, other)
    assert loud.fingerprint != still.fingerprint


@pytest.mark.parametrize(
    ("net", "config", "reason"),
    [
        (paper(), TILE, r"3 norms take statistics of each tile, the first is encoder\.1\.2 \(Inst"),
        (paper(), SEEDED, "dropout is on in 2 layers"),
        (
            nn.Sequential(foreign(nn.InstanceNorm2d), Attention()),
            PredictConfig(),
            "beyond the halo",
        ),
    ],
    ids=["norms", "dropout", "attention"],
)
def test_exact_is_refused_with_the_reason(
    src: RasterSource, tmp_path: Path, net: nn.Module, config: PredictConfig, reason: str
) -> None:
    config = replace(config, exact=True)
    with pytest.raises(ModelError, match=reason) as caught:
        predict(model_of(net), src, tmp_path / "o.tif", config)
    assert "recipe 'seamless'" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["src.tif"]


def test_exact_is_refused_of_a_plain_function_too(src: RasterSource, tmp_path: Path) -> None:
    model = Shown(model_of(paper()).card, lambda tiles, seed: tiles)
    with pytest.raises(ModelError, match="its card says that a tile's result hangs on the whole"):
        predict(model, src, tmp_path / "o.tif", PredictConfig(exact=True))


# ------------------------------------------------------------------ blended, and told


def test_tiles_disagree_less_with_statistics_of_the_raster(src: RasterSource) -> None:
    model = model_of(strong(foreign(nn.InstanceNorm2d)), size=32)
    each, fixed = (settle(model, src, config) for config in (TILE, PredictConfig()))
    fixed.card = each.card  # as if it had to be blended all the same
    found = [disagreement_of(model, src) for model in (each, fixed)]
    assert found[0]["mean"] > 1.5 * found[1]["mean"] > 0


def test_what_tiles_differ_by_is_told(
    src: RasterSource, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    by_number = Shown(
        model_of(paper()).card, lambda tiles, seed: np.full(tiles.shape, seed % 2, "f4")
    )
    done = predict(by_number, src, tmp_path / "o.tif")
    grid = TileGrid(75, 90, 16, 8)  # 11 tiles a row: neighbours, also below, differ by 1
    assert grid.cols.count % 2 == 1
    assert done.disagreement == pytest.approx(1)
    with opened(tmp_path / "o.tif") as dataset:
        tags = dataset.tags()
    assert json.loads(tags["GEO_P2P_DISAGREEMENT"])["max"] == pytest.approx(1)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "are blended (where two meet they differ by 1 on average, 1 at most; " in warnings[0]


def test_of_a_single_tile_there_is_nothing_to_tell(tmp_path: Path) -> None:
    src = source_of(tmp_path / "s.tif", slope(9, 11))
    assert predict(model_of(paper()), src, tmp_path / "o.tif", SEEDED).disagreement is None


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


@pytest.mark.parametrize("config", [TILE, SEEDED, replace(TILE, dropout="seeded")], ids=str)
def test_what_is_blended_depends_on_nothing_but_the_raster(
    tmp_path: Path, config: PredictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    src, first = source_of(tmp_path / "s.tif", slope(40, 50)), None
    for block, batch in ((64, 1), (16, 1), (24, 3)):
        other = replace(config, block_size=block, batch_size=batch)
        out = values_of(
            predict(model_of(paper()), src, tmp_path / "o.tif", other, overwrite=True).output
        )
        first = out if first is None else first
        assert np.array_equal(out, first)
    assert first is not None
    assert first.std() > 0.1
    kept = replace(config, block_size=24, keep_parts=True)
    predict(model_of(paper()), src, tmp_path / "a.tif", kept)
    forward = run.Runner.run
    backwards = lambda self, blocks: forward(self, blocks[::-1][:4])  # noqa: E731
    monkeypatch.setattr(run.Runner, "run", backwards)
    with pytest.raises(RasterError):  # the last four blocks alone make no mosaic
        predict(model_of(paper()), src, tmp_path / "b.tif", kept)
    monkeypatch.undo()
    assert len(bytes_of(tmp_path / "b.tif.parts")) == 4
    predict(model_of(paper()), src, tmp_path / "b.tif", kept)
    assert bytes_of(tmp_path / "a.tif.parts") == bytes_of(tmp_path / "b.tif.parts")


def test_what_other_settings_have_left_is_not_gone_on_with(src: RasterSource) -> None:
    configs = [PredictConfig(), TILE, SEEDED, replace(SEEDED, statistics="tile")]
    recipes = [json.dumps(Job.of(model_of(paper()), src, c).recipe) for c in configs]
    assert len(set(recipes)) == len(configs)
    again = Job.of(model_of(paper()), src, configs[0]).recipe
    assert json.dumps(again) == recipes[0]


@pytest.mark.parametrize("config", [PredictConfig(), SEEDED, TILE], ids=str)
def test_shards_settle_a_model_alike(
    src: RasterSource, tmp_path: Path, config: PredictConfig
) -> None:
    config = replace(config, block_size=32, keep_parts=True)
    whole = predict(model_of(paper()), src, tmp_path / "a.tif", config)
    for shard in ("2/2", "1/2"):
        predict(model_of(paper()), src, tmp_path / "b.tif", replace(config, shard=shard))
    done = mosaic(tmp_path / "b.tif.parts", tmp_path / "b.tif")
    assert bytes_of(tmp_path / "a.tif.parts") == bytes_of(tmp_path / "b.tif.parts")
    assert done.disagreement == whole.disagreement
    exact = (config.statistics, config.dropout) == ("raster", "off")
    assert done.tile_safe is exact
    assert (done.disagreement is None) is exact


def test_views_and_arrays_are_settled_too(src: RasterSource, tmp_path: Path) -> None:
    config = PredictConfig(block_size=32, tta=True, exact=True)
    done = predict(model_of(paper()), src, tmp_path / "o.tif", config)
    array = ArraySource(*src.read(), src.frame)
    values, _, job = predict_values(model_of(paper()), array, config)
    assert job.model.card.tile_safe
    assert np.array_equal(values, values_of(done.output))
    with pytest.raises(ModelError, match="dropout is on in 2 layers"):
        predict_values(model_of(paper()), array, replace(config, dropout="seeded"))


def test_a_lattice_in_the_crs_is_refused_where_statistics_are_the_raster_s(
    src: RasterSource, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="anchor 'crs': norms of this model take the statistics"):
        predict(model_of(paper()), src, tmp_path / "o.tif", PredictConfig(anchor="crs"))
    drops = model_of(paper(norm="batch"))  # has none
    assert predict(drops, src, tmp_path / "o.tif", PredictConfig(anchor="crs")).tile_safe


def test_a_run_that_goes_on_keeps_its_blocks(src: RasterSource, tmp_path: Path) -> None:
    config = PredictConfig(block_size=32, keep_parts=True)
    predict(model_of(paper()), src, tmp_path / "o.tif", config)
    again = PredictConfig(resume=True)
    done = predict(model_of(paper()), src, tmp_path / "o.tif", again, overwrite=True)
    assert (done.blocks, done.mpx_per_s) == (9, 0)


def test_batch_norms_in_train_mode_stay_so(src: RasterSource) -> None:
    model = model_of(foreign(nn.BatchNorm2d))
    model.generator[1].train()
    tile = slope(16, 16)[None]
    expected = model(tile, 0)
    assert np.array_equal(settle(model, src, TILE)(tile, 0), expected)


@given(st.tuples(st.integers(1, 70), st.integers(1, 70)), st.integers(1, 12).map(lambda n: 2 * n))
def test_weights_sum_to_one_and_vanish_nowhere(shape: tuple[int, int], size: int) -> None:
    grid = TileGrid(*shape, size, size // 2)
    ones = (np.ones((1, t.window.height, t.window.width), "f4") for t in grid)
    assert np.allclose(assemble(grid, ones, "feather"), 1, rtol=0, atol=1e-6)
    for axis in (grid.rows, grid.cols):
        assert all((axis.feather(index) > 0).all() for index in range(axis.count))
        assert axis.feather(0)[0] > 1e-3


@pytest.mark.parametrize("config", [PredictConfig(), TILE, SEEDED], ids=str)
def test_a_constant_raster_gives_a_constant_mosaic(tmp_path: Path, config: PredictConfig) -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.InstanceNorm2d(4), nn.Conv2d(4, 1, 1))
    src = source_of(tmp_path / "s.tif", np.full((1, 40, 56), 0.5, "f4"))
    out = values_of(predict(model_of(net), src, tmp_path / "o.tif", config).output)
    assert np.ptp(out) < 1e-6


@pytest.mark.parametrize(
    ("words", "exact"),
    [((), True), (("--statistics", "tile", "--dropout", "seeded"), False)],
    ids=["settled", "as trained"],
)
def test_the_commands_settle_a_model_alike(
    runner: Any, src: RasterSource, tmp_path: Path, words: tuple[str, ...], exact: bool
) -> None:
    net = paper()
    card = replace(model_of(net).card, arguments=net.arguments)
    save_model(tmp_path / "m", net, card)
    made, place = tmp_path / "o.tif", ("--model", tmp_path / "m", "--device", "cpu")
    ran = runner("predict-raster", *src.paths, made, *place, *words, "--block-size", 32, "--json")
    said = json.loads(ran.stdout)
    assert said["tile_safe"] is exact
    assert (said["disagreement"] is None) is exact
    ran = runner("seams", made, *place, "--input", *src.paths, "--json")
    assert "another model" not in ran.stderr
    found = json.loads(ran.stdout)
    assert (found["disagreement"]["scaled_max"] < 5e-6) is exact
    assert (found["whole"]["scaled_max"] < 5e-6) is exact


# ------------------------------------------------------------------ the sample


def test_the_sample_is_the_same_whatever_part_is_asked_for(
    src: RasterSource, tmp_path: Path
) -> None:
    config = PredictConfig(block_size=16)
    everything = values_of(predict(model_of(paper()), src, tmp_path / "a.tif", config).output)
    window = Window(13, 22, 31, 27)
    bounds = src.frame.crop(window).bounds
    done = predict(model_of(paper()), src, tmp_path / "b.tif", replace(config, bounds=bounds))
    assert np.array_equal(values_of(done.output), everything[:, *window.toslices()])


def test_a_sample_is_of_valid_ground_and_bounded(tmp_path: Path) -> None:
    values = np.full((1, 400, 400), 9, "f4")
    values[:, 300:, 250:330] = slope(100, 80)
    src = source_of(tmp_path / "s.tif", values, nodata=9)
    card = model_of(paper()).card
    tiles = sample_of(card, src)
    assert tiles.shape == (16, 1, 16, 16)
    assert np.abs(tiles).mean((1, 2, 3)).min() > 0.05  # the fill of what is invalid is 0
    assert np.array_equal(tiles, sample_of(card, src))


def test_without_valid_ground_there_are_no_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "TRIES", 20)
    src = source_of(tmp_path / "s.tif", np.full((1, 64, 64), 9, "f4"), nodata=9)
    with pytest.raises(RasterError, match=r"s\.tif: no valid pixel in 20 places.*'tile'"):
        predict(model_of(paper()), src, tmp_path / "o.tif")


@pytest.mark.parametrize(("field", "value"), [("statistics", "scene"), ("dropout", "on")])
def test_settings_that_are_none_are_refused(field: str, value: str) -> None:
    with pytest.raises(ModelError, match=f"{field} '{value}': choose one of"):
        PredictConfig(**{field: value})


def test_differences_in_the_sample_of_another_raster_change_the_plan(tmp_path: Path) -> None:
    marks = [
        settle(model_of(paper()), source_of(tmp_path / f"{n}.tif", slope(40, 40, n)), c)
        for n, c in ((0, PredictConfig()), (1, PredictConfig()))
    ]
    assert marks[0].fingerprint != marks[1].fingerprint
    assert Differences(UNIT).pixels == 0
