"""A model on disk: it comes back the same, alone, and nothing else is taken for one."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from geo_p2p.card import Category, ModelCard, Scaling
from geo_p2p.device import choose_device, choose_precision, exact_arithmetic
from geo_p2p.errors import ModelError
from geo_p2p.model_file import (
    Translator,
    find_model,
    load_card,
    load_discriminator,
    load_model,
    model_folder,
    opened,
    save_model,
    write_package,
)
from geo_p2p.model_file import weights as weights_file
from geo_p2p.networks import Generator, PatchGAN, build_generator, initialise

BYTES = Scaling("uint8", (0.0,) * 2, (255.0,) * 2)
CLASSES = Scaling(
    "uint8", classes=(Category(1, "a", (1, 2, 3, 255), 0.5), Category(7, "b", (4, 5, 6, 255), 0.5))
)


def generator(seed: int = 0, **arguments: Any) -> Generator:
    net = build_generator("unet", 2, 2, **{"halvings": 2, "ngf": 4, **arguments})
    initialise(net, torch.Generator().manual_seed(seed))
    for parameter in net.parameters():
        parameter.data *= 5
    return net


def card_of(net: Generator, **changes: Any) -> ModelCard:
    card = ModelCard(
        input=BYTES,
        target=BYTES,
        size=32,
        network="unet",
        arguments=net.arguments,
        stride=net.stride,
        halo=net.halo,
        tile_safe=net.tile_safe,
        bands=(3, 1),
        pixel_size=(0.5, 0.5),
        crs="EPSG:32633",
        metrics={"l1": 3.5},
        provenance={"epochs": 2},
    )
    return replace(card, **changes)


def save(folder: Path, seed: int = 0, **changes: Any) -> Path:
    net = generator(seed)
    return save_model(folder, net, card_of(net, **changes))


def tiles(count: int = 3) -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.uniform(-1, 1, (count, 2, 16, 24)).astype("float32")


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.*"))}


# ------------------------------------------------------------------ round trip


@pytest.mark.parametrize("target", [BYTES, CLASSES], ids=["values", "classes"])
def test_a_model_comes_back_with_equal_outputs_and_card(tmp_path: Path, target: Scaling) -> None:
    net = generator(head="logits" if target.classes else "tanh")
    net(torch.from_numpy(tiles()))  # moves the running statistics
    card = card_of(net, target=target)
    folder = save_model(tmp_path / "town.v1", net, card)
    loaded = load_model(folder)
    assert loaded.card == card == load_card(folder)
    expected = Translator(net, card)
    assert np.array_equal(loaded(tiles(), 0), expected(tiles(), 0))
    assert expected(tiles(), 0).std() > 0.1
    assert loaded.fingerprint == expected.fingerprint
    by_file = load_model(folder / "town.v1.emd")
    assert np.array_equal(by_file(tiles(), 0), loaded(tiles(), 0))


def test_a_model_is_a_card_and_safetensors_that_can_be_moved_and_renamed(tmp_path: Path) -> None:
    net, judge = generator(), PatchGAN(4, ndf=4, layers=1)
    folder = save_model(tmp_path / "m", net, card_of(net), judge)
    names = ["m.discriminator.safetensors", "m.emd", "m.safetensors"]
    assert [path.name for path in sorted(folder.iterdir())] == names
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert np.array_equal(load_model(moved)(tiles(), 0), Translator(net, card_of(net))(tiles(), 0))
    again = PatchGAN(4, ndf=4, layers=1)
    load_discriminator(moved, again)
    for one, two in zip(judge.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_folder_gets_a_parent_and_a_name_lies_under_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder("town") == Path("models/town")
    assert model_folder("./town") == Path("./town")
    assert model_folder("a/town") == Path("a/town")
    assert model_folder(tmp_path / "town") == tmp_path / "town"
    save(model_folder("town"))
    assert load_card("models/town").size == 32


# ------------------------------------------------------------------ the translator


def test_a_tile_s_output_does_not_depend_on_how_many_came_with_it() -> None:
    model = Translator(generator(), card_of(generator()))
    together = model(tiles(5), 0)
    alone = np.concatenate([model(tile[None], 0) for tile in tiles(5)])
    assert np.array_equal(together, alone)
    assert together.dtype == np.float32


def test_translating_takes_running_statistics_and_leaves_them_alone() -> None:
    net = generator().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = Translator(net, card_of(net))
    first = model(tiles(1), 0)
    assert np.array_equal(model(np.concatenate([tiles(1), 3 * tiles(1)]), 0)[:1], first)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("on", [True, False])
def test_dropout_is_on_only_where_the_card_says_so_and_follows_the_seed(on: bool) -> None:
    net = generator(dropout=0.5, halvings=3)
    model = Translator(net, card_of(net, test_dropout=on, tile_safe=not on))
    torch.manual_seed(1)
    first = model(tiles(1), 7)
    torch.manual_seed(2)
    assert np.array_equal(model(tiles(1), 7), first)
    assert np.array_equal(model(tiles(1), 8), first) != on


def test_loading_and_translating_leave_the_user_s_random_numbers_alone(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", test_dropout=True)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    load_model(folder)(tiles(), 7)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_fingerprint_follows_weights_precision_and_use_and_nothing_else() -> None:
    net = generator()

    def full(net: Any, **changes: Any) -> Translator:
        return Translator(net, card_of(net, **changes), precision="fp32")

    same = [
        full(net),
        full(generator()),
        full(net, metrics={}, provenance={"versions": {"torch": "9"}}),
    ]
    others = [
        full(generator(seed=1)),
        Translator(net, card_of(net), precision="bf16"),
        full(net, target=replace(BYTES, nodata=0)),
        full(net, halo=16),
        full(net, test_dropout=True),
    ]
    assert len({model.fingerprint for model in same}) == 1
    assert len({model.fingerprint for model in [same[0], *others]}) == 1 + len(others)


def test_bf16_is_close_to_fp32_and_its_output_is_not_rounded() -> None:
    net = generator()
    exact, coarse = (Translator(net, card_of(net), "cpu", p) for p in ("fp32", "bf16"))
    assert (exact.precision, coarse.precision) == ("fp32", "bf16")
    one, two = exact(tiles(), 0), coarse(tiles(), 0)
    assert two.dtype == np.float32
    assert 0 < np.abs(one - two).max() < 0.1
    assert (torch.from_numpy(two) != torch.from_numpy(two).bfloat16()).float().mean() > 0.5


# ------------------------------------------------------------------ saving is all or nothing


def test_a_model_is_replaced_whole(tmp_path: Path) -> None:
    net = generator()
    save_model(tmp_path / "m", net, card_of(net), PatchGAN(4, ndf=4, layers=1))
    save(tmp_path / "m", seed=1, size=64)
    assert sorted(content(tmp_path / "m")) == ["m.emd", "m.safetensors"]
    assert load_card(tmp_path / "m").size == 64
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def full_disk_in_rust(*_: Any) -> None:
    raise SafetensorError("I/O error: No space left on device (os error 28)")


FAILURES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "weights": lambda patch: patch.setattr(weights_file, "save_file", full_disk),
    "safetensors": lambda patch: patch.setattr(weights_file, "save_file", full_disk_in_rust),
    "card": lambda patch: patch.setattr(Path, "write_text", full_disk),
    "place": lambda patch: patch.setattr(Path, "replace", refuse_partial),
}

REPLACE = Path.replace


def refuse_partial(self: Path, target: Path) -> Path:
    if self.name.endswith(".part"):
        raise PermissionError(13, "Permission denied")
    return REPLACE(self, target)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failing_save_leaves_the_old_model_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    before = content(save(tmp_path / "m"))
    FAILURES[failure](monkeypatch)
    for name in ("m", "new"):
        with pytest.raises(ModelError, match=rf"{name}: cannot be written \(.*(No space|denied)"):
            save(tmp_path / name, seed=1)
    monkeypatch.undo()
    assert content(tmp_path / "m") == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_what_a_killed_save_left_is_not_in_the_way(tmp_path: Path) -> None:
    stale = tmp_path / f".m.{os.getpid()}.part"
    stale.mkdir()
    (stale / "m.emd").write_text("half")
    save(tmp_path / "m")
    assert sorted(content(tmp_path / "m")) == ["m.emd", "m.safetensors"]
    assert not stale.exists()


def chips(place: Path) -> None:
    place.mkdir()
    emd = {"Framework": "e.g. TensorFlow", "MetaDataMode": "Export_Tiles"}
    (place / "esri_model_definition.emd").write_text(json.dumps(emd))


def notes(place: Path) -> None:
    place.mkdir()
    (place / "notes.txt").write_text("mine")


def a_file(place: Path) -> None:
    place.write_text("mine")


def an_emd(place: Path) -> None:
    shutil.copy(save(place.with_name("other")) / "other.emd", place)


@pytest.mark.parametrize("taken", [chips, notes, a_file, an_emd])
def test_what_is_no_model_folder_is_not_replaced(
    tmp_path: Path, taken: Callable[[Path], None]
) -> None:
    taken(tmp_path / "m")
    before = content(tmp_path)
    with pytest.raises(ModelError, match="m: exists and is not a model folder; choose another"):
        save(tmp_path / "m")
    assert content(tmp_path) == before


# ------------------------------------------------------------------ what cannot be loaded


def no_weights(folder: Path) -> None:
    (folder / "m.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    os.truncate(folder / "m.safetensors", 1000)


def text_weights(folder: Path) -> None:
    (folder / "m.safetensors").write_text("PK\x03\x04")


def other_weights(folder: Path) -> None:
    save_model(folder.with_name("wide"), generator(ngf=8), card_of(generator(ngf=8)))
    shutil.copy(folder.with_name("wide") / "wide.safetensors", folder / "m.safetensors")


def card_change(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        emd = json.loads((folder / "m.emd").read_text())
        own = emd["geo_p2p"]
        for key, value in changes.items():
            where = emd if key[0].isupper() else own
            if value is None:
                del where[key]
            else:
                where[key] = value
        (folder / "m.emd").write_text(json.dumps(emd))

    return change


def no_json(folder: Path) -> None:
    (folder / "m.emd").write_text('{"ModelName": ')


def two_cards(folder: Path) -> None:
    shutil.copy(folder / "m.emd", folder / "n.emd")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no weights": (no_weights, r"m.safetensors: weights that cannot be read \(No such file"),
    "cut weights": (cut_weights, r"m.safetensors: weights that cannot be read"),
    "text weights": (text_weights, r"m.safetensors: weights that cannot be read"),
    "other weights": (other_weights, r"weights of another network than its card describes"),
    "Esri's model": (card_change(Framework="PyTorch"), r"framework 'PyTorch', not 'geo_p2p'"),
    "chips": (card_change(MetaDataMode="Export_Tiles"), "describes exported chips, not a model"),
    "newer": (card_change(format=99), "written by another version"),
    "no stride": (card_change(stride=None), "damaged"),
    "no json": (no_json, r"m.emd: cannot be read"),
    "two cards": (two_cards, "holds 2 .emd files"),
    "no card": (lambda folder: (folder / "m.emd").unlink(), "holds 0 .emd files"),
    "unknown network": (card_change(network="vit"), "unknown generator 'vit'"),
    "wrong arguments": (card_change(arguments={"ngf": 4}), "describes no generator of ours"),
    "wrong dropout": (
        card_change(arguments={"in_channels": 2, "out_channels": 2, "dropout": 7}),
        "describes no generator of ours",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_model_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    folder = save(tmp_path / "m")
    spoil, said = DAMAGE[damage]
    spoil(folder)
    with pytest.raises(ModelError, match=said) as refused:
        load_model(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("name", ["x.pth", "x.PKL"])
def test_pickles_are_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(ModelError, match="files are not read; give a model folder, .emd or .dlpk"):
        load_model(tmp_path / name)


# ------------------------------------------------------------------ packages


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a model as one file, and nothing else."""
    folder = save(tmp_path / "town")
    (folder / "ModelCharacteristics").mkdir()
    (folder / "ModelCharacteristics" / "a.png").write_text("a picture")
    write_package(folder, tmp_path / "town.dlpk")
    return tmp_path / "town.dlpk"


