"""Scaling: there and back, holes, nodata, classes, and what a scaling is fitted to."""

import json
import math
import warnings
from dataclasses import asdict, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from geo_p2p.card import FILL, Category, Scaling, fit_scaling, range_of
from geo_p2p.errors import ModelError
from geo_p2p.raster import Bands

SMALL = ("uint8", "int8", "uint16", "int16")
WIDE = ("uint32", "int32", "uint64", "int64", "float32", "float64")

FOREST = Category(41, "forest", (0, 90, 0, 255), 0.75)
WATER = Category(11, "water", (0, 0, 200, 255), 0.25)
LAND = Scaling("uint8", nodata=0, classes=(WATER, FOREST))


def scaling(dtype: str, low: float, high: float, nodata: float | None = None) -> Scaling:
    return Scaling(dtype, (low,), (high,), nodata)


def image(values: Any, dtype: str = "float64") -> np.ndarray:
    return np.asarray(values, dtype).reshape(1, 1, -1)


def everywhere(values: np.ndarray) -> np.ndarray:
    return np.ones(values.shape[1:], bool)


def there_and_back(scaling: Scaling, values: np.ndarray) -> np.ndarray:
    return scaling.inverse(scaling.forward(values, everywhere(values)))


# There and back


@pytest.mark.parametrize("dtype", SMALL)
def test_every_value_of_8_and_16_bits_comes_back_exactly(dtype: str) -> None:
    info = np.iinfo(dtype)
    values = image(np.arange(info.min, info.max + 1), dtype)
    back = there_and_back(scaling(dtype, info.min, info.max), values)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, values)


@given(st.data(), st.integers(-(2**31), 2**31 - 2**25), st.integers(1, 2**25 - 1))
def test_integers_come_back_exactly_from_any_range_below_two_to_the_25(
    data: st.DataObject, low: int, width: int
) -> None:
    inside = st.integers(low, low + width)
    values = image([low, low + width, *data.draw(st.lists(inside, max_size=20))], "int64")
    back = there_and_back(scaling("int64", low, low + width), values)
    np.testing.assert_array_equal(back, values)


@given(
    st.sampled_from(WIDE),
    st.floats(-1e9, 1e9),
    st.floats(1e-3, 1e9),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_values_of_wide_types_come_back_within_the_bound_that_is_stated(
    dtype: str, low: float, width: float, shares: list[float]
) -> None:
    low = abs(low) if dtype[0] == "u" else low
    exact = np.clip(low + np.array(shares) * width, low, low + width)
    values = image(np.rint(exact) if dtype[0] in "iu" else exact).astype(dtype)
    ranged = scaling(dtype, low, low + width)
    back = there_and_back(ranged, values).astype(np.float64)
    clipped = np.clip(values.astype(np.float64), low, low + width)
    last_bit = 0.5 if dtype[0] in "iu" else np.spacing(np.abs(values)).astype(np.float64)
    assert (np.abs(back - clipped) <= width * 2**-26 + last_bit + 1e-6 * last_bit).all()


def test_what_lies_outside_the_range_is_clipped_to_its_ends() -> None:
    ranged = scaling("int16", -100, 300)
    values = image([-32768, -101, -100, 100, 300, 301, 32767], "int16")
    scaled = ranged.forward(values, everywhere(values))
    np.testing.assert_array_equal(scaled.ravel(), [-1, -1, -1, 0, 1, 1, 1])
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(ranged.inverse(image([-7, 7])).ravel(), [-100, 300])


def test_each_band_has_its_own_range() -> None:
    ranged = Scaling("float32", (0.0, 100.0), (10.0, 300.0))
    values = np.array([[[0, 5, 10]], [[100, 200, 300]]], "float32")
    scaled = ranged.forward(values, everywhere(values))
    np.testing.assert_array_equal(scaled[0], scaled[1])
    np.testing.assert_array_equal(ranged.inverse(scaled), values)
    assert (ranged.count, ranged.channels, ranged.data_range) == (2, 2, (10.0, 200.0))


@pytest.mark.parametrize("dtype", [*SMALL, *WIDE])
def test_what_a_network_overshoots_never_wraps_around(dtype: str) -> None:
    kind = np.dtype(dtype)
    limits: Any = np.iinfo(kind) if kind.kind in "iu" else np.finfo("float32")
    low, high = (float(end) / 4 for end in (limits.min, limits.max))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ends = scaling(dtype, 4 * low, 4 * high) if kind.kind in "iu" else scaling(dtype, low, high)
        bottom, middle, top = ends.inverse(image([-3, 0, 3])).ravel()
    assert bottom < middle < top
    assert top > 0.99 * high


# Holes


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf, -1.7976931348623157e308])
def test_invalid_pixels_are_fill_whatever_lies_there_and_nothing_warns(junk: float) -> None:
    values = image([0.25, junk, 0.5])
    valid = np.array([[True, False, True]])
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        scaled = scaling("float64", 0, 0.5).forward(values, valid)
    np.testing.assert_array_equal(scaled.ravel(), [0, FILL, 1])


