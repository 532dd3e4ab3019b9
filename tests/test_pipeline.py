"""Prediction as a pipeline: the same bytes however it runs, nothing read or run for nothing."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from pairs import Shown
from rasterio.windows import Window
from rasters import opened, utm, write

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.model_file import Translator
from geo_p2p.networks import build_generator, calibrate_batch_norm, initialise
from geo_p2p.predict import PredictConfig, mosaic, predict
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job
from geo_p2p.predict.rounding import Rounding
from geo_p2p.raster import RasterSource, bounded_cache, quick_options
from geo_p2p.raster.interim import get_gdal_config

BYTES = Scaling("uint8", (0.0,), (255.0,))
RGB = Scaling("uint8", (0.0,) * 2, (255.0,) * 2)
UNIT = Scaling("float32", (-1.0,), (1.0,))


def smooth(rows: int, cols: int) -> np.ndarray:
    """Return two bands of waves and noise, 1 to 255."""
    draw = np.random.default_rng(0)
    y, x = np.indices((rows, cols))
    waves = np.stack([np.sin(x / 9) + np.cos(y / 7), np.sin((x + y) / 5)])
    return np.clip(128 + 50 * waves + draw.normal(0, 9, waves.shape), 1, 255).astype("uint8")


@pytest.fixture(scope="module")
def unet() -> Any:
    """Return a U-Net of stride 8 and halo 16 with batch norms and an output that varies."""
    draw = torch.Generator().manual_seed(0)
    net = initialise(build_generator("unet", 2, 1, halvings=3, ngf=8), draw)
    images = [torch.rand(4, 2, 64, 64, generator=draw) * 2 - 1 for _ in range(3)]
    calibrate_batch_norm(net, images)
    net.eval()
    with torch.no_grad():
        net.last.layer.weight.mul_(0.5 / net(images[0]).std())
    return net


def model(net: Any, target: Scaling = BYTES, precision: str = "fp32") -> Translator:
    fields: dict[str, Any] = {"size": 64, "network": "unet", "arguments": {}, "tile_safe": True}
    card = ModelCard(RGB, target, stride=net.stride, halo=net.halo, **fields)
    return Translator(net, card, "cpu", precision)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tif"))}


def made(net: Any, src: RasterSource, dst: Path, **settings: Any) -> np.ndarray:
    predict(net, src, dst, PredictConfig(**settings), overwrite=True)
    return RasterSource(dst).read()[0]


# ------------------------------------------------------------------ the same bytes


def test_the_bytes_do_not_depend_on_threads_batch_or_order(tmp_path: Path, unet: Any) -> None:
    values = smooth(75, 90)
    values[:, 20:60, 30:70] = 0
    src = RasterSource(write(tmp_path / "src.tif", values, utm(75, 90), nodata=0))
    found = []
    for name, workers, batch in (("a", 1, 1), ("b", 3, 1), ("c", 2, 4)):
        settings = {"workers": workers, "batch_size": batch, "keep_parts": True}
        made(model(unet), src, tmp_path / f"{name}.tif", block_size=24, **settings)
        found.append(parts(tmp_path / f"{name}.tif.parts"))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 16


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_another_block_size_moves_hardly_a_pixel_and_by_one_quantum(
    tmp_path: Path, unet: Any, precision: str
) -> None:
    src = RasterSource(write(tmp_path / "src.tif", smooth(150, 170), utm(150, 170)))
    net = model(unet, precision=precision)
    first, *others = (
        made(net, src, tmp_path / "o.tif", block_size=size).astype(int) for size in (None, 56, 104)
    )
    assert first.std() > 10
    for other in others:
        off = np.abs(other - first)
        assert off.max() <= 1
        assert (off > 0).mean() < 1e-4


def cut(folder: Path, values: np.ndarray, window: Window) -> RasterSource:
    """Return a part of a raster as a file of its own."""
    frame = utm(*values.shape[1:]).crop(window)
    name = f"cut_{window.row_off}_{window.col_off}.tif"
    return RasterSource(write(folder / name, values[:, *window.toslices()], frame))


@pytest.mark.parametrize("as_files", [True, False])
def test_overlapping_areas_agree_bit_for_bit(tmp_path: Path, unet: Any, as_files: bool) -> None:
    values, areas = smooth(160, 180), (Window(0, 0, 130, 120), Window(37, 21, 143, 139))
    src = RasterSource(write(tmp_path / "src.tif", values, utm(160, 180)))
    # The edge of a cut is out of step with the stride: what it touches reaches a stride further.
    whole, halo = np.full((2, 1, 160, 180), np.nan, "float32"), unet.halo + unet.stride
    for index, area in enumerate(areas):
        settings: dict[str, Any] = {"block_size": 32, "anchor": "crs"}
        part = cut(tmp_path, values, area)
        if not as_files:
            settings["bounds"], part = part.frame.bounds, src
        out = made(model(unet, UNIT), part, tmp_path / "o.tif", **settings)
        whole[index][:, *area.toslices()] = out
    rows, cols = slice(21 + halo, 120 - halo), slice(37 + halo, 130 - halo)
    one, two = whole[:, :, rows, cols]
    assert np.isfinite(one).all()
    assert np.array_equal(one, two)
    assert one.std() > 0.1


def test_without_an_anchor_areas_out_of_step_do_not_agree(tmp_path: Path, unet: Any) -> None:
    values, halo = smooth(160, 180), unet.halo + unet.stride
    one, two = (
        made(model(unet, UNIT), cut(tmp_path, values, area), tmp_path / "o.tif", block_size=32)
        for area in (Window(0, 0, 130, 120), Window(37, 21, 143, 139))
    )
    shared = one[:, 21 + halo : 120 - halo, 37 + halo : 130 - halo]
    other = two[:, halo : 99 - halo, halo : 93 - halo]
    assert np.abs(shared - other).max() > 1e-3


# ------------------------------------------------------------------ nothing for nothing

HOLLOW = """<VRTDataset rasterXSize="90" rasterYSize="75"><SRS>EPSG:32633</SRS>
<GeoTransform>500000, 1, 0, 5300000, 0, -1</GeoTransform>{bands}</VRTDataset>"""
LAID = """<VRTRasterBand dataType="Byte" band="{band}">{nodata}<SimpleSource>
<SourceFilename relativeToVRT="1">part.tif</SourceFilename><SourceBand>{band}</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="20" ySize="30"/>{place}</SimpleSource></VRTRasterBand>"""
PLACE = '<DstRect xOff="40" yOff="33" xSize="20" ySize="30"/>'
NODATA = "<NoDataValue>0</NoDataValue>"


def hollow(folder: Path, nodata: str = NODATA, place: str = PLACE) -> Path:
    """Write a VRT that is empty but for one part."""
    write(folder / "part.tif", smooth(30, 20), utm(30, 20))
    bands = "".join(LAID.format(band=band, nodata=nodata, place=place) for band in (1, 2))
    (folder / "hollow.vrt").write_text(HOLLOW.format(bands=bands))
    return folder / "hollow.vrt"


def sparse(folder: Path) -> Path:
    """Write a GeoTIFF of which most tiles do not exist."""
    frame = utm(75, 90)
    shape = {"height": 75, "width": 90, "count": 2, "dtype": "uint8", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "sparse_ok": True}
    place = {"crs": frame.crs, "transform": frame.transform}
    with rasterio.open(folder / "sparse.tif", "w", **shape, **tiles, **place) as dst:
        dst.write(smooth(30, 20), window=Window(40, 33, 20, 30))
    return folder / "sparse.tif"


@pytest.mark.parametrize("kind", [hollow, sparse])
def test_what_is_known_to_be_blank_is_blank(tmp_path: Path, kind: Any) -> None:
    src, draw, known = RasterSource(kind(tmp_path)), np.random.default_rng(0), []
    for _ in range(200):
        row, col = draw.integers(0, 75), draw.integers(0, 90)
        window = Window(
            int(col), int(row), *(int(draw.integers(1, n)) for n in (91 - col, 76 - row))
        )
        blank = src.is_blank(window)
        assert not (blank and src.read(window)[1].any())
        known.append(blank)
    assert 40 < sum(known) < 160


def test_where_holes_could_be_valid_nothing_is_known(tmp_path: Path) -> None:
    corner = Window(0, 0, 8, 8)
    known = RasterSource(hollow(tmp_path))
    assert known.is_blank(corner)
    turned = replace(
        known.frame, transform=known.frame.transform @ known.frame.transform.rotation(9)
    )
    assert not RasterSource(known.paths, like=turned).is_blank(corner)
    assert not RasterSource(hollow(tmp_path, nodata="")).is_blank(corner)
    assert not RasterSource(hollow(tmp_path, place="")).is_blank(corner)
    full = write(tmp_path / "full.tif", np.zeros((1, 75, 90), "uint8"), utm(75, 90), nodata=0)
    assert not RasterSource(full).is_blank(corner)  # for that it would have to be read


class Counting(RasterSource):
    """A source that counts what was read from it."""

    windows: list[Window] = []

    def read(self, window: Window | None = None) -> Any:
        self.windows.append(window)
        return super().read(window)


@pytest.mark.parametrize("target", [BYTES, replace(BYTES, nodata=255.0)], ids=["mask", "nodata"])
def test_blocks_known_to_be_blank_are_not_read(tmp_path: Path, target: Scaling) -> None:
    src = Counting(hollow(tmp_path))
    src.windows.clear()
    fields: dict[str, Any] = {"size": 64, "network": "plain", "arguments": {}, "tile_safe": True}
    plain = Shown(ModelCard(RGB, target, stride=8, halo=8, **fields), lambda t, s: t[:, :1])
    out = tmp_path / "o.tif"
    predict(plain, src, out, PredictConfig(block_size=16))
    assert len(src.windows) == 4  # of 30
    assert len(plain.calls) == 4
    values, valid = RasterSource(out).read()
    expected, where = RasterSource(src.paths).read()
    assert np.array_equal(valid, where)
    assert np.abs(values[0].astype(int) - expected[0])[valid].max() <= 1


# ------------------------------------------------------------------ what is told


def test_what_rounding_costs_is_measured_once_and_told(
    tmp_path: Path, unet: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geo_p2p")
    src = RasterSource(write(tmp_path / "src.tif", smooth(75, 90), utm(75, 90)))
    config = PredictConfig(block_size=40, keep_parts=True)
    done = predict(model(unet, precision="bf16"), src, tmp_path / "o.tif", config)
    one = made(model(unet), src, tmp_path / "exact.tif", block_size=40).astype(int)
    off = np.abs(one - RasterSource(tmp_path / "o.tif").read()[0])
    assert done.rounding is not None
    assert done.rounding.largest in (off.max(), off.max() - 1, off.max() + 1)
    assert done.rounding.mean == pytest.approx(off.mean(), rel=0.3)
    assert done.rounding.pixels == 72 * 72
    assert str(done.rounding) in caplog.text
    with opened(tmp_path / "o.tif") as dataset:
        assert dataset.tags()["GEO_P2P_ROUNDING"] == done.rounding.tags()["GEO_P2P_ROUNDING"]
    caplog.clear()
    again = predict(model(unet, precision="bf16"), src, tmp_path / "o.tif", config, overwrite=True)
    assert again.rounding == done.rounding
    assert "rounding within" not in caplog.text
    with opened(tmp_path / "exact.tif") as dataset:
        assert "GEO_P2P_ROUNDING" not in dataset.tags()


def test_who_measures_rounding_first_is_not_to_be_seen(tmp_path: Path, unet: Any) -> None:
    src = RasterSource(write(tmp_path / "src.tif", smooth(75, 90), utm(75, 90)))
    config, bf16 = PredictConfig(block_size=40), model(unet, precision="bf16")
    done = predict(bf16, src, tmp_path / "one.tif", config)
    for shard in ("3/3", "2/3", "1/3"):  # the first block's comes last
        predict(bf16, src, tmp_path / "two.tif", replace(config, shard=shard))
    folder = tmp_path / "two.tif.parts"
    assert len(Parts(folder).roundings()) > 1
    assert mosaic(folder, tmp_path / "two.tif").rounding == done.rounding
    assert (tmp_path / "two.tif").read_bytes() == (tmp_path / "one.tif").read_bytes()


def test_of_classes_rounding_is_the_share_that_changes() -> None:
    from geo_p2p.card import Category

    classes = tuple(Category(v, str(v), (v, v, v, 255), 0.5) for v in (1, 2))
    target = Scaling("uint8", classes=classes)
    scores = np.stack([np.zeros((4, 4)), np.full((4, 4), 1.0)]).astype("float32")

    class Rounded:
        card = ModelCard(
            UNIT, target, stride=1, halo=0, size=4, network="", arguments={}, tile_safe=True
        )

        def exact(self, tile: np.ndarray) -> np.ndarray:
            return scores

        def __call__(self, tiles: np.ndarray, seed: int) -> np.ndarray:
            other = scores.copy()
            other[:, 0] = other[::-1, 0]
            return other[None]

    found = Rounding.of(Rounded(), np.zeros((1, 4, 4), "float32"), target)  # type: ignore[arg-type]
    assert (found.largest, found.mean, found.pixels) == (0.25, 0.25, 16)


def test_an_interrupted_run_says_how_to_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    src = RasterSource(write(tmp_path / "src.tif", smooth(40, 40), utm(40, 40)))

    def stop(tiles: np.ndarray, seed: int) -> np.ndarray:
        raise KeyboardInterrupt

    fields: dict[str, Any] = {"size": 64, "network": "plain", "arguments": {}, "tile_safe": True}
    with pytest.raises(KeyboardInterrupt):
        predict(
            Shown(ModelCard(RGB, BYTES, stride=8, halo=8, **fields), stop), src, tmp_path / "o.tif"
        )
    assert "o.tif.parts: say the same again to go on with what is done" in caplog.text


# ------------------------------------------------------------------ GDAL


def test_gdal_s_cache_is_small_meanwhile_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with rasterio.Env():
        before = get_gdal_config("GDAL_CACHEMAX")
        for needed, expected in ((0, 2**26), (2**27, 2**27), (2**33, 2**29)):
            with bounded_cache(needed):
                assert get_gdal_config("GDAL_CACHEMAX") == expected
            assert get_gdal_config("GDAL_CACHEMAX") == before
        monkeypatch.setenv("GDAL_CACHEMAX", "7")
        with bounded_cache():
            assert get_gdal_config("GDAL_CACHEMAX") == before


def test_strips_are_kept_for_the_next_block(tmp_path: Path) -> None:
    values = smooth(40, 600)
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    for name, options, expected in (("strips", {}, 10 * 600 * 2), ("tiles", tiled, 0)):
        path = write(tmp_path / f"{name}.tif", values, utm(40, 600), **options)
        assert RasterSource(path).strip_bytes(10) == expected


def test_blocks_are_packed_quickly() -> None:
    assert quick_options()["SPARSE_OK"] == "TRUE"


def test_a_job_for_several_runs_has_one_plan(tmp_path: Path, unet: Any) -> None:
    src = RasterSource(write(tmp_path / "src.tif", smooth(75, 90), utm(75, 90)))
    jobs = [Job.of(model(unet), src, PredictConfig(shard=f"{n + 1}/2")) for n in range(2)]
    assert jobs[0].recipe == jobs[1].recipe
