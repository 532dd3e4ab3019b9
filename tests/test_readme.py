"""The README's blocks run as they stand, on small rasters and with a small network."""

import re
import shlex
from pathlib import Path

import pytest

from geo_p2p.scene import write_scene

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.M)


@pytest.fixture
def rasters(tmp_path, monkeypatch):
    """Lay the README's rasters into the working directory."""
    scene = write_scene(tmp_path / "scene", size=640)
    for name, path in {"aerial": scene.aerial, "map": scene.map, "big": scene.aerial}.items():
        (tmp_path / f"{name}.tif").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made_small(text: str, swaps: dict[str, str]) -> str:
    for old, new in swaps.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_the_python_block_runs(rasters):
    (code,) = blocks("python")
    small = {"Pix2Pix(data)": "Pix2Pix(data, ngf=4, ndf=4)", "fit(100)": "fit(1)"}
    exec(compile(made_small(code, small), "README.md", "exec"), {})
    assert (rasters / "big_map.tif").exists()
    assert (rasters / "models" / "aerial-to-map" / "aerial-to-map.emd").exists()


def test_the_commands_run(rasters, runner):
    (session,) = (block for block in blocks("sh") if "export-chips" in block)
    small = made_small(session, {"--epochs 100": "--epochs 1 --ngf 4"})
    for line in small.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "geo-p2p"
        runner(*arguments)
    assert (rasters / "big_map.tif").exists()


def test_every_option_on_the_page_of_exports_is_one(runner):
    page = (README.parent / "docs" / "export.md").read_text("utf-8")
    told = set(re.findall(r"(?<![-|])--[a-z][a-z-]+", page))
    known = set(re.findall(r"--[a-z][a-z-]+", runner("export-chips", "--help").stdout))
    assert len(told) > 30
    assert told <= known
