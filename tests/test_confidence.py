"""Confidence: intervals hold what they promise, and cost the translation nothing."""

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
from pairs import COLOURS, SIDE, TINY, Shown, blobs, bunch, chip, classed, inverted
from rasterio.windows import Window
from rasters import opened, utm, write
from scipy.stats import spearmanr
from torch import Tensor

from geo_p2p.card import (
    Category,
    Confidence,
    InputRange,
    ModelCard,
    Scaling,
    TrainConfig,
    fit_confidence,
    range_seen,
    scores_of,
)
from geo_p2p.card.confidence import LEVELS
from geo_p2p.chips import Chip, ChipFolder
from geo_p2p.chips.halves import halves
from geo_p2p.data import DataBunch
from geo_p2p.errors import ModelError, RasterError
from geo_p2p.losses import l1_loss, laplace_loss
from geo_p2p.model_file import Translator, load_card, load_model
from geo_p2p.networks import GENERATORS, build_generator, initialise, required_halo
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix import fit as fitting
from geo_p2p.pix2pix.state import take
from geo_p2p.predict import PredictConfig, Prediction, mosaic, predict, run
from geo_p2p.raster import Frame, RasterSource

SMALL: dict[str, dict[str, Any]] = {
    "encoder": {"backbone": "resnet18", "ngf": 4},
    "unet": {"halvings": 3, "ngf": 4},
    "resnet": {"blocks": 2, "ngf": 4},
}
UNIT = Scaling("float32", (-1.0,), (1.0,))
THREE = Scaling(
    "uint8",
    classes=tuple(Category(value, str(value), COLOURS[value], 0.3) for value in COLOURS),
)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Work in a folder of its own, and calibrate batch norm on little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "CALIBRATION", 8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shares(table: tuple[tuple[float, ...], ...]) -> np.ndarray:
    return np.array(table)


# ------------------------------------------------------------------ what is promised is held


