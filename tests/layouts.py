"""Folders of pairs as other programs leave them, byte for byte where it matters."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio.shutil
from affine import Affine
from conftest import write_raster
from pairs import blobs
from rasterio.errors import NotGeoreferencedWarning
from rasters import write_unplaced

GAPS = (0, 1, 2, 3, 9, 10, 11, 12, 18, 19, 24, 25)
"""Numbers of the chips of a real export of ArcGIS Pro 3.3 with a mask polygon."""

WORLD = {".tif": ".tfw", ".png": ".pgw", ".jpg": ".jgw"}
DRIVERS = {".tif": "GTiff", ".png": "PNG", ".jpg": "JPEG"}
EPSG = 32633


def place(index: int, side: int) -> Affine:
    """Where Pro puts a chip: not in the order of its number."""
    row, col = divmod((7 * index) % 32, 8)
    return Affine(0.5, 0, 500_000 + 0.5 * side * col, 0, -0.5, 5_000_000 - 0.5 * side * row)


def world_file(transform: Affine) -> bytes:
    """Six lines of ten decimals; the last two are the centre of the upper-left pixel."""
    t = transform
    x, y = t * (0.5, 0.5)
    return "".join(f"{v:.10f}\n" for v in (t.a, t.d, t.b, t.e, x, y)).encode()


def write_image(path: Path, values: np.ndarray, transform: Affine | None, **options: Any) -> Path:
    """Write a chip with its world file; a PNG or JPEG carries no CRS."""
    profile: dict[str, Any] = {"driver": DRIVERS[path.suffix]}
    if path.suffix == ".tif":
        profile |= {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "lzw"}
        crs = f"EPSG:{EPSG}" if transform is not None else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            write_raster(path, values, crs=crs, transform=transform, **profile, **options)
    else:
        quality = {"QUALITY": 100} if path.suffix == ".jpg" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            write_raster(path, values, crs=None, **profile, **quality, **options)
        path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    if transform is not None:
        path.with_suffix(WORLD[path.suffix]).write_bytes(world_file(transform))
    return path


def content(index: int, side: int, seed: int, bands: int = 3) -> np.ndarray:
    """Values of one image of a chip."""
    return blobs(bands, side, side, seed=1000 * seed + index)


def classes(index: int, side: int) -> np.ndarray:
    """Class numbers 0, 1 and 3 of one label image."""
    return np.array([0, 1, 3], "uint8")[np.digitize(content(index, side, 2, 1), (110, 150))]


def pro(
    folder: Path,
    version: int,
    *,
    suffix: str = ".tif",
    target: str = "images2",
    side: int = 32,
    indices: Iterable[int] = GAPS,
) -> Path:
    """Write a folder as ArcGIS Pro 2.x or 3.x exports it, side-cars included."""
    digits = {2: 9, 3: 12}[version]
    names = [f"{index:0{digits}d}" for index in indices]
    for which, home in enumerate(("images", target), 1):
        (folder / home).mkdir(parents=True)
        # Labels are TIFF whatever the images are.
        kind = ".tif" if home == "labels" else suffix
        for index, name in zip(indices, names, strict=True):
            values = classes(index, side) if home == "labels" else content(index, side, which)
            file = folder / home / f"{name}{kind}"
            write_image(file, values, place(index, side))
            file.with_name(f"{file.name}.ovr").write_bytes(b"II*\0 no overview")
            file.with_name(f"{file.name}.aux.xml").write_text("<PAMDataset></PAMDataset>")
            file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7")
    _pro_files(folder, version, names, (suffix, target), side)
    return folder


def _pro_files(
    folder: Path, version: int, names: list[str], kinds: tuple[str, str], side: int
) -> None:
    """Write map.txt, stats.txt, the .emd and the statistics; 2.x knows less of them."""
    suffix, target = kinds
    kind = ".tif" if target == "labels" else suffix
    gap = " " * {2: 2, 3: 1}[version]
    lines = [f"images\\{n}{suffix}{gap}{target}\\{n}{kind} \r\n" for n in names]
    if version == 2:  # seen in a real one: the first line names a chip that is not the first
        lines[0] = lines[0].replace(names[0], f"{19:0{len(names[0])}d}")
    (folder / "map.txt").write_bytes("".join(lines).encode())
    stats = f"images = {len(names)} *3*{side}*{side}\r\n\r\nClass feature statistics:\r\n"
    (folder / "stats.txt").write_bytes(stats.encode())
    mode = "Export_Tiles" if target == "images2" else "Classified_Tiles"
    reference = {"wkid": EPSG, "latestWkid": EPSG}
    cell = {"x": 0.5, "y": 0.5, "spatialReference": reference}
    emd: dict[str, Any] = {
        "Framework": "e.g. TensorFlow, PyTorch, Keras",
        "ImageHeight": side if version == 3 else "e.g. 256",
        "ImageWidth": side if version == 3 else "e.g. 256",
        "ExtractBands": "e.g. [0, 1, 2]",
        "DataRange": "e.g. [0, 1]",
        "BatchSize": "e.g. 8",
        "MetaDataMode": mode,
        "MinCellSize": cell,
        "MaxCellSize": cell,
    }
    (folder / "esri_model_definition.emd").write_bytes(json.dumps(emd, indent=2).encode())
    state = {"Version": 1, "NumBands": 3, "NumTiles": len(names), "MetaDataMode": mode}
    (folder / "esri_accumulated_stats.json").write_bytes(json.dumps(state, indent=2).encode())


def coordinates(rows: int, cols: int) -> np.ndarray:
    """Two bands and a third of zeros that say which row and column a pixel is, up to 255."""
    row, col = np.indices((rows, cols))
    return np.stack([row, col, np.zeros_like(row)]).astype("uint8")


def beside(path: Path, left: np.ndarray, right: np.ndarray) -> Path:
    """Write a pair side by side, as pix2pix has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_image(path, np.concatenate([left, right], axis=2), None)


def pictures(
    folder: Path, count: int, seed: int, shape: tuple[int, int, int] = (3, 40, 40)
) -> Path:
    """Fill a folder with plain pictures p0.png, p1.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        write_image(folder / f"p{index}.png", blobs(*shape, seed=1000 * seed + index), None)
    return folder


def indexed(path: Path, values: np.ndarray, colors: dict[int, tuple[int, ...]]) -> Path:
    """Write a PNG with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = write_unplaced(path.with_suffix(".tif"), values, colors=colors)
    rasterio.shutil.copy(source, path, driver="PNG")
    source.unlink()
    return path


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with size and time of the last change."""
    items = sorted([folder, *folder.rglob("*")])
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in items}