def test_a_package_is_the_folder_s_files_and_translates_as_the_folder(package: Path) -> None:
    folder = package.with_suffix("")
    with ZipFile(package) as zipped:
        held = {name: zipped.read(name) for name in zipped.namelist()}
    assert held == content(folder)
    again = package.with_name("again.dlpk")
    write_package(folder, again)
    assert again.read_bytes() == package.read_bytes()
    model = load_model(folder)
    shutil.rmtree(folder)
    assert load_card(package) == model.card
    assert np.array_equal(load_model(package)(tiles(), 0), model(tiles(), 0))


def test_of_a_package_only_what_a_model_is_read_from_is_taken_out(package: Path) -> None:
    with opened(package) as folder:
        assert sorted(content(folder)) == ["town.emd", "town.safetensors"]
    assert not folder.exists()
    with opened(package.with_suffix("")) as same:
        assert same == package.with_suffix("")


def link(name: str) -> ZipInfo:
    entry = ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        *("../evil.emd", "/evil.emd", "a/../../evil.emd", "..", "..\\evil.emd", "C:evil.emd"),
        link("evil.emd"),
    ],
    ids=str,
)
def test_a_package_that_reaches_out_of_its_folder_is_not_opened(package: Path, entry: Any) -> None:
    with ZipFile(package, "a") as zipped:
        zipped.writestr(entry, "{}")
    before = {path for path in package.parent.rglob("*")}
    for read in (load_card, load_model):
        with pytest.raises(ModelError, match="town.dlpk: not opened: .*outside its folder") as no:
            read(package)
        assert "\n" not in str(no.value)
    assert {path for path in package.parent.rglob("*")} == before
    assert not list(package.parents[1].glob("evil*"))


