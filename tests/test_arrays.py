"""Arrays come out as the file of the same pixels would, with the coordinates they came with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import Shown
from rasterio.crs import CRS
from rasterio.windows import Window
from rasters import utm, write

from geo_p2p import Frame, predict_array, translate
from geo_p2p.card import ModelCard, Scaling
from geo_p2p.errors import GeoP2PError, ModelError, RasterError
from geo_p2p.model_file import Translator
from geo_p2p.networks import build_generator
from geo_p2p.predict import PredictConfig, predict
from geo_p2p.predict.array import ArraySource, predict_values
from geo_p2p.raster import RasterSource

BYTES = Scaling("uint8", (0.0, 0.0), (255.0, 255.0))
HEIGHTS = Scaling("int16", (-500.0,), (900.0,), nodata=-32768, names=("dsm",))
COLOUR = Scaling("uint8", (0.0,) * 2, (255.0,) * 2, names=("a", "b"))  # no nodata: a mask


def card(target: Scaling, **changes: Any) -> ModelCard:
    fields = {"size": 16, "network": "unet", "arguments": {}, "stride": 4, "halo": 8}
    return ModelCard(BYTES, target, **{**fields, "tile_safe": True, **changes})


def near(tiles: np.ndarray, seed: int) -> np.ndarray:
    """Stand in for a network that sees 8 px around."""
    mixed = tiles + 0.5 * np.roll(tiles, 8, -1) - 0.25 * np.roll(tiles, -8, -2)
    return np.tanh(mixed).astype("float32")


def shown(target: Scaling, **changes: Any) -> Shown:
    return Shown(card(target, **changes), lambda tiles, seed: near(tiles, seed)[:, : target.count])


def noise(rows: int = 45, cols: int = 61) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, (2, rows, cols), "uint8")


@pytest.mark.parametrize("target", [HEIGHTS, COLOUR], ids=["nodata", "mask"])
@settings(deadline=None, max_examples=12)
@given(
    block=st.sampled_from([8, 20, 64]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_an_array_gives_what_its_file_gives(
    tmp_path_factory: Any, target: Scaling, block: int, size: Any, flags: tuple[bool, ...]
) -> None:
    tta, safe, holes = flags
    path = tmp_path_factory.mktemp("array")
    values, frame = noise(*size), utm(*size)
    valid = np.random.default_rng(1).random(size) > (0.3 if holes else -1)
    file = write(path / "src.tif", values, frame, mask=valid)
    config = PredictConfig(block_size=block, tta=tta)
    model = shown(target, tile_safe=safe)
    predict(model, RasterSource(file), path / "o.tif", config)
    expected, known = RasterSource(path / "o.tif").read()
    made, there, _ = predict_values(model, ArraySource(values, valid, frame), config)
    assert np.array_equal(there, known)
    assert made.dtype == expected.dtype
    assert np.array_equal(made[:, there], expected[:, known])
    if target.nodata is not None:
        assert (made[:, ~there] == target.nodata).all()


@pytest.fixture(scope="module")
def model() -> Translator:
    arguments = {"in_channels": 2, "out_channels": 1, "halvings": 2, "ngf": 2}
    net = build_generator("unet", **arguments)
    fields = {"arguments": arguments, "stride": net.stride, "halo": net.halo}
    return Translator(net, card(HEIGHTS, **fields), "cpu", "fp32")


def test_a_masked_array_comes_back_masked(model: Translator) -> None:
    values = noise()
    valid = np.random.default_rng(1).random(values.shape[1:]) > 0.2
    told: list[tuple[int, int]] = []
    made = predict_array(
        values, valid, model=model, block_size=16, progress=lambda *n: told.append(n)
    )
    assert (made.shape, made.dtype, made.fill_value) == ((1, 45, 61), np.int16, -32768)
    assert np.array_equal(~made.mask[0], valid)
    assert (made.filled()[:, ~valid] == -32768).all()
    assert len(told) == 12
    assert told == sorted(set(told))
    assert told[-1] == (45 * 61, 45 * 61)
    mask = np.broadcast_to(~valid, values.shape)
    again = predict_array(np.ma.MaskedArray(values, mask), model=model, block_size=16)
    assert np.array_equal(again.filled(), made.filled())


def test_nan_is_invalid(model: Translator) -> None:
    values = noise().astype("float32")
    values[1, 3:9, 4] = np.nan
    made = predict_array(values, model=model)
    assert made.mask.sum() == 6


def test_bounds_and_masks_are_of_the_frame(model: Translator, tmp_path: Path) -> None:
    values, frame = noise(), utm(45, 61)
    whole = predict_array(values, model=model, block_size=16)
    window = Window(7, 9, 31, 20)
    part = predict_array(
        values, model=model, frame=frame, bounds=frame.crop(window).bounds, block_size=16
    )
    assert np.array_equal(part.filled(), whole.filled()[:, *window.toslices()])
    ground = shapely.box(*frame.crop(window).bounds)
    area = {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(ground)}
    named = '"crs": {"type": "name", "properties": {"name": "EPSG:32633"}}'
    (tmp_path / "a.json").write_text(
        f'{{"type": "FeatureCollection", {named}, "features": [{json.dumps(area)}]}}'
    )
    masked = predict_array(values, model=model, frame=frame, mask=tmp_path / "a.json")
    assert (~masked.mask).sum() == 31 * 20


def test_bands_are_those_trained_on_or_asked_for() -> None:
    arguments = {"in_channels": 2, "out_channels": 1, "halvings": 2, "ngf": 2}
    net = build_generator("unet", **arguments)
    fields = {"arguments": arguments, "stride": net.stride, "halo": net.halo, "bands": (3, 1)}
    model = Translator(net, card(HEIGHTS, **fields), "cpu", "fp32")
    three = np.concatenate([noise(), noise()[:1] // 2])
    expected = predict_array(three[[2, 0]], model=model)
    assert np.array_equal(predict_array(three, model=model), expected)
    other = predict_array(three, model=model, bidx=(1, 2))
    assert np.array_equal(other, predict_array(three[:2], model=model))
    assert not np.array_equal(other, expected)


BAD: list[tuple[Any, dict[str, Any], type[GeoP2PError], str]] = [
    (noise()[0], {}, RasterError, "of shape .45, 61.; give .bands, rows, cols."),
    (noise()[:1], {}, ModelError, "1 bands, but the model takes 2"),
    (noise(), {"valid": np.ones((4, 5), bool)}, RasterError, "the same rows and columns"),
    (noise(), {"frame": utm(4, 5)}, RasterError, "the same rows and columns"),
    (noise().astype(complex), {}, RasterError, "complex128; give integers or floats"),
    (noise(), {"bidx": (1, 3)}, RasterError, "no band 3; it has 2"),
    (noise(), {"keep_parts": True}, RasterError, "keep_parts: is of files"),
    (noise(), {"res": 2.0}, RasterError, "res: is of files"),
]


@pytest.mark.parametrize(("image", "how", "error", "words"), BAD, ids=[case[3] for case in BAD])
def test_what_is_no_image_is_refused(
    model: Translator, image: Any, how: Any, error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        predict_array(image, model=model, **how)


# ------------------------------------------------------------------ xarray


def labelled(values: np.ndarray, frame: Frame, **attrs: Any) -> Any:
    xarray = pytest.importorskip("xarray")
    t, (height, width) = frame.transform, frame.shape
    coords = {
        "band": [1, 2],
        "y": t.f + t.e * (np.arange(height) + 0.5),
        "x": t.c + t.a * (np.arange(width) + 0.5),
        "spatial_ref": xarray.DataArray(0, attrs={"crs_wkt": frame.crs.to_wkt()}),
    }
    return xarray.DataArray(values, coords, ("band", "y", "x"), name="town", attrs=attrs)


def test_a_data_array_keeps_its_coordinates(model: Translator) -> None:
    values, frame = noise(), utm(45, 61, res=2)
    image = labelled(values, frame, _FillValue=7, long_name=("red", "green"), sensor="RGB 9")
    made = predict_array(image, model=model, block_size=16)
    expected = predict_array(values, ~(values == 7).any(0), model=model, block_size=16)
    assert np.array_equal(made.values, expected.filled())
    assert made.dims == ("band", "y", "x")
    assert np.array_equal(made.x, image.x) and np.array_equal(made.y, image.y)
    assert made.spatial_ref.attrs == image.spatial_ref.attrs
    assert made.attrs == {"sensor": "RGB 9", "long_name": "dsm", "_FillValue": -32768}
    assert made.name == "town"


def test_its_place_counts_for_bounds(model: Translator) -> None:
    values, frame = noise(), utm(45, 61, res=2)
    window = Window(7, 9, 31, 20)
    image = labelled(values, frame)
    part = predict_array(image, model=model, bounds=frame.crop(window).bounds, block_size=16)
    whole = predict_array(image, model=model, block_size=16)
    assert part.equals(whole.isel(y=slice(9, 29), x=slice(7, 38)))


def test_the_order_of_dimensions_does_not_matter(model: Translator) -> None:
    image = labelled(noise(), utm(45, 61))
    plain = predict_array(image, model=model)
    assert predict_array(image.transpose("y", "x", "band"), model=model).equals(plain)
    renamed = predict_array(image.rename(y="lat", x="lon"), model=model)
    assert renamed.dims == ("band", "lat", "lon")
    assert np.array_equal(renamed.values, plain.values)


def test_without_a_nodata_value_invalid_pixels_are_nan() -> None:
    arguments = {"in_channels": 2, "out_channels": 2, "halvings": 2, "ngf": 2}
    net = build_generator("unet", **arguments)
    fields = {"arguments": arguments, "stride": net.stride, "halo": net.halo}
    model = Translator(net, card(COLOUR, **fields), "cpu", "fp32")
    values = noise()
    made = predict_array(labelled(values, utm(45, 61), _FillValue=7), model=model)
    assert np.array_equal(np.isnan(made.values[0]), (values == 7).any(0))
    assert "_FillValue" not in made.attrs
    assert made.attrs["long_name"] == ("a", "b")
    assert predict_array(labelled(values, utm(45, 61)), model=model).dtype == np.uint8


def test_what_rioxarray_opens_comes_out_with_its_place(model: Translator, tmp_path: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    values, frame = noise(), utm(45, 61, res=0.5)
    path = write(tmp_path / "src.tif", values, frame, nodata=9)
    for masked in (False, True):
        with rioxarray.open_rasterio(path, masked=masked) as image:
            made = predict_array(image, model=model, block_size=16)
        translate.translate(
            model, path, tmp_path / "o.tif", PredictConfig(block_size=16), overwrite=True
        )
        out = RasterSource(tmp_path / "o.tif")
        assert np.array_equal(made.values, out.read()[0])
        assert made.rio.crs == CRS.from_epsg(32633)
        assert made.rio.transform() == out.frame.transform
        assert made.rio.nodata == -32768


def test_a_data_array_that_is_no_raster_is_refused(model: Translator) -> None:
    image = labelled(noise(), utm(45, 61))
    uneven = image.assign_coords(x=np.arange(61) ** 1.5)
    cases = [
        (uneven, "coordinates along x are not even"),
        (image.rename(x="col"), "name them"),
        (image.expand_dims(time=[1]), "give .band, y, x."),
    ]
    for bad, words in cases:
        with pytest.raises(RasterError, match=words):
            predict_array(bad, model=model)


def test_a_single_pixel_has_the_size_its_file_tells(model: Translator) -> None:
    image = labelled(noise(1, 1), utm(1, 1, res=3))
    image.spatial_ref.attrs["GeoTransform"] = "500000 3 0 5300000 0 -3"
    made = predict_array(image, model=model, bounds=utm(1, 1, res=3).bounds)
    assert made.shape == (1, 1, 1)