def noisy(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what a network gives that knows the pattern of its error and not the size; truth."""
    draw = np.random.default_rng(seed)
    scale = np.exp(draw.uniform(-5, -2, (1, 1, count)))
    truth = np.clip(draw.laplace(0, scale), -1, 1).astype("float32")
    made = np.concatenate([np.zeros_like(scale), np.log(scale / 3)]).astype("float32")
    return made, truth, scale


def scored(count: int, seed: int) -> np.ndarray:
    made, truth, _ = noisy(count, seed)
    return scores_of(UNIT, made, truth, np.ones(truth.shape[1:], bool))


def test_intervals_hold_the_share_that_was_asked_for() -> None:
    sure = fit_confidence([scored(20_000, 0)], [scored(20_000, 1)], (1, 1))
    assert sure.levels == LEVELS
    assert np.abs(shares(sure.coverage)[:, 0] - LEVELS).max() < 0.012
    fresh = shares(sure.held([scored(50_000, 2)]))[:, 0]
    assert np.abs(fresh - LEVELS).max() < 0.012
    # Without the factors the network's own scales, a third of what they should be, hold less.
    bare = replace(sure, factors=tuple((-np.log(1 - level),) for level in LEVELS))
    assert (shares(bare.held([scored(50_000, 2)]))[:, 0] < np.array(LEVELS) - 0.1).all()


def test_they_do_so_where_it_is_quiet_and_where_it_is_noisy() -> None:
    made, truth, scale = noisy(50_000, 3)
    sure = fit_confidence([scored(20_000, 0)], [scored(20_000, 1)], (1, 1))
    score = scores_of(UNIT, made, truth, np.ones(truth.shape[1:], bool))
    flat = made.copy()
    flat[1] = -3  # one scale for all pixels
    even = scores_of(UNIT, flat, truth, np.ones(truth.shape[1:], bool))
    even_sure = fit_confidence([even[:, ::2]], [even[:, 1::2]], (1, 1))
    for quiet in (True, False):
        place = (scale[0, 0] < np.median(scale)) == quiet
        held = shares(sure.held([score[:, place]]))[:, 0]
        assert np.abs(held - LEVELS).max() < 0.02
        off = shares(even_sure.held([even[:, place]]))[LEVELS.index(0.8), 0] - 0.8
        assert off > 0.1 if quiet else off < -0.1


@given(st.integers(1, 300), st.integers(0, 1000))
def test_a_factor_is_the_rank_that_counts_one_pixel_more(count: int, seed: int) -> None:
    score = np.random.default_rng(seed).exponential(size=(2, count))
    known = [level for level in LEVELS if np.ceil((count + 1) * level) <= count]
    if not known:
        with pytest.raises(ModelError):
            fit_confidence([score], [score], (1, 1))
        return
    sure = fit_confidence([score], [score], (1, 1))
    assert list(sure.levels) == known
    for level, factor in zip(sure.levels, sure.factors, strict=True):
        for band, most in zip(score, factor, strict=True):
            assert most in band
            assert (band <= most).sum() == np.ceil((count + 1) * level)


def test_sets_of_classes_hold_the_share_that_was_asked_for() -> None:
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(3, 1, 60_000)) * 3
    true = np.exp(scores / 2)  # the network is twice as sure as it should be
    true = (true / true.sum(0)).cumsum(0)
    index = (draw.random((1, 60_000)) > true).sum(0)
    truth = THREE.values[index][None].astype("uint8")
    valid = np.ones((1, 60_000), bool)
    score = scores_of(THREE, scores, truth, valid)
    sure = fit_confidence([score[:, ::2]], [score[:, 1::2]], (1, 1))
    right = float((scores[:, 0].argmax(0) == index[0]).mean())
    held = shares(sure.coverage)[:, 0]
    # A map that is right more often than that needs no second class.
    assert np.abs(held - np.maximum(LEVELS, right)).max() < 0.012
    # A pixel is in its set exactly where its score is within the factor.
    made = predicted_sets(sure, scores, truth, valid)
    assert made == pytest.approx(sure.held([score])[LEVELS.index(0.95)][0])


def predicted_sets(
    sure: Confidence, scores: np.ndarray, truth: np.ndarray, valid: np.ndarray
) -> float:
    """Share of the truth in sets whose sizes are what is written: the likeliest classes."""
    from geo_p2p.predict.certainty import Certainty

    size = Certainty(0.95, THREE, sure).values(scores.astype("float32"), valid)[0]
    rank = (-scores).argsort(0).argsort(0)
    which = truth[0] == THREE.values[:, None, None]
    return float((rank[which.argmax(0), 0, np.arange(size.shape[1])] < size[0]).mean())


def test_a_pixel_of_an_unknown_class_does_not_count() -> None:
    truth = np.array([[[1, 2, 77, 5]]], "uint8")
    valid = np.array([[True, True, True, False]])
    assert scores_of(THREE, np.zeros((3, 1, 4)), truth, valid).shape == (1, 2)


# ------------------------------------------------------------------ ground in two halves


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12))
def test_no_ground_is_in_both_halves(places: list[tuple[int, int]]) -> None:
    frame = utm(400, 400)
    chips = [
        Chip(blobs(1, 16, 16), blobs(1, 16, 16), np.ones((16, 16), bool), part, str(i))
        for i, (row, col) in enumerate(places)
        for part in [frame.crop(Window(col * 12, row * 12, 16, 16))]
    ]
    masks, blocks = halves(chips)
    first, second = np.zeros((2, 400, 400), bool)
    for (row, col), mask in zip(places, masks, strict=True):
        area = np.s_[row * 12 : row * 12 + 16, col * 12 : col * 12 + 16]
        first[area] |= mask
        second[area] |= ~mask
    assert not (first & second).any()
    assert first.any()
    assert second.any()
    assert min(blocks) >= 1


def test_blocks_are_kept_whole_and_pictures_without_a_place_in_order() -> None:
    far = [chip(blobs(1, SIDE, SIDE), blobs(1, SIDE, SIDE), place=p) for p in (0, 1, 2, 10, 20)]
    masks, blocks = halves(far)
    assert [bool(mask.all()) for mask in masks] == [True, True, True, False, False]
    assert blocks == (1, 2)
    # Most of them in one block: it is cut, and what is left goes to the half that is smaller.
    masks, blocks = halves(far[:4])
    assert [mask.mean() for mask in masks] == [1, 0.5, 0, 1]
    assert blocks == (2, 1)
    loose = [replace(each, frame=Frame.of_pixels(SIDE, SIDE)) for each in far]
    masks, blocks = halves(loose)
    assert [bool(mask.all()) for mask in masks] == [True, True, False, False, False]
    assert halves([]) == ([], (0, 0))


# ------------------------------------------------------------------ the head and its loss


@pytest.mark.parametrize(
    ("name", "more"), [("unet", {}), ("unet", {"detail": 3}), ("resnet", {})], ids=str
)
def test_the_head_changes_neither_output_nor_reach(name: str, more: dict[str, int]) -> None:
    settings = {**SMALL[name], **more}
    bare = initialise(build_generator(name, 2, 3, **settings), seeded()).eval()
    net = build_generator(name, 2, 3, confidence=True, **settings).eval()
    missing = net.load_state_dict(bare.state_dict(), strict=False)
    assert {key.split(".")[0] for key in missing.missing_keys} == {"scale_head"}
    image = torch.randn(1, 2, 32, 64, generator=seeded(1))
    out = net(image)
    assert out.shape == (1, 6, 32, 64)
    assert torch.equal(out[:, :3], bare(image))
    assert (net.stride, net.halo, net.tile_safe) == (bare.stride, bare.halo, bare.tile_safe)
    reach = required_halo(net, net.stride, 2, 128)
    assert reach is not None
    assert reach <= net.halo
    again = build_generator(name, **json.loads(json.dumps(net.arguments)))
    again.load_state_dict(net.state_dict())
    assert "confidence" not in bare.arguments


def test_every_generator_can_have_a_head() -> None:
    assert SMALL.keys() == GENERATORS.keys()
    with pytest.raises(ModelError, match="needs no head"):
        build_generator("unet", 3, 3, head="logits", confidence=True)


def test_the_head_gives_the_features_no_gradient() -> None:
    net = build_generator("unet", 2, 1, confidence=True, **SMALL["unet"])
    net(torch.randn(1, 2, 32, 32))[:, 1:].sum().backward()
    moved = {
        name
        for name, weight in net.named_parameters()
        if weight.grad is not None and weight.grad.any()
    }
    assert moved
    assert all(name.startswith("scale_head.") for name in moved)


def test_the_loss_is_least_where_one_scale_is_the_l1_loss() -> None:
    pred, target = torch.rand(2, 2, 2, 8, 8, generator=seeded())
    valid = torch.rand(2, 1, 8, 8, generator=seeded(1)) > 0.3
    target[~valid.expand_as(target)] = torch.nan
    error = l1_loss(pred, target, valid)
    log_scale = torch.zeros_like(pred).fill_(float(error.log())).requires_grad_()
    pred.requires_grad_()
    loss = laplace_loss(log_scale, pred, target, valid)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(error.detach().log()) + 1 + np.log(2))
    assert log_scale.grad is not None
    assert abs(float(log_scale.grad.sum())) < 1e-6
    assert (log_scale.grad[~valid.expand_as(pred)] == 0).all()
    assert pred.grad is None
    nothing = laplace_loss(log_scale, pred, target, torch.zeros_like(valid))
    assert float(nothing.detach()) == 0


# ------------------------------------------------------------------ training


def tiny(data: DataBunch | None = None, **settings: Any) -> Pix2Pix:
    data = bunch(inverted(9), inverted(3, seed=50)) if data is None else data
    return Pix2Pix(data, **{**TINY, "lr": 1e-3, **settings})


def state(model: Pix2Pix) -> dict[str, Tensor]:
    return take(model._require_training())


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.5, "jitter": 4, "ema": 0.9},
        {"generator": "resnet", "blocks": 1, "gan": "bce", "ssim_weight": 1.0},
    ],
    ids=["unet", "resnet"],
)
def test_the_translation_is_learned_to_the_bit_as_without_the_head(
    settings: dict[str, Any],
) -> None:
    data = bunch(inverted(8), inverted(2, seed=50)), bunch(inverted(8), inverted(2, seed=50))
    plain, told = tiny(data[0], **settings), tiny(data[1], confidence=True, **settings)
    for model in (plain, told):
        model.fit(2, checkpoint=False, progress=False)
    ours, theirs = state(plain), state(told)
    networks = [name for name in ours if "optimiser" not in name]
    assert all(torch.equal(ours[name], theirs[name]) for name in networks)
    for one, two in zip(plain.history, told.history, strict=True):
        kept = one.keys() - {"seconds", "gen_grad_norm"}  # the norm counts the head's gradient too
        assert {name: one[name] for name in kept} == {name: two[name] for name in kept}
        assert "confidence_loss" in two.keys() - one.keys()


def test_some_epochs_and_the_rest_are_all_epochs_to_the_bit() -> None:
    whole = tiny(confidence=True, ema=0.9)
    whole.fit(3, checkpoint="all", folder="whole", progress=False)
    again = bunch(inverted(9), inverted(3, seed=50))
    part = Pix2Pix.from_model("whole/checkpoints/epoch_0001", again)
    part.resume(progress=False)
    one, two = state(part), state(whole)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(name.startswith("generator.scale_head.") for name in one)


def test_a_model_with_confidence_is_saved_and_loaded(tmp_path: Path) -> None:
    model = tiny(confidence=True)
    model.fit(1, checkpoint=False, progress=False)
    assert model.card.confidence is None
    folder = model.save(tmp_path / "m", save_optimizer=True)
    card = load_card(folder)
    assert card.confidence == model.card.confidence
    assert card.confidence is not None
    assert card.confidence.blocks == (1, 1)
    loaded = load_model(folder, "cpu")
    x = np.zeros((1, 2, 32, 32), "float32")
    assert loaded(x, 0).shape == (1, 1, 32, 32)
    assert loaded.with_scales()(x, 0).shape == (1, 2, 32, 32)
    assert np.array_equal(loaded.with_scales()(x, 0)[:, :1], loaded(x, 0))
    assert loaded(x, 0).shape == (1, 1, 32, 32)  # to ask for scales changes nothing elsewhere
    # Trained on, its weights are others: what was measured no longer holds.
    on = Pix2Pix.from_model(folder, bunch(inverted(9), inverted(3, seed=50)))
    assert on.card.confidence == card.confidence
    on.fit(1, checkpoint=False, progress=False)
    assert on.card.confidence is None


def test_without_validation_chips_a_model_is_saved_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny(bunch(inverted(4)), confidence=True)
    model.fit(1, checkpoint=False, progress=False)
    assert load_card(model.save(tmp_path / "m")).confidence is None
    assert "saved without confidence: no valid validation pixels" in caplog.text


def test_a_card_of_before_loads_and_one_without_confidence_says_nothing_of_it(
    tmp_path: Path,
) -> None:
    model = tiny()
    emd = model.card.to_emd("m", "m.safetensors")
    assert "confidence" not in emd["geo_p2p"]
    assert "confidence" not in emd["geo_p2p"]["arguments"]
    seen = emd["geo_p2p"].pop("seen")
    old = ModelCard.from_emd(json.loads(json.dumps(emd)))
    assert old == replace(model.card, seen=None)
    assert InputRange.from_json(seen) == model.card.seen
    # Neither changes what the model makes, so neither makes a begun run another one.
    with_old = Translator(model.generator, old, "cpu")
    assert with_old.fingerprint == model.translator.fingerprint
    with pytest.raises(ModelError, match="train it with --confidence"):
        with_old.with_scales()


def test_the_paper_s_recipe_has_none() -> None:
    with pytest.raises(ModelError, match="confidence needs tiles that agree exactly"):
        TrainConfig.of("paper", confidence=True)


def noisy_pair(side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an input whose second band says how noisy the target is, and that target."""
    x = blobs(2, side, side, seed)
    noise = np.random.default_rng(seed + 5000).laplace(0, 2 + 38 * (x[1] / 255.0) ** 2)
    return x, np.clip(x[:1] * 0.5 + 64 + noise, 0, 255).round().astype("uint8")


def noisy_chips(count: int, seed: int = 0, start: int = 0) -> list[Chip]:
    """Return such pairs; each lies apart from the others."""
    pairs = [noisy_pair(SIDE, seed + place) for place in range(count)]
    return [chip(x, y, place=start + 2 * place) for place, (x, y) in enumerate(pairs)]


@pytest.fixture(scope="module")
def learned() -> Pix2Pix:
    data = bunch(noisy_chips(40), noisy_chips(16, seed=200, start=200))
    keep, fitting.CALIBRATION = fitting.CALIBRATION, 8
    model = Pix2Pix(
        data,
        **{**TINY, "ngf": 8, "lr": 2e-3, "gan_weight": 0.0, "confidence": True, "seed": 1},
    )
    model.fit(12, checkpoint=False, progress=False)
    fitting.CALIBRATION = keep
    model.calibrate()
    return model


def test_the_noise_of_a_scene_is_learned_and_held_on_ground_never_seen(learned: Pix2Pix) -> None:
    sure = learned.card.confidence
    assert sure is not None
    assert sure.blocks == (8, 8)
    # Sixteen chips of noise are few: what they share, they are wrong in together.
    assert np.abs(shares(sure.coverage)[:, 0] - sure.levels).max() < 0.05
    fresh = noisy_chips(12, seed=400)
    telling, target = learned.translator.with_scales(), learned.card.target
    scores, scales, true = [], [], []
    for each in fresh:
        made = telling(learned.card.input.forward(each.x, each.valid)[None], 0)[0]
        scores.append(scores_of(target, made, each.y, each.valid))
        scales.append(made[1])
        true.append(each.x[1])
    held = shares(sure.held(scores))[:, 0]
    assert np.abs(held - sure.levels).max() < 0.05
    # The network's own scales, taken for those of a Laplace distribution, hold something else.
    bare = replace(sure, factors=tuple((1.0,) for _ in sure.levels))
    assert np.abs(shares(bare.held(scores))[:, 0] - sure.levels).max() > 0.2
    pattern = spearmanr(np.ravel(scales), np.ravel(true)).statistic
    assert pattern > 0.8


# ------------------------------------------------------------------ prediction

Made = Callable[..., Prediction]


@pytest.fixture
def raster(tmp_path: Path) -> RasterSource:
    values = blobs(2, 150, 170, seed=7)
    mask = np.ones((150, 170), bool)
    mask[40:60, 30:90] = False
    return RasterSource(write(tmp_path / "in.tif", values, utm(150, 170), mask=mask))


def read(path: Path | None) -> tuple[np.ndarray, np.ndarray]:
    assert path is not None
    return RasterSource(path).read()


def test_intervals_are_as_exact_as_the_translation(
    learned: Pix2Pix, raster: RasterSource, tmp_path: Path
) -> None:
    model = learned.translator.with_scales()
    done = {
        size: predict(model, raster, tmp_path / f"{size}.tif", PredictConfig(size, confidence=0.9))
        for size in (32, 512)
    }
    (tiled, valid), (whole, also) = (read(done[size].confidence) for size in (32, 512))
    assert done[32].confidence == tmp_path / "32_confidence.tif"
    assert done[32].blocks > 1 == done[512].blocks
    assert np.array_equal(valid, also)
    assert np.array_equal(valid, raster.read()[1])
    assert np.nanmax(np.abs(tiled / whole - 1)) < 1e-5
    assert np.nanstd(whole) > 1  # and not one number
    plain = predict(learned.translator, raster, tmp_path / "plain.tif", PredictConfig(32))
    assert plain.output.read_bytes() != b""
    assert np.array_equal(read(plain.output)[0], read(done[32].output)[0])
    with opened(done[32].confidence) as dataset:
        assert dataset.dtypes == ("float32",)
        assert dataset.descriptions == ("half-width, 90 %",)
        assert dataset.tags()["GEO_P2P_CONFIDENCE"] == "0.9"
        assert json.loads(dataset.tags()["GEO_P2P_COVERAGE"])["blocks"] == 8
        told = {name[11:]: float(value) for name, value in dataset.tags(1).items()}
    widths = tiled[0][valid].astype(float)
    assert told["MEAN"] == pytest.approx(widths.mean(), rel=1e-9)
    assert (told["MINIMUM"], told["MAXIMUM"]) == (widths.min(), widths.max())
    assert told["VALID_PERCENT"] == pytest.approx(100 * valid.mean(), rel=1e-3)
    wide = predict(model, raster, tmp_path / "w.tif", PredictConfig(32, confidence=0.99))
    assert (read(wide.confidence)[0] > tiled)[:, valid].all()


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({"compress": "ZSTD", "blocksize": "128"}, ("ZSTD", 128), ("ZSTD", 128)),
        ({"COMPRESS": "LERC", "MAX_Z_ERROR": "2"}, ("LERC", 512), ("DEFLATE", 512)),
    ],
)
def test_creation_options_go_for_both_files_but_what_numbers_cannot_have(
    learned: Pix2Pix, raster: RasterSource, tmp_path: Path, options: Any, first: Any, second: Any
) -> None:
    config = PredictConfig(confidence=0.9, options=options)
    done = predict(learned.translator.with_scales(), raster, tmp_path / "o.tif", config)
    for path, (compression, side) in ((done.output, first), (done.confidence, second)):
        assert path is not None
        with opened(path) as dataset:
            said = dataset.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"]
            assert (said, *dataset.block_shapes[0]) == (compression, side, side)


