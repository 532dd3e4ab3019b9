"""The frame of the command line: commands, exit codes, streams, shared options, output."""

import ast
import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest
from rasterio.transform import from_origin
from rich.console import Console
from rich.file_proxy import FileProxy

from geo_p2p.cli import options, output
from geo_p2p.cli.main import COMMANDS, main
from geo_p2p.errors import AlignmentError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Return a function that makes ``geo-p2p probe`` run a function."""

    def install(body: Callable[[], None]) -> None:
        module = ModuleType("geo_p2p.cli.probe")
        module.probe = click.command("probe")(body)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(COMMANDS, "probe", "A probe.")

    return install


def refuse() -> None:
    raise AlignmentError("b.tif: shares no ground with a.tif; check the place")


def interrupt() -> None:
    raise KeyboardInterrupt


def stumble() -> None:
    raise ZeroDivisionError("a bug")


def log() -> None:
    logger = logging.getLogger("geo_p2p.deep.inside")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logger.log(level, logging.getLevelName(level).lower())
    click.echo("result")


def test_a_refusal_is_one_line_on_stderr_and_exit_code_1(runner, command) -> None:
    command(refuse)
    ran = runner("probe", code=1)
    assert ran.stdout == ""
    assert ran.stderr == "Error: b.tif: shares no ground with a.tif; check the place\n"


@pytest.mark.parametrize(
    "arguments", [["probe", "--no-such-option"], ["no-such-command"], ["--no-such-option"]]
)
def test_wrong_usage_is_exit_code_2(runner, command, arguments) -> None:
    command(refuse)
    ran = runner(*arguments, code=2)
    assert ran.stdout == ""
    assert "No such" in ran.stderr


def test_an_interrupt_is_exit_code_130_without_traceback(runner, command) -> None:
    command(interrupt)
    assert runner("probe", code=130).stderr == "Interrupted\n"


def test_a_bug_keeps_its_traceback(runner, command) -> None:
    command(stumble)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        runner("probe")


def test_a_reader_that_leaves_early_ends_the_command_in_silence() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "geo_p2p.cli", "--help"], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert ran.returncode == 1
    assert ran.stderr == b""


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["-v"], "debug\ninfo\nWarning: warning\nError: error\n"),
        ([], "info\nWarning: warning\nError: error\n"),
        (["-q"], "Warning: warning\nError: error\n"),
        (["-q", "-q"], "Error: error\n"),
        (["-vq"], "info\nWarning: warning\nError: error\n"),
        (["-qqqqq"], ""),
    ],
)
def test_the_log_goes_to_stderr_and_the_result_to_stdout(runner, command, flags, told) -> None:
    command(log)
    ran = runner(*flags, "probe")
    assert ran.stdout == "result\n"
    assert ran.stderr == told


def test_the_log_of_a_second_run_is_not_doubled(runner, command) -> None:
    command(log)
    assert runner("probe") == runner("probe")


def test_help_lists_every_command_with_its_line(runner) -> None:
    text = " ".join(runner("--help").stdout.split())
    for name, line in COMMANDS.items():
        assert f"{name} {line}" in text


def test_the_table_lists_the_commands_that_are_there_and_no_other() -> None:
    frame = {"__init__", "__main__", "main", "options", "output", "runs"}
    modules = {path.stem for path in (ROOT / "cli").glob("*.py")} - frame
    assert {name.replace("-", "_") for name in COMMANDS} == modules
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert isinstance(command, click.Command)
        assert command.name == name


def test_siblings_are_imported_relatively() -> None:
    # As geo_p2p.cli they have one name when installed and another where mypy reads them.
    for path in (ROOT / "cli").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert not (node.module or "").startswith(("cli", "geo_p2p.cli")), path


@click.command()
@options.bidx
@options.bounds
@options.co
@options.device
@options.json
@options.overwrite
@options.seed
def echo(**values: object) -> None:
    """Say what was understood."""
    click.echo(json.dumps(values))


@pytest.mark.parametrize(
    ("arguments", "understood"),
    [
        ([], {"bidx": None, "bounds": None, "co": {}, "device": "auto", "seed": None}),
        (["--bidx", "3,1,1"], {"bidx": [3, 1, 1]}),
        (["-b", "4"], {"bidx": [4]}),
        (["--bounds", "-180 -90 180 90.5"], {"bounds": [-180, -90, 180, 90.5]}),
        (["--bounds", "[1, 2, 3e5, 4]"], {"bounds": [1, 2, 300000, 4]}),
        (["--co", "COMPRESS=ZSTD", "--co", "x=a=b"], {"co": {"compress": "ZSTD", "x": "a=b"}}),
        (["--device", "cuda:1"], {"device": "cuda:1"}),
        (["--json"], {"as_json": True, "overwrite": False}),
        (["--overwrite", "--seed", "0"], {"overwrite": True, "seed": 0}),
    ],
)
def test_a_shared_option_is_understood(runner, arguments, understood) -> None:
    values = runner(*arguments, command=echo).json()
    assert {name: values[name] for name in understood} == understood


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--bidx", "0"),
        ("--bidx", "1,,2"),
        ("--bidx", "-1"),
        ("--bidx", ""),
        ("--bidx", "red"),
        ("--bounds", "1 2 3"),
        ("--bounds", "3 2 1 4"),
        ("--bounds", "1 2 3 2"),
        ("--bounds", "1 2 nan 4"),
        ("--bounds", "1 2 inf 4"),
        ("--bounds", "west"),
        ("--co", "COMPRESS"),
        ("--co", "=ZSTD"),
        ("--device", "gpu"),
        ("--device", "cuda:"),
        ("--seed", "-1"),
    ],
)
def test_a_wrong_value_is_refused_under_the_name_of_its_option(runner, option, value) -> None:
    assert option in runner(f"{option}={value}", code=2, command=echo).stderr


RECORD = {
    "path": Path("a folder") / "out.tif",
    "psnr": np.float32(31.5),
    "ssim": float("inf"),
    "sizes": np.array([3, 4]),
    "valid": np.bool_(True),
    "scores": {"median": {"l1": 0.123456}, "translated": {"l1": 0.000012345}},
    "bands": [{"name": "red", "unit": ""}, {"name": "nir", "unit": "DN"}],
    "nodata": None,
}


def shown(runner: Callable, record: dict, *flags: str) -> str:
    command = click.command()(options.json(lambda as_json: output.show(record, as_json=as_json)))
    return runner(*flags, command=command).stdout


def test_json_is_one_object_on_one_line_that_any_parser_reads(runner) -> None:
    text = shown(runner, RECORD, "--json")
    assert text.count("\n") == 1
    assert json.loads(text, parse_constant=pytest.fail) == {
        "path": str(RECORD["path"]),
        "psnr": 31.5,
        "ssim": None,
        "sizes": [3, 4],
        "valid": True,
        "scores": RECORD["scores"],
        "bands": RECORD["bands"],
        "nodata": None,
    }


def test_json_refuses_what_it_cannot_say(runner) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        shown(runner, {"model": object()}, "--json")


def test_a_table_has_a_row_for_each_value(runner) -> None:
    rows = [
        line.split(maxsplit=1) for line in shown(runner, {"a": 1, "b": [1.0, 2.5]}).splitlines()
    ]
    assert [[label, text.rstrip()] for label, text in rows] == [["a", "1"], ["b", "1, 2.5"]]
    text = " ".join(shown(runner, RECORD).split())
    assert "scores median l1 0.1235 scores translated l1 1.23e-05" in text
    assert "bands 1 name red bands 2 name nir bands 2 unit DN nodata -" in text
    assert "psnr 31.5 ssim - sizes 3, 4 valid yes" in text


def test_a_table_cuts_nothing_short_and_reads_no_markup(runner) -> None:
    path = f"/{'long/' * 60}[bold]map[/bold].tif"
    assert path in shown(runner, {"path": path})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.0, "12"),
        (-100.0, "-100"),
        (0.0, "0"),
        (-0.00001, "-1e-05"),
        (9536743.12344, "9536743.1234"),
        (0.01, "0.01"),
        (True, "yes"),
        (1_000_000, "1000000"),
    ],
)
def test_a_number_is_written_for_people(value, text) -> None:
    assert output.text(value) == text


def bar(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich: stderr is a terminal

    def body() -> None:
        with output.progress("Predicting") as report:
            for done in range(1, 4):
                report(done, 3)
                sys.stdout.write(f"block {done}\n")
            logging.getLogger("geo_p2p").warning("slow")

    return body


def test_progress_stays_on_stderr_and_leaves_stdout_alone(runner, command, monkeypatch) -> None:
    command(bar(monkeypatch))
    ran = runner("probe")
    assert ran.stdout == "block 1\nblock 2\nblock 3\n"
    assert "Predicting" in ran.stderr
    assert "3/3" in ran.stderr
    assert "Warning: slow" in ran.stderr


def test_pixels_are_told_with_their_speed_to_which_earlier_work_adds_nothing(
    runner, command, monkeypatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")

    def body() -> None:
        with output.progress("Predicting", pixels=True) as report:
            report(10**10, 2 * 10**10)  # by an earlier run
            time.sleep(0.1)
            report(10**10 + 10**6, 2 * 10**10)
            time.sleep(0.1)
            report(10**10 + 2 * 10**6, 2 * 10**10)

    command(body)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", runner("probe").stderr)
    assert "10002.0/20000.0 Mpx" in text
    assert 1 < float(re.findall(r"([0-9.]+) Mpx/s", text)[-1]) < 30


def test_the_log_goes_through_the_progress_bar_that_is_shown(runner, command) -> None:
    lines = io.StringIO()

    def body() -> None:
        with redirect_stderr(FileProxy(Console(file=lines), sys.stderr)):
            logging.getLogger("geo_p2p").warning("slow")

    command(body)
    assert runner("probe").stderr == ""
    assert lines.getvalue() == "Warning: slow\n"


def test_quiet_shows_no_progress(runner, command, monkeypatch) -> None:
    command(bar(monkeypatch))
    assert runner("-q", "probe").stderr == "Warning: slow\n"


def test_progress_writes_nothing_where_no_terminal_reads(runner, command, monkeypatch) -> None:
    body = bar(monkeypatch)
    monkeypatch.delenv("FORCE_COLOR")
    command(body)
    assert runner("probe").stderr == "Warning: slow\n"


def test_info_tells_where_a_raster_lies_and_what_it_holds(runner, make_raster) -> None:
    path = make_raster(
        np.zeros((2, 3, 4), "float32"),
        crs="EPSG:32645",
        transform=from_origin(300_000, 4_000_000, 10, 20),
        nodata=np.nan,
        names=["red", "nir"],
    )
    record = runner("info", path, "--json").json()
    assert record == {
        "path": str(path),
        "kind": "raster",
        "width": 4,
        "height": 3,
        "crs": "EPSG:32645",
        "res": [10, 20],
        "bounds": [300_000, 3_999_940, 300_040, 4_000_000],
        "count": 2,
        "dtype": "float32",
        "nodata": "nan",
        "classes": False,
        "bands": [
            {"name": "red", "unit": "", "interp": "gray"},
            {"name": "nir", "unit": "", "interp": "undefined"},
        ],
    }
    text = runner("info", path).stdout
    assert all(part in text for part in ("EPSG:32645", "300000, 3999940, 300040, 4000000", "nir"))


def test_info_refuses_a_file_that_is_no_raster_in_one_line(runner, tmp_path) -> None:
    path = tmp_path / "notes.tif"
    path.write_text("no raster")
    for wrong in (path, tmp_path / "missing.tif"):
        ran = runner("info", wrong, code=1)
        assert ran.stdout == ""
        assert ran.stderr.startswith(f"Error: {wrong}: ")
        assert ran.stderr.count("\n") == 1
