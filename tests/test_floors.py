"""The house: which module may know of which.

``FLOORS`` and ``ONLY_IN`` are the law; what follows reads the sources and compares. Every
import counts, also one inside a function or for the type checker alone. A new module gets its
floor here first.
"""

import ast
import re
import resource
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import geo_p2p

ROOT = Path(__file__).resolve().parents[1]

# Arrows point down only. Rooms on one floor do not know each other; the modules of one room
# (a package) may, without cycles.
FLOORS = [
    {"errors", "version"},
    {"grid"},
    {"raster", "card", "metrics", "processes", "scatter"},
    {"chips", "networks", "losses", "scene", "report", "device"},
    {"data", "model_file", "predict", "evaluate", "baselines"},
    {"translate", "seams"},
    {"pix2pix"},
    {"demo"},
    {"cli"},
]

# What is heavy or has one home, and the rooms that may use it.
ONLY_IN = {
    "torch": {
        *("processes", "networks", "losses", "device", "data", "model_file", "pix2pix"),
        "translate",
    },
    "torchvision": {"networks"},
    "fastai": {"data", "pix2pix"},
    "matplotlib": {"report"},
    "click": {"cli"},
    "distributed": {"scatter"},
    "rasterio.open": {"raster"},
    "rasterio.vrt": {"raster"},
    "importlib.import_module": {"cli"},  # an import by name would hide from this test
}

LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


class Source(NamedTuple):
    """The text of one module, and the package that its relative imports start from."""

    text: str
    package: str


def house() -> dict[str, Source]:
    """Return every module of the library and of the command line by its name."""
    found = {}
    for name, folder in {"geo_p2p": ROOT / "geo_p2p", "geo_p2p.cli": ROOT / "cli"}.items():
        for path in sorted(folder.rglob("*.py")):
            package = ".".join([name, *path.relative_to(folder).parts[:-1]])
            module = package if path.stem == "__init__" else f"{package}.{path.stem}"
            found[module] = Source(path.read_text(encoding="utf-8"), package)
    return found


def imports(source: Source) -> list[tuple[str, str, str]]:
    """Return (local name, what it is bound to, what is loaded) of every import."""
    found = []
    for node in ast.walk(ast.parse(source.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.name if alias.asname else alias.name.split(".")[0]
                found.append((alias.asname or bound, bound, alias.name))
        elif isinstance(node, ast.ImportFrom):
            start = source.package.rsplit(".", node.level - 1)[0] if node.level else ""
            home = ".".join(part for part in (start, node.module) if part)
            for alias in node.names:
                dotted = f"{home}.{alias.name}"
                found.append((alias.asname or alias.name, dotted, dotted))
    return found


def uses(source: Source) -> set[str]:
    """Return the dotted names that a module loads, or reaches through what it loads.

    A public name taken from the root counts as taken from its home.
    """
    loaded = imports(source)
    bound = {local: dotted for local, dotted, _ in loaded}
    names = {dotted for _, _, dotted in loaded}
    for node in ast.walk(ast.parse(source.text)):
        head, _, rest = ast.unparse(node).partition(".") if is_chain(node) else ("", "", "")
        if head in bound:
            names.add(f"{bound[head]}.{rest}")
    homes = {f"geo_p2p.{name}": f"{home}.{name}" for name, home in geo_p2p._HOMES.items()}
    return {homes.get(name, name) for name in names}


def is_chain(node: ast.AST) -> bool:
    """Tell whether a node is ``name.attribute.attribute``."""
    while isinstance(node, ast.Attribute):
        node = node.value
        if isinstance(node, ast.Name):
            return True
    return False


def room(module: str) -> str:
    """Return the part of a dotted name that the table knows; "" is the root."""
    return module.split(".")[1] if module.startswith("geo_p2p.") else ""


def offences(modules: Mapping[str, Source]) -> list[str]:
    """Return one line for each use that the two tables forbid."""
    found = []
    for module, source in modules.items():
        here = room(module)
        for name in sorted(uses(source)) if here else ():
            there = room(name)
            if there in LEVEL and there != here and LEVEL[there] >= LEVEL[here]:
                found.append(f"{module} must not know {name}")
            for guarded, rooms in ONLY_IN.items():
                if f"{name}.".startswith(f"{guarded}.") and here not in rooms:
                    found.append(f"{module} must not use {name}")
    return found


def cycle(modules: Mapping[str, Source]) -> list[str]:
    """Return a cycle of imports between modules, or nothing."""
    graph = {module: nearest(module, source, modules) for module, source in modules.items()}
    graph.pop("geo_p2p", None)  # the root loads its names when they are asked for
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def nearest(module: str, source: Source, modules: Mapping[str, Source]) -> set[str]:
    """Return the modules in which the names lie that a module uses."""
    found = set()
    for name in uses(source):
        while name and name not in modules:
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {"", "geo_p2p", module}


def test_every_module_has_a_floor() -> None:
    assert {room(module) for module in house()} - {""} <= LEVEL.keys()


def test_arrows_point_down_and_heavy_packages_stay_in_their_rooms() -> None:
    assert offences(house()) == []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert cycle(house()) == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("grid", "import geo_p2p.raster"),
        ("grid", "from geo_p2p.raster import Frame"),
        ("grid", "from geo_p2p import raster"),
        ("grid", "from geo_p2p import Frame"),
        ("grid", "from .raster import Frame"),
        ("grid", "def late():\n    from geo_p2p import card"),
        ("grid", "if TYPE_CHECKING:\n    from geo_p2p.card import Scaling"),
        ("card", "from geo_p2p.metrics import psnr"),
        ("predict", "import geo_p2p\nrun = geo_p2p.pix2pix.Pix2Pix"),
        ("predict", "import torch.nn as nn"),
        ("chips", "def late():\n    import torch"),
        ("predict", "def late():\n    import distributed"),
        ("cli", "from fastai.learner import Learner"),
        ("chips", "import rasterio\nwith rasterio.open(path) as src: ..."),
        ("chips", "import rasterio as rio\nsrc = rio.open(path)"),
        ("chips", "from rasterio import open as read"),
        ("demo", "from importlib import import_module"),
    ],
)
def test_the_checker_sees_an_arrow_that_points_up(module: str, text: str) -> None:
    assert offences({f"geo_p2p.{module}": Source(text, "geo_p2p")})


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("raster", "import rasterio\nsrc = rasterio.open(path)"),
        ("grid", "from rasterio.windows import Window\nfrom .errors import GridError"),
        ("card", "from geo_p2p import __version__"),
        ("card", "torch = {}\ntorch.get(1)"),
        ("cli", "from geo_p2p import Pix2Pix, raster"),
    ],
)
def test_the_checker_lets_an_arrow_pass_that_points_down(module: str, text: str) -> None:
    assert offences({f"geo_p2p.{module}": Source(text, "geo_p2p")}) == []