def test_the_half_widths_that_are_written_hold_the_share(learned: Pix2Pix, tmp_path: Path) -> None:
    x, y = noisy_pair(192, seed=77)
    src = RasterSource(write(tmp_path / "in.tif", x, utm(192, 192)))
    for level in (0.5, 0.95):
        config = PredictConfig(64, confidence=level)
        done = predict(learned.translator.with_scales(), src, tmp_path / f"{level}.tif", config)
        error = np.abs(read(done.output)[0].astype(float) - y)
        assert (error <= read(done.confidence)[0]).mean() == pytest.approx(level, abs=0.05)


@pytest.mark.parametrize("detail", [0, 3])
def test_the_scales_stay_in_full_precision(detail: int) -> None:
    net = build_generator("unet", 2, 1, confidence=True, detail=detail, **SMALL["unet"])
    initialise(net, seeded())
    card = plain_card(arguments=net.arguments, input=replace(UNIT, low=(-1, -1), high=(1, 1)))
    tiles = np.random.default_rng(0).uniform(-1, 1, (1, 2, 64, 64)).astype("float32")
    exact, rounded = (
        Translator(net, card, "cpu", precision).with_scales()(tiles, 0)
        for precision in ("fp32", "bf16")
    )
    assert rounded.shape == (1, 2, 64, 64)
    assert 0 < np.abs(rounded - exact).max() < 0.02
    assert len(np.unique(rounded[:, 1])) > 1000  # bf16 has not so many between two powers of two