def test_the_fill_is_the_same_in_every_band_and_for_every_type() -> None:
    values = np.full((3, 2, 2), 7, "uint8")
    valid = np.zeros((2, 2), bool)
    ranged = Scaling("uint8", (0, 0, 0), (255, 99, 8))
    assert (ranged.forward(values, valid) == FILL).all()


# Nodata


INTEGERS = [
    pytest.param(dtype, nodata, id=f"{dtype}-{place}")
    for dtype in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64")
    for place, nodata in {
        "lowest": np.iinfo(dtype).min,
        "highest": np.iinfo(dtype).max,
        "inside": 100,
        "float": 100.0,
    }.items()
]


@pytest.mark.parametrize(("dtype", "nodata"), INTEGERS)
def test_a_valid_integer_never_comes_back_as_nodata_and_moves_by_one(
    dtype: str, nodata: float
) -> None:
    info = np.iinfo(dtype)
    low, high = max(info.min, int(nodata) - 50), min(info.max, int(nodata) + 51)
    ranged = scaling(dtype, low, high, nodata)
    if high - low < 2**20 and abs(nodata) < 2**40:
        values = image(np.arange(low, high + 1), dtype)
        back = there_and_back(ranged, values)
        off = np.abs(back.astype(object) - values.astype(object))
        np.testing.assert_array_equal(off, (values == nodata).astype(int))
    everything = ranged.inverse(image(np.linspace(-1, 1, 997)))
    assert not (everything.astype(object) == int(nodata)).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("nodata", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_a_valid_float_never_comes_back_as_nodata_and_moves_by_its_last_bit(
    dtype: str, nodata: float
) -> None:
    values = image([-1, -0.5, 0, 0.5, 1], dtype)
    back = there_and_back(scaling(dtype, -1, 1, nodata), values)
    moved = back != values
    np.testing.assert_array_equal(moved, values == nodata)
    assert abs(back[moved] - nodata) <= np.spacing(np.dtype(dtype).type(max(abs(nodata), 1e-300)))
    assert ((back >= -1) & (back <= 1)).all(), "a value moved out of the range"


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", -9999),
        ("uint8", 256),
        ("uint8", 241.5),
        ("int16", 1e30),
        ("uint16", math.inf),
        ("float32", -1.7976931348623157e308),
        ("float32", -math.inf),
        *((dtype, math.nan) for dtype in ("uint8", "int16", "float32", "float64")),
    ],
)
def test_a_nodata_value_the_type_cannot_hold_moves_nothing(dtype: str, nodata: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = image(np.arange(256), dtype)
        back = there_and_back(scaling(dtype, 0, 255, nodata), values)
    np.testing.assert_array_equal(back, there_and_back(scaling(dtype, 0, 255), values))


def test_the_value_next_to_nodata_stays_in_the_type_even_where_the_range_pulls_it_out() -> None:
    assert scaling("uint16", 65535, 65536, 65535).inverse(image([-1])) == 65534
    assert scaling("uint16", -1, 0, 0).inverse(image([1])) == 1


# Classes


def test_classes_go_to_one_channel_each_and_come_back_by_the_highest_score() -> None:
    values = image([11, 41, 41, 11], "uint8")
    onehot = LAND.forward(values, everywhere(values))
    assert onehot.dtype == np.float32
    np.testing.assert_array_equal(onehot[:, 0], [[1, 0, 0, 1], [0, 1, 1, 0]])
    scores = np.random.default_rng(0).normal(size=(2, 1, 4)) * 0.4 + onehot
    back = LAND.inverse(onehot)
    assert back.dtype == "uint8"
    np.testing.assert_array_equal(back, values)
    np.testing.assert_array_equal(LAND.inverse(scores)[0], np.where(scores[0] >= scores[1], 11, 41))
    assert (LAND.count, LAND.channels) == (1, 2)
    np.testing.assert_array_equal(LAND.values, [11, 41])


def test_an_unknown_class_and_an_invalid_pixel_are_all_zeros() -> None:
    values = image([11, 12, 0, 41], "uint8")
    valid = np.array([[True, True, True, False]])
    np.testing.assert_array_equal(LAND.forward(values, valid).sum(0), [[1, 0, 0, 0]])


# JSON


@pytest.mark.parametrize("nodata", [None, 0, -9999.0, math.nan, math.inf, -math.inf, 2**63 - 1])
def test_a_scaling_comes_back_equal_from_strict_json(nodata: float | None) -> None:
    ranged = Scaling(
        "int64",
        (0.0, -1.5),
        (1.0, 2.5),
        nodata,
        names=("a", "b"),
        units=("m", ""),
        interp=("gray", "undefined"),
        scales=(0.1, 1.0),
        offsets=(0.0, -273.15),
    )
    text = json.dumps(ranged.to_json(), allow_nan=False)
    back = Scaling.from_json(json.loads(text))
    assert back == ranged
    assert hash(back) == hash(ranged)
    assert back.to_json() == ranged.to_json()


def test_classes_come_back_equal_from_json() -> None:
    assert Scaling.from_json(json.loads(json.dumps(LAND.to_json()))) == LAND


def test_scalings_that_differ_in_one_field_are_not_equal() -> None:
    base = scaling("float32", 0, 1, math.nan)
    assert base == scaling("float32", 0, 1, float("nan"))
    others = {"dtype": "float64", "low": (-1.0,), "nodata": None, "names": ("a",), "units": ("m",)}
    assert all(base != replace(base, **{name: value}) for name, value in others.items())
    assert base != "scaling"


@pytest.mark.parametrize(
    "damage",
    [
        {"low": [1.0], "high": [1.0]},
        {"low": [], "high": []},
        {"low": [0.0, 0.0]},
        {"high": ["1"]},
        {"high": [1e999]},
        {"dtype": "complex64"},
        {"dtype": "pixels"},
        {"nodata": "none"},
        {"classes": 3},
        {"classes": [{"value": 1}]},
        {"gamma": 2.2},
    ],
    ids=str,
)
def test_a_damaged_scaling_is_refused_in_one_line(damage: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        Scaling.from_json({**scaling("float32", 0, 1).to_json(), **damage})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("plain", [{}, [], None, "low"], ids=str)
def test_what_is_no_scaling_is_refused(plain: Any) -> None:
    with pytest.raises(ModelError, match="not a scaling"):
        Scaling.from_json(plain)


def test_a_class_cannot_be_listed_twice_nor_be_nodata() -> None:
    with pytest.raises(ModelError, match="twice"):
        replace(LAND, classes=(WATER, WATER))
    with pytest.raises(ModelError, match="nodata"):
        replace(LAND, nodata=41.0)


# The range of a band


def test_8_bits_keep_their_full_range() -> None:
    assert range_of("uint8", [np.array([9, 11], "uint8")]) == (0, 255)
    assert range_of("int8", [np.array([9, 11], "int8")]) == (-128, 127)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_one_hot_pixel_among_a_hundred_thousand_hardly_moves_the_range(dtype: str) -> None:
    values = np.random.default_rng(1).integers(1000, 3000, 100_000).astype(dtype)
    low, high = range_of(dtype, [values])
    hot = values.copy()
    hot[[5, 50_000]] = 0, 65535
    assert np.abs(np.array(range_of(dtype, [hot])) - (low, high)).max() < 0.01 * (high - low)
    assert 1000 <= low < 1010 < 2990 < high < 3000


def test_the_range_is_that_of_all_samples_together() -> None:
    values = np.random.default_rng(2).normal(size=30_000).astype("float32")
    parts = [values[:100], values[100:100], values[100:].reshape(2, -1)]
    assert range_of("float32", parts) == range_of("float32", [values])


def test_a_sample_of_very_many_pixels_serves_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.tile(np.arange(256.0), 400)
    whole = range_of("float64", [columns])
    monkeypatch.setattr("geo_p2p.card.scaling.SAMPLE", columns.size // 8)
    np.testing.assert_allclose(range_of("float64", [columns]), whole, atol=1)


@pytest.mark.parametrize("value", [0, 7.5, -1e20, 3e38])
def test_a_constant_band_has_a_range_too(value: float) -> None:
    low, high = range_of("float32", [np.full(10, value, "float32")])
    assert low == np.float32(value) < high
    values = image(np.full(3, value), "float32")
    np.testing.assert_allclose(there_and_back(scaling("float32", low, high), values), values)


def test_a_band_that_is_zero_nearly_everywhere_keeps_its_few_values() -> None:
    heights = np.zeros(100_000, "float32")
    heights[:20] = 35
    assert range_of("float32", [heights]) == (0, 35)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("samples", [0, 1])
def test_no_pixel_gives_no_range(dtype: str, samples: int) -> None:
    with pytest.raises(ModelError, match="no valid training pixel"):
        range_of(dtype, [np.empty(0, dtype)] * samples)


# Fitting


def fields(**given: Any) -> dict[str, Any]:
    """Return the fields of a raster's bands, as dataclasses.asdict gives them."""
    empty = dict.fromkeys(("names", "units", "interp", "scales", "offsets"), ())
    plain = {"count": 1, "dtype": "uint8", "nodata": None, "colors": {}, "classes": {}}
    return {**plain, **empty, **given}


def chips(*images: Any, dtype: str = "uint8") -> tuple[list[np.ndarray], list[np.ndarray]]:
    arrays = [image(values, dtype) for values in images]
    return arrays, [everywhere(array) for array in arrays]


def test_the_fields_are_those_of_bands() -> None:
    assert asdict(Bands(1, "uint8")).keys() == fields().keys()


def test_values_are_fitted_band_by_band_to_valid_pixels() -> None:
    rng = np.random.default_rng(3)
    arrays = [rng.normal((5.0, 900.0), 1.0, (64, 64, 2)).transpose(2, 0, 1) for _ in range(3)]
    valids = [rng.random((64, 64)) < 0.8 for _ in arrays]
    for array, valid in zip(arrays, valids, strict=True):
        array[:, ~valid] = -9999
    told = fields(count=2, dtype="float64", nodata=math.nan, names=("a", "b"), units=("m", "K"))
    fitted = fit_scaling(arrays, valids, told, False)
    for band in range(2):
        seen = [array[band][valid] for array, valid in zip(arrays, valids, strict=True)]
        assert (fitted.low[band], fitted.high[band]) == range_of("float64", seen)
    assert fitted.low[0] > 0 < fitted.low[1] - 890
    assert (fitted.names, fitted.units, fitted.dtype) == (("a", "b"), ("m", "K"), "float64")
    assert math.isnan(fitted.nodata)


def test_the_census_counts_valid_pixels_and_leaves_nodata_out() -> None:
    arrays, valids = chips([3, 3, 3, 7, 200], [7, 9, 9, 9, 0])
    valids[1][0, 1:3] = False
    fitted = fit_scaling(arrays, valids, fields(nodata=0.0), True)
    assert {c.value: c.share for c in fitted.classes} == {3: 3 / 7, 7: 2 / 7, 9: 1 / 7, 200: 1 / 7}
    assert sum(c.share for c in fitted.classes) == pytest.approx(1)
    assert fitted.nodata == 0


def test_classes_stand_in_the_order_of_their_numbers() -> None:
    fitted = fit_scaling(*chips([9, 200], [3, 9]), fields(), True)
    np.testing.assert_array_equal(fitted.values, [3, 9, 200])


def test_names_and_colours_come_from_the_raster_where_it_has_them() -> None:
    told = fields(classes={3: "road"}, colors={3: (9, 8, 7, 255)}, interp=("palette",))
    road, other = fit_scaling(*chips([3, 4]), told, True).classes
    assert (road.name, road.color) == ("road", (9, 8, 7, 255))
    assert other.name == "class 4"
    assert other.color != road.color


def test_classes_without_a_colour_get_different_ones_and_none_that_is_taken() -> None:
    given = {7: (0, 114, 178, 255), 200: (230, 159, 0, 255)}
    fitted = fit_scaling(*chips(np.arange(256)), fields(colors=given), True)
    colors = [category.color for category in fitted.classes]
    assert len(set(colors)) == 256
    assert {value: colors[value] for value in given} == given
    assert all(0 <= part <= 255 and len(color) == 4 for color in colors for part in color)


def test_whole_numbers_in_a_float_raster_are_classes() -> None:
    fitted = fit_scaling(*chips([-1, 2, 2], dtype="float32"), fields(dtype="float32"), True)
    assert [category.value for category in fitted.classes] == [-1, 2]
    values = image([2, -1], "float32")
    np.testing.assert_array_equal(there_and_back(fitted, values), values)


@pytest.mark.parametrize(
    ("values", "dtype", "told"),
    [
        (np.arange(257), "uint16", {}),
        ([1, 2.5], "float32", {}),
        ([1, 2], "uint8", {"count": 3}),
    ],
    ids=["too many", "fractions", "several bands"],
)
def test_what_cannot_be_classes_is_refused_with_the_way_out(
    values: Any, dtype: str, told: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match="--target values"):
        fit_scaling(*chips(values, dtype=dtype), fields(dtype=dtype, **told), True)


@pytest.mark.parametrize("categorical", [True, False])
def test_no_valid_pixel_fits_nothing(categorical: bool) -> None:
    arrays, valids = chips([1, 2])
    with pytest.raises(ModelError, match="no valid training pixel"):
        fit_scaling(arrays, [~valid for valid in valids], fields(), categorical)
