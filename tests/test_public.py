"""The public names: what ``geo_p2p`` promises, and where each name lives."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

import geo_p2p

PROMISED = {
    "geo_p2p.card": {"ModelCard", "Scaling", "TrainConfig"},
    "geo_p2p.chips": {"export_chips"},
    "geo_p2p.data": {"DataBunch", "prepare_data"},
    "geo_p2p.errors": {
        "AlignmentError",
        "ChipError",
        "GeoP2PError",
        "GridError",
        "ModelError",
        "RasterError",
    },
    "geo_p2p.grid": {"TileGrid"},
    "geo_p2p.pix2pix": {"Pix2Pix", "estimate_batch_size"},
    "geo_p2p.raster": {"Frame", "RasterSink", "RasterSource"},
    "geo_p2p.translate": {"plan_raster", "predict_array", "predict_raster"},
}
HOMES = {name: home for home, names in PROMISED.items() for name in names}


def exists(module: str) -> bool:
    path = Path(geo_p2p.__file__).parent / module.rpartition(".")[2]
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_the_public_names_are_the_promised_ones_in_order() -> None:
    assert geo_p2p.__all__ == sorted(HOMES)


def test_every_name_is_looked_for_in_its_home() -> None:
    assert geo_p2p._HOMES == HOMES


def test_type_checkers_see_the_names_where_they_are_loaded_from() -> None:
    tree = ast.parse(Path(geo_p2p.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if ast.unparse(node).startswith("if TYPE_CHECKING"))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == HOMES


@pytest.mark.parametrize("name", sorted(name for name, home in HOMES.items() if exists(home)))
def test_a_public_name_is_the_object_of_its_home(name: str) -> None:
    value = getattr(geo_p2p, name)
    assert value is getattr(import_module(HOMES[name]), name)
    assert value.__module__.startswith(HOMES[name])
    assert value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Pix3Pix'"):
        geo_p2p.Pix3Pix  # noqa: B018


def test_dir_lists_the_public_names_before_they_are_loaded() -> None:
    assert set(geo_p2p.__all__) <= set(dir(geo_p2p))


def test_the_version_is_a_release() -> None:
    assert all(part.isdecimal() for part in geo_p2p.__version__.split("."))