def test_shards_give_the_bytes_of_one_run(
    learned: Pix2Pix, raster: RasterSource, tmp_path: Path
) -> None:
    model, config = learned.translator.with_scales(), PredictConfig(32, confidence=0.9)
    whole = predict(model, raster, tmp_path / "whole.tif", config)
    for shard in ("2/2", "1/2"):
        predict(model, raster, tmp_path / "parts.tif", replace(config, shard=shard))
    done = mosaic(tmp_path / "parts.tif.parts", tmp_path / "parts.tif")
    assert done.confidence == tmp_path / "parts_confidence.tif"
    assert whole.confidence is not None
    assert done.confidence.read_bytes() == whole.confidence.read_bytes()
    with pytest.raises(RasterError, match="exists"):
        mosaic(tmp_path / "parts.tif.parts", tmp_path / "parts.tif")


class Interrupted(BaseException):
    """Stands for a KeyboardInterrupt, which pytest would take for its own."""


@pytest.mark.parametrize("where", ["blocks", "between"])
def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(
    learned: Pix2Pix, raster: RasterSource, tmp_path: Path, monkeypatch: Any, where: str
) -> None:
    model, config = learned.translator.with_scales(), PredictConfig(32, confidence=0.8)
    whole = predict(model, raster, tmp_path / "whole.tif", config)
    dst = tmp_path / "again.tif"

    def stop(done: int, total: int) -> None:
        if done > total / 3:
            raise Interrupted

    with pytest.raises(Interrupted), monkeypatch.context() as patch:
        if where == "between":  # the two mosaics
            from geo_p2p.predict import mosaicking as room

            def write_one(parts: Any, path: Path, *rest: Any, **named: Any) -> Path:
                if path == dst:
                    raise Interrupted
                return written(parts, path, *rest, **named)

            written = room.write_mosaic
            patch.setattr(room, "write_mosaic", write_one)
        predict(model, raster, dst, config, progress=stop if where == "blocks" else None)
    assert not dst.exists()
    assert (tmp_path / "again_confidence.tif").exists() == (where == "between")
    again = predict(model, raster, dst, config)
    for one, two in ((whole.output, again.output), (whole.confidence, again.confidence)):
        assert one is not None
        assert two is not None
        assert one.read_bytes() == two.read_bytes()
    assert not dst.with_name("again.tif.parts").exists()
    dst.unlink()
    with pytest.raises(RasterError, match=r"again_confidence\.tif.*exists"):
        predict(model, raster, dst, config)


def test_another_level_is_another_plan(
    learned: Pix2Pix, raster: RasterSource, tmp_path: Path
) -> None:
    model = learned.translator.with_scales()
    dst = tmp_path / "o.tif"
    one = predict(model, raster, dst, PredictConfig(32, confidence=0.5, keep_parts=True))
    narrow = read(one.confidence)[0]
    two = predict(
        model, raster, dst, PredictConfig(32, confidence=0.9, keep_parts=True), overwrite=True
    )
    assert two.mpx_per_s > 0
    assert np.nanmin(read(two.confidence)[0] / narrow) > 1.5


def test_classes_come_with_the_sizes_of_their_sets(tmp_path: Path) -> None:
    data = bunch(classed(24), classed(6, seed=90), colors=COLOURS)
    model = Pix2Pix(data, **{**TINY, "ngf": 8, "lr": 2e-3, "confidence": True, "gan_weight": 0.0})
    assert model.generator.scale_head is None
    model.fit(4, checkpoint=False, progress=False)
    sure = model.calibrate()
    assert (shares(sure.coverage)[:, 0] >= np.array(sure.levels) - 0.05).all()
    values = np.array(blobs(2, 64, 96, seed=3))
    mask = np.ones((64, 96), bool)
    mask[:10] = False
    src = RasterSource(write(tmp_path / "in.tif", values, utm(64, 96), mask=mask))
    done = predict(model.translator, src, tmp_path / "o.tif", PredictConfig(32, confidence=0.99))
    sizes, valid = read(done.confidence)
    assert sizes.dtype == "uint16"
    assert np.array_equal(valid, mask)
    assert set(np.unique(sizes[0][mask])) <= {1, 2, 3}
    assert (sizes[0][mask] > 1).any()