def test_the_checker_sees_a_cycle_inside_a_room() -> None:
    modules = {
        "geo_p2p.raster": Source("from .source import RasterSource", "geo_p2p.raster"),
        "geo_p2p.raster.source": Source("from .frame import Frame", "geo_p2p.raster"),
        "geo_p2p.raster.frame": Source("class Frame: ...", "geo_p2p.raster"),
    }
    assert cycle(modules) == []
    for back in ("from . import source", "def f():\n    from geo_p2p.raster import x"):
        assert cycle({**modules, "geo_p2p.raster.frame": Source(back, "geo_p2p.raster")})


def test_contributors_read_the_same_table() -> None:
    rows = re.findall(r"^\| \d? ?\| (.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert [set(re.findall(r"`(\w+)`", rooms)) for rooms in rows] == FLOORS


def test_every_package_of_the_house_is_shipped() -> None:
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    (shipped,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES"
    )
    assert shipped == sorted({source.package for source in house().values()})


LIGHT = """
import sys
from contextlib import suppress
{statement}
print(*sorted({{"torch", "fastai", "matplotlib"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import geo_p2p",
        "from geo_p2p.cli.main import main\nwith suppress(SystemExit): main(['--help'])",
    ],
    ids=["import geo_p2p", "geo-p2p --help"],
)
def test_a_light_start_loads_nothing_heavy(statement: str) -> None:
    code = LIGHT.format(statement=statement)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == ""


def test_help_takes_less_than_a_quarter_of_a_second_of_cpu() -> None:
    assert min(cpu_seconds("-m", "geo_p2p.cli", "--help") for _ in range(3)) < 0.25


def cpu_seconds(*arguments: str) -> float:
    """Return the user and system time of a fresh interpreter, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_translating_loads_no_library_that_only_scoring_needs() -> None:
    """A third of a second of each command, of the four that a small raster may take."""
    check = (
        "import sys, geo_p2p.translate\n"
        "print(*sorted({'fastai', 'matplotlib', 'scipy', 'sklearn'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == []
