"""Laws of the Fréchet distance, and of the feature networks that users bring."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import COLOURS, SIDE, TINY, bunch, classed, inverted
from scipy.linalg import sqrtm
from torch import Tensor, nn

from geo_p2p.errors import GeoP2PError, ModelError
from geo_p2p.metrics import FeatureMoments, fid
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix.features import FeatureDistance
from geo_p2p.translate.scoring import translate_chips


def moments(*batches: Any) -> FeatureMoments:
    gathered = FeatureMoments()
    for batch in batches:
        gathered.update(batch)
    return gathered


def plain_fid(real: np.ndarray, fake: np.ndarray) -> float:
    """Heusel et al. 2017, equation 6, as the reference implementation has it."""
    a, b = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    apart = real.mean(0) - fake.mean(0)
    return float(apart @ apart + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


def drawn(count: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (count, width)) @ rng.normal(0, 1, (width, width)) + rng.normal(0, 1)


# ------------------------------------------------------------------ the distance


@pytest.mark.parametrize(("count", "width"), [(50, 6), (300, 20), (40, 2)])
def test_it_is_the_published_distance(count: int, width: int) -> None:
    real, fake = drawn(count, width, 1), drawn(count + 7, width, 2)
    expected = plain_fid(real, fake)
    assert fid(moments(real), moments(fake)) == pytest.approx(expected, rel=1e-8)
    assert fid(moments(fake), moments(real)) == pytest.approx(expected, rel=1e-8)


def test_it_is_known_where_the_gaussians_are_simple() -> None:
    features = drawn(60, 5, 3)
    away = np.array([3.0, 0, 0, 4, 0])
    assert fid(moments(features), moments(features + away)) == pytest.approx(25)
    assert fid(moments(features), moments(features)) == pytest.approx(0, abs=1e-9)
    centred = features - features.mean(0)
    wider = np.trace(np.cov(centred, rowvar=False))  # roots 1 and 3 of the same variances
    assert fid(moments(centred), moments(3 * centred)) == pytest.approx(4 * wider)


def test_fewer_images_than_features_are_no_trouble() -> None:
    few = drawn(4, 30, 4)
    away = np.full(30, 0.5)
    assert fid(moments(few), moments(few + away)) == pytest.approx(7.5, rel=1e-9)


def test_features_that_vary_apart_share_nothing() -> None:
    turn = np.linalg.qr(drawn(40, 40, 5))[0]
    steps = np.array([[-1.0], [1.0]])
    real, fake = steps * turn[0] * 1e3, steps * turn[1]  # variances 2e6 and 2
    assert fid(moments(real), moments(fake)) == pytest.approx(2e6 + 2, rel=1e-12)


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(1, 29), max_size=5), seed=st.integers(0, 99))
def test_batches_in_any_order_give_the_moments_of_the_whole(cuts: list[int], seed: int) -> None:
    features = drawn(30, 4, seed) + 1e6  # far from 0: sums of squares would lose the digits
    parts = [part for part in np.split(features, sorted(cuts)) if len(part)]
    np.random.default_rng(seed).shuffle(parts)
    gathered = moments(*parts)
    assert gathered.count == 30
    assert gathered.mean == pytest.approx(features.mean(0), rel=1e-12)
    assert gathered.covariance == pytest.approx(np.cov(features, rowvar=False), rel=1e-6)


def test_features_that_are_none_are_refused_and_not_counted() -> None:
    gathered = moments(drawn(5, 3, 0))
    before = gathered.covariance.copy()
    for batch, message in [
        (np.ones(3), r"must be \(images, features\), not \(3,\)"),
        (np.ones((0, 3)), "must be"),
        (np.ones((2, 4)), "4 features, 3 expected"),
        ([[1, np.nan, 1]], "NaN or infinite"),
    ]:
        with pytest.raises(GeoP2PError, match=message):
            gathered.update(batch)
    assert gathered.count == 5
    assert np.array_equal(gathered.covariance, before)
    with pytest.raises(GeoP2PError, match="takes 2 images at least, not 1"):
        fid(gathered, moments(drawn(1, 3, 0)))
    with pytest.raises(GeoP2PError, match="3 features of real images and 4 of translations"):
        fid(gathered, moments(drawn(5, 4, 0)))


# ------------------------------------------------------------------ the user's network


class Network(nn.Module):
    """A network that shows in which mode it runs, and what it is given."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        assert not torch.is_grad_enabled()
        return self.drop(self.conv(images).tanh().mean((2, 3)))