def plain_card(**changes: Any) -> ModelCard:
    fields = {"size": 16, "network": "plain", "arguments": {}, "stride": 8, "halo": 8}
    both = {"input": UNIT, "target": UNIT, "tile_safe": True}
    return ModelCard(**{**both, **fields, **changes})


SURE = Confidence((0.5, 0.9), ((1.0,), (2.0,)), ((0.5,), (0.9,)), (10, 10), (1, 1))


@pytest.mark.parametrize(
    ("card", "level", "said"),
    [
        ({}, 0.9, "never measured: train it with --confidence"),
        ({"confidence": SURE}, 0.7, "confidence 0.7: the model was calibrated for 0.5, 0.9"),
        ({"confidence": SURE, "tile_safe": False}, 0.9, "tile-safe as it was trained"),
        ({"confidence": SURE, "tta": True}, 0.9, "not of the mean of eight views"),
    ],
)
def test_what_was_not_measured_is_refused_before_any_work(
    tmp_path: Path, card: dict[str, Any], level: float, said: str
) -> None:
    src = RasterSource(write(tmp_path / "in.tif", np.zeros((1, 20, 20), "float32"), utm(20, 20)))
    config = PredictConfig(confidence=level, tta=card.get("tta", False))
    fields = {name: value for name, value in card.items() if name != "tta"}
    model = Shown(plain_card(**fields), lambda tiles, seed: tiles)
    with pytest.raises(ModelError, match=said):
        predict(model, src, tmp_path / "o.tif", config)
    assert not model.calls
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_norms_settled_by_the_raster_are_not_what_was_calibrated(tmp_path: Path) -> None:
    net = build_generator("unet", 1, 3, halvings=2, ngf=4, norm="instance", head="logits")
    kept = {"arguments": net.arguments, "stride": net.stride, "halo": net.halo, "size": 32}
    card = plain_card(target=THREE, confidence=SURE, tile_safe=False, **kept)
    model = Translator(initialise(net, seeded()), card, "cpu", "fp32")
    src = RasterSource(write(tmp_path / "in.tif", np.zeros((1, 64, 64), "float32"), utm(64, 64)))
    assert predict(model, src, tmp_path / "o.tif").tile_safe  # by now
    with pytest.raises(ModelError, match="tile-safe as it was trained"):
        predict(model, src, tmp_path / "p.tif", PredictConfig(confidence=0.9))


