"""`torch.compile` is an option of the training that nothing but its speed and last bits show."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import TINY, bunch, inverted
from torch import nn

from geo_p2p.errors import ModelError
from geo_p2p.model_file import load_card
from geo_p2p.pix2pix import Pix2Pix
from geo_p2p.pix2pix.compiled import compile_networks


def trained(**settings: Any) -> Pix2Pix:
    model = Pix2Pix(bunch(inverted(4)), **{**TINY, "device": "cpu", **settings})
    model.fit(2, checkpoint=False, progress=False)
    return model


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the graphs that are compiled, by a backend that runs them as they are."""
    graphs = {"compiled": 0, "run": 0}

    def backend(graph: Any, inputs: Any) -> Any:
        graphs["compiled"] += 1

        def run(*args: Any) -> Any:
            graphs["run"] += 1
            return graph.forward(*args)

        return run

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: compiler(f, backend=backend))
    torch.compiler.reset()
    return graphs


@pytest.mark.parametrize("settings", [{}, {"scales": 2, "feature_weight": 1.0, "ema": 0.9}])
def test_compiled_networks_are_trained_as_others_are(
    settings: dict[str, Any], counted: dict[str, int]
) -> None:
    """Graphs that are run as they are give the same weights, to the bit, step after step."""
    plain = trained(**settings)
    assert counted == {"compiled": 0, "run": 0}
    compiled = trained(**settings, compile=True)
    steps = 2 * len(compiled.data.train_dl)
    assert counted["run"] > 3 * steps  # G once and D twice a step, at least
    assert counted["compiled"] < 12  # and not anew at every step
    for ours, theirs in zip(state(compiled), state(plain), strict=True):
        assert torch.equal(ours, theirs)


def test_a_saved_model_is_not_compiled_unless_that_is_asked_for(
    tmp_path: Path, counted: dict[str, int]
) -> None:
    saved = trained(compile=True).save(tmp_path / "model")
    assert load_card(saved).provenance["config"]["compile"] is True
    counted.update(compiled=0, run=0)
    again = Pix2Pix.from_model(saved, bunch(inverted(4)))
    again.fit(1, checkpoint=False, progress=False)
    assert not again.config.compile
    assert counted["run"] == 0
    anew = Pix2Pix.from_model(saved, bunch(inverted(4)), compile=True)
    anew.fit(1, checkpoint=False, progress=False)
    assert counted["run"] > 0


def test_a_machine_that_cannot_compile_is_told_of_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler\nand a long trace")

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compiler(f, backend=broken))
    torch.compiler.reset()
    with pytest.raises(ModelError, match=r"^torch.compile does not work here \([^\n]*\): .*$"):
        trained(compile=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_what_is_compiled_computes_the_same_but_for_the_order_of_its_sums() -> None:
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 3, 3, padding=1))
    net, image = nn.Sequential(*layers), torch.rand(1, 3, 16, 16)
    expected = net(image)
    compile_networks(torch.device("cpu"), net)
    assert torch.allclose(net(image), expected, atol=1e-5)


def state(model: Pix2Pix) -> list[torch.Tensor]:
    nets = model.generator, model.discriminator
    return [value for net in nets for value in net.state_dict().values()]