def test_a_package_that_would_swell_is_not_opened(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "x.dlpk", "w", ZIP_DEFLATED) as zipped:
        zipped.writestr("x.safetensors", bytes(10**7))
    with pytest.raises(ModelError, match="would swell to 10000000 bytes"):
        load_card(tmp_path / "x.dlpk")


def test_a_damaged_or_foreign_package_is_refused(package: Path) -> None:
    os.truncate(package, package.stat().st_size // 2)
    with pytest.raises(ModelError, match=r"town.dlpk: a package that cannot be read \("):
        load_card(package)
    with ZipFile(package, "w") as zipped:
        zipped.writestr("esri.emd", json.dumps({"Framework": "arcgis.learn.models._inferencing"}))
    with pytest.raises(ModelError, match="is of framework 'arcgis.learn.models._inferencing'"):
        load_model(package)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: no such model; train one first"):
        load_model(tmp_path / "nowhere")


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    for module, names in {
        "pickle": ("load", "loads", "Unpickler"),
        "torch": ("load", "save"),
        "torch.serialization": ("load", "save"),
    }.items():
        for name in names:
            monkeypatch.setattr(f"{module}.{name}", refuse)
    load_model(save(tmp_path / "m"))(tiles(), 0)


# ------------------------------------------------------------------ the model a user means


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return ``./models`` of a working directory of its own, with two models: new and old."""
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("new", "old")):
        emd = save(Path("models") / name) / f"{name}.emd"
        os.utime(emd, (10**9 - age, 10**9 - age))
    return Path("models")


def test_the_model_of_the_environment_goes_before_the_newest(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model(None) == models / "new"
    monkeypatch.setenv("GEO_P2P_MODEL", "old")
    assert find_model(None) == models / "old"
    monkeypatch.setenv("GEO_P2P_MODEL", str(models.absolute() / "old"))
    assert find_model(None) == models.absolute() / "old"
    assert find_model("new") == models / "new"


def test_a_name_lies_under_models_and_a_path_is_taken_as_it_is(models: Path) -> None:
    assert find_model("old") == models / "old"
    assert find_model(models / "old") == models / "old"
    assert find_model("models/old/old.emd") == Path("models/old/old.emd")
    assert find_model("nowhere") == Path("nowhere")
    save(Path("old"))
    assert find_model("old") == Path("old")


def test_only_what_is_whole_counts_as_the_newest(models: Path) -> None:
    (models / "new/new.safetensors").unlink()
    shutil.copytree(models / "old", models / ".old.77.part")
    assert find_model(None) == models / "old"
    shutil.rmtree(models / "old")
    with pytest.raises(ModelError, match="none under ./models: give one with --model"):
        find_model(None)


# ------------------------------------------------------------------ devices


def test_devices_are_chosen_or_refused_by_name() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("cuda:77", "gpu", "cpu:x", ""):
        with pytest.raises(ModelError, match=f"device '{name}': not to be had.*try 'auto'") as no:
            choose_device(name)
        assert "\n" not in str(no.value)


def test_precision_is_fp32_unless_the_device_has_better_and_the_target_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_precision("auto", cpu, "uint8") == torch.float32
    assert choose_precision("bf16", cpu, "uint16") == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert choose_precision("auto", cuda, "uint8") == torch.bfloat16
    assert choose_precision("auto", cuda, "uint16") == torch.float32
    assert choose_precision("fp32", cuda, "uint8") == torch.float32
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert choose_precision("auto", cuda, "uint8") == torch.float32
    with pytest.raises(ModelError, match="precision 'fp16': choose one of auto, fp32, bf16"):
        choose_precision("fp16", cpu, "uint8")


def test_on_cuda_sums_do_not_depend_on_what_ran_before() -> None:
    cudnn = torch.backends.cudnn
    with exact_arithmetic(torch.device("cuda"), torch.float32):
        assert (cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == (False, True, False)