def test_a_model_that_gives_no_scales_is_refused(tmp_path: Path) -> None:
    src = RasterSource(write(tmp_path / "in.tif", np.zeros((1, 20, 20), "float32"), utm(20, 20)))
    model = Shown(plain_card(confidence=SURE), lambda tiles, seed: tiles)
    with pytest.raises(ModelError, match="no scales of its errors"):
        predict(model, src, tmp_path / "o.tif", PredictConfig(confidence=0.9))


# ------------------------------------------------------------------ unlike what was trained on


def test_the_range_of_the_input_is_that_of_valid_pixels() -> None:
    values = np.arange(20_000, dtype="float32").reshape(1, 100, 200)
    valid = values[0] >= 10_000
    seen = range_seen([values, values[:, :50]], [valid, np.zeros((50, 200), bool)])
    assert (seen.least, seen.most) == ((10_000,), (19_999,))
    assert seen.low[0] == pytest.approx(10_010, abs=0.1)
    assert seen.mean[0] == pytest.approx(14_999.5)
    assert seen.outside(values, valid) == pytest.approx(0.002, abs=2e-4)
    assert seen.outside(values, np.zeros_like(valid)) == 0
    assert seen.outside(values, np.ones_like(valid)) == pytest.approx(0.501, abs=1e-3)
    with pytest.raises(ModelError, match="no valid training pixel"):
        range_seen([values], [valid & False])


def strange_raster(tmp_path: Path) -> RasterSource:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 48, 64)).astype("float32")
    values[:, 20:28, 36:44] = 0.9  # within the block at row 16, column 32
    values[:, 40, 0] = 0.9  # a single pixel of another
    return RasterSource(write(tmp_path / "in.tif", values, utm(48, 64)))


