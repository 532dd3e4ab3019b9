"""The notebook of arcgis.learn runs as it stands, on small chips and with a small network."""

from pathlib import Path

import pytest
import rasterio

from geo_p2p import export_chips
from geo_p2p.scene import write_scene

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

SMALL = {
    "chip_size=256": "chip_size=64",
    "Pix2Pix(data)\n": "Pix2Pix(data, halvings=2, ngf=4, ndf=4, layers=1, device='cpu')\n",
    "lr_find()": "lr_find(num_it=12)",
    "epochs=5": "epochs=2",
    "model.fit(2,": "model.fit(1,",
}
"""What is swapped for the sake of time."""


def test_a_notebook_of_arcgis_learn_runs_with_its_import_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = write_scene("scene", size=320)
    export_chips(scene.aerial, scene.map, "chips", tile_size=64, stride=32)
    code = (EXAMPLES / "04_arcgis_notebook.py").read_text("utf-8")
    for old, new in SMALL.items():
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "04_arcgis_notebook.py", "exec"), {})
    assert "step size: " in capsys.readouterr().out
    folder = Path("work/models/aerial_to_map")
    names = {"aerial_to_map.emd", "aerial_to_map.dlpk", "model_metrics.html", "history.csv"}
    assert {path.name for path in folder.iterdir()} >= names
    with rasterio.open("work/aerial_translated.tif") as out, rasterio.open(scene.aerial) as photo:
        assert (out.crs, out.transform, out.shape) == (photo.crs, photo.transform, photo.shape)
    assert {path.name for path in Path().iterdir()} == {"scene", "chips", "work"}