def untrained(**settings: Any) -> Pix2Pix:
    return Pix2Pix(bunch(inverted(2), inverted(5, seed=9)), **TINY, **settings)


def test_the_scores_of_a_model_hold_the_distance_of_its_chips() -> None:
    torch.manual_seed(3)
    network, model = Network(), untrained()
    network.conv.eval()
    result = model.compute_metrics(features=network)
    assert network.training and network.drop.training and not network.conv.training
    chips, target = model._require_data().chips[1], model.card.target
    images = list(translate_chips(model.translator, chips))
    network.eval()
    truths = [chip.y for chip in chips]
    valid = chips[0].valid
    with torch.no_grad():
        real, fake = (
            network(torch.from_numpy(np.stack([target.forward(y, valid) for y in side]))).numpy()
            for side in (truths, images)
        )
    assert result["fid"] == pytest.approx(plain_fid(real, fake), rel=1e-4)
    assert result["fid"] > 0
    assert result["fid_features"] == 4
    plain = model.compute_metrics()
    assert {name: result[name] for name in plain} == plain


def test_a_plain_function_serves_and_gets_what_the_generator_makes() -> None:
    given: list[Tensor] = []

    def means(images: Tensor) -> Any:
        given.append(images)
        return np.asarray(images.mean((2, 3)))

    model = untrained()
    assert model.compute_metrics(features=means)["fid_features"] == 1
    assert len(given) == 5
    for images in given:
        assert images.dtype == torch.float32
        assert images.shape == (2, 1, SIDE, SIDE)
        assert images.abs().max() <= 1


def test_without_a_network_there_is_no_distance() -> None:
    assert "fid" not in untrained().compute_metrics()


def test_class_maps_come_as_a_channel_a_class() -> None:
    model = Pix2Pix(bunch(classed(2), classed(3, seed=9), colors=COLOURS), **TINY)
    network = Network(3)
    assert model.compute_metrics(features=network)["fid"] >= 0
    assert set(torch.cat(network.seen).unique().tolist()) == {0, 1}


def test_a_perfect_translation_is_at_no_distance_whatever_the_mask_hides() -> None:
    chips = inverted(4)
    target = untrained().card.target
    distance = FeatureDistance(lambda images: images[:, :, 4:12, 4:12].mean((2, 3)), target)
    rng = np.random.default_rng(0)
    for chip in chips:
        valid = chip.valid.copy()
        valid[4:9, 4:9] = False
        hidden = rng.integers(0, 255, chip.y.shape)
        distance.update(np.where(valid, chip.y, hidden), chip.y, valid)
    assert distance.result()["fid"] == pytest.approx(0, abs=1e-12)


def test_a_chip_without_a_valid_pixel_shows_nothing() -> None:
    target = untrained().card.target
    one, two = (FeatureDistance(lambda images: images.mean((2, 3)), target) for _ in range(2))
    for chip in inverted(4):
        for distance in (one, two):
            distance.update(chip.y // 2, chip.y, chip.valid)
        two.update(chip.y // 2, chip.y, np.zeros_like(chip.valid))
    assert one.result() == two.result()


def test_what_is_no_feature_network_is_refused() -> None:
    model = untrained()
    with pytest.raises(ModelError, match=r"2 images gave an array of \(2, 1, 16, 16\)"):
        model.compute_metrics(features=lambda images: images[:, :, :16, :16])
    with pytest.raises(ModelError, match=r"it must be \(2, features\)"):
        model.compute_metrics(features=lambda images: images.mean((0, 2, 3))[None])
    with pytest.raises(GeoP2PError, match="NaN or infinite"):
        model.compute_metrics(features=lambda images: images.mean((2, 3)) * torch.nan)
    one = Pix2Pix(bunch(inverted(2), inverted(1)), **TINY)
    with pytest.raises(GeoP2PError, match="2 images at least"):
        one.compute_metrics(features=lambda images: images.mean((2, 3)))
