"""A raster is translated alike wherever it lies: in an archive, behind a VRT, on a server."""

import re
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.shutil
from rasterio.windows import Window
from rasters import utm, write

from geo_p2p.card import ModelCard, Scaling
from geo_p2p.errors import RasterError
from geo_p2p.model_file import Translator
from geo_p2p.networks import build_generator
from geo_p2p.raster import RasterSource, find_rasters
from geo_p2p.translate import output_of, predict_raster

BYTES = Scaling("uint8", (0.0, 0.0), (255.0, 255.0))
FRAME = utm(700, 900)


class Ranged(SimpleHTTPRequestHandler):
    """Serves a folder, parts of files too, and counts the bytes it sends."""

    sent = 0

    def do_GET(self) -> None:
        """Send a file, or the part that is asked for."""
        path = Path(self.translate_path(self.path.partition("?")[0]))
        if not path.is_file():
            self.send_error(404)
            return
        content, asked = path.read_bytes(), self.headers.get("Range", "")
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        if part:
            start, stop = int(part[1]), min(int(part[2] or len(content)), len(content) - 1)
            body = content[start : stop + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop}/{len(content)}")
        else:
            body = content
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        type(self).sent += len(body)
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster, and the same in other places."""
    home = tmp_path_factory.mktemp("inputs")
    values = np.random.default_rng(0).integers(0, 250, (2, *FRAME.shape), "uint8")
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    write(home / "src.tif", values, FRAME, **tiled)
    for band in (0, 1):
        write(home / f"band{band}.tif", values[[band]], FRAME)
    with zipfile.ZipFile(home / "scenes.zip", "w") as archive:
        archive.write(home / "src.tif", "deep/src.tif")
    rasterio.shutil.copy(home / "src.tif", home / "src.vrt", driver="VRT")
    return home


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of the folder, on this machine."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    # What GDAL's own page advises for rasters behind HTTP: no look at the folder around them.
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")

    def handler(*arguments: Any) -> Ranged:
        return Ranged(*arguments, directory=str(folder))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def model() -> Translator:
    arguments = {"in_channels": 2, "out_channels": 2, "halvings": 2, "ngf": 2}
    net = build_generator("unet", **arguments)
    fields = {"size": 16, "network": "unet", "arguments": arguments, "tile_safe": True}
    card = ModelCard(BYTES, BYTES, stride=net.stride, halo=net.halo, **fields)
    return Translator(net, card, "cpu", "fp32")


WINDOW = Window(300, 200, 100, 90)


@pytest.fixture
def made(model: Translator, tmp_path: Path) -> Callable[[Any], np.ndarray]:
    """Return a function that translates a part of a raster."""

    def make(src: Any) -> np.ndarray:
        bounds = FRAME.crop(WINDOW).bounds
        settings = {"bounds": bounds, "block_size": 64, "overwrite": True}
        path = predict_raster(src, tmp_path / "o.tif", model=model, **settings)
        return RasterSource(path).read()[0]

    return make


def places(folder: Path, server: str) -> dict[str, Any]:
    return {
        "a path": folder / "src.tif",
        "an archive": f"/vsizip/{folder}/scenes.zip/deep/src.tif",
        "an archive by rio's word": f"zip://{folder}/scenes.zip!deep/src.tif",
        "a VRT": folder / "src.vrt",
        "several files": [folder / "band0.tif", folder / "band1.tif"],
        "a server": f"{server}/src.tif",
        "a server, with a query": f"{server}/src.tif?token=a*b",
        "a server, by GDAL's name": f"/vsicurl/{server}/src.tif",
        "an archive on a server": f"/vsizip//vsicurl/{server}/scenes.zip/deep/src.tif",
    }


@pytest.mark.parametrize("place", places(Path(), ""))
def test_wherever_it_lies_it_is_translated_alike(
    folder: Path, server: str, made: Any, place: str
) -> None:
    found = places(folder, server)[place]
    if isinstance(found, str):
        assert find_rasters(found) == [(found,)]  # no pattern, whatever is in the address
    expected = made(folder / "src.tif")
    assert expected.std() > 1
    assert np.array_equal(made(found), expected)


def test_of_a_raster_on_a_server_only_the_part_needed_is_fetched(
    folder: Path, server: str, made: Any
) -> None:
    size = (folder / "src.tif").stat().st_size
    copy = folder / "once.tif"  # GDAL keeps what it has fetched of the other
    shutil.copy(folder / "src.tif", copy)
    Ranged.sent = 0
    made(f"{server}/once.tif")
    assert 0 < Ranged.sent < size / 2


def test_what_a_server_has_not_is_refused_in_one_line(server: str, made: Any) -> None:
    with pytest.raises(RasterError, match=r"gone\.tif: not a raster that can be opened") as caught:
        made(f"{server}/gone.tif")
    assert "\n" not in str(caught.value)


NAMES = {
    "big.town.tif": "big.town_translated.tif",
    "/a/b.tif": "b_translated.tif",
    "https://host/scenes/a.tif?token=x/y&z": "a_translated.tif",
    "/vsizip/x.zip/deep/a.tif": "a_translated.tif",
    "zip:///x.zip!deep/a.tif": "a_translated.tif",
    "zip:///x.zip!a.tif": "a_translated.tif",
    'NETCDF:"a b.nc":red': "NETCDF_a b_translated.tif",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_named_after_the_raster(name: str) -> None:
    assert output_of(name) == Path(NAMES[name])