SEEN = InputRange((-0.6,), (0.6,), (-0.7,), (0.7,), (0.0,), (0.3,))


def test_blocks_unlike_what_was_trained_on_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    src = strange_raster(tmp_path)
    model = Shown(plain_card(seen=SEEN), lambda tiles, seed: tiles)
    with caplog.at_level(logging.WARNING):
        done = predict(model, src, tmp_path / "o.tif", PredictConfig(16))
    assert done.outside == ((16, 32, 16, 16, 0.25),)
    (line,) = [each.getMessage() for each in caplog.records]
    assert "in 1 of 12 blocks" in line
    assert "row 16, column 32" in line
    with opened(done.output) as dataset:
        told = json.loads(dataset.tags()["GEO_P2P_OUTSIDE"])
    assert told == {"blocks": 1, "strangest": [[16, 32, 16, 16, 0.25]]}


def test_a_run_that_goes_on_knows_of_earlier_strange_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    src = strange_raster(tmp_path)
    model = Shown(plain_card(seen=SEEN), lambda tiles, seed: tiles)
    monkeypatch.setattr(run, "AHEAD", 1)

    def stop(done: int, total: int) -> None:
        if done > 0.8 * total:
            raise Interrupted

    with pytest.raises(Interrupted):
        predict(model, src, tmp_path / "o.tif", PredictConfig(16), progress=stop)
    calls = len(model.calls)
    done = predict(model, src, tmp_path / "o.tif", PredictConfig(16))
    assert done.outside == ((16, 32, 16, 16, 0.25),)
    assert len(model.calls) - calls <= 2  # the strange one was done already


def test_a_card_that_does_not_tell_what_was_seen_flags_nothing(tmp_path: Path) -> None:
    model = Shown(plain_card(), lambda tiles, seed: tiles)
    done = predict(model, strange_raster(tmp_path), tmp_path / "o.tif", PredictConfig(16))
    assert done.outside == ()


# ------------------------------------------------------------------ the command line


def opened_values(name: str) -> np.ndarray:
    return read(Path(name))[0].astype(float)


def test_the_commands_train_translate_and_score(
    tmp_path: Path, runner: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from geo_p2p.chips import export_chips

    x = blobs(2, 160, 160)
    place = utm(160, 160)
    src = write(tmp_path / "x.tif", x, place)
    export_chips(
        src,
        write(tmp_path / "y.tif", 255 - x[:1], place),
        "chips",
        tile_size=32,
        stride=32,
        val_pct=30,
    )
    assert len((ChipFolder.open(Path("chips")).split or {})["val"]) > 1
    small = ["--halvings", 2, "--ngf", 4, "--ndf", 4, "--layers", 1, "--device", "cpu"]
    runner("train", "chips", "m", "--epochs", 1, "--confidence", *small, "--checkpoint", "none")
    told = runner("info", "m", "--json").json()["confidence"]
    assert set(told["held"]) == {f"{level:g}" for level in LEVELS}
    scores = runner("evaluate", "m", "chips", "--json").json()
    for level, held in scores["coverage"].items():
        assert held == pytest.approx(told["held"][level], abs=1e-4)
    done = runner(
        *("predict-raster", src, "o.tif", "--model", "m", "--confidence", 0.9, "--json")
    ).json()
    assert done["confidence"] == "o_confidence.tif"
    assert Path("o_confidence.tif").exists()
    assert done["outside"] == []
    # Of the mosaic too, and there the network sees beyond the edges of chips.
    scores = runner("evaluate", "o.tif", "y.tif", "--chips", "chips", "--json").json()
    assert 0.5 < scores["coverage"]["0.9"][0] <= 1
    error = np.abs(opened_values("o.tif") - opened_values("y.tif"))
    whole = runner("evaluate", "o.tif", "y.tif", "--json").json()["coverage"]["0.9"][0]
    assert whole == round(float((error <= opened_values("o_confidence.tif")).mean()), 4)
    words = "predict-raster", src, "p.tif", "--model", "m", "--confidence", 0.9, "--dry-run"
    plan = runner(*words, "--json").json()
    assert plan["blocks"] == done["blocks"]
    assert plan["raw_bytes"] == 160 * 160 * (1 + 4)  # the map's bytes, and the half-widths
    assert not Path("p_confidence.tif").exists()
    said = runner(
        "predict-raster", src, "p.tif", "--model", "m", "--confidence", 0.7, code=1
    ).stderr
    assert "calibrated for 0.5, 0.68, 0.8" in said
