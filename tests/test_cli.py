"""Does the command say what is wrong in one sentence, exit as documented, and lose nothing?"""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import json
import math
import os
import struct
import subprocess
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner
from job_helpers import WIRE_SMALL, write_small_job

import slicer.plan
from control.cli import COMMANDS, cli
from control.command_line import ExitCode, Progress, sentence_of
from control.errors import MoonkilnError
from firmware_bridge.errors import BridgeError
from slicer.bricks import rectangular, write_stl
from slicer.errors import SlicerError
from slicer.job import Job


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own with a plate of 20 x 10 x 2 mm in it."""
    monkeypatch.chdir(tmp_path)
    write_stl(rectangular(20, 10, 2), tmp_path / "plate.stl")
    return tmp_path


def run(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def slice_plate(*more):
    return run("slice", "plate.stl", "--recipe", WIRE_SMALL, *more)


# ---- what it does


def test_slice_info_preview_export(here):
    done = slice_plate("-o", "plate.kiln")
    assert done.exit_code == 0, done.stderr
    assert "12 triangles, 1 body, 20.00 x 10.00 x 2.00 mm, 400 mm3" in done.stdout
    assert "4 layers of 0.5 mm" in done.stdout
    told = run("info", "plate.kiln")
    assert told.exit_code == 0 and "intact" in told.stdout and "chosen for tests" in told.stdout
    for args, start in [
        (("preview", "plate.kiln", "-o", "plate.html"), b"<!doctype html>"),
        (("preview", "plate.kiln", "-o", "plate.svg", "--layer", "4"), b"<svg"),
        (("preview", "plate.kiln", "-o", "plate.png"), b"\x89PNG"),
        (("export", "plate.kiln", "--to", "gcode", "-o", "plate.gcode"), b"; plate: 4 layers"),
    ]:
        done = run(*args)
        assert done.exit_code == 0, done.stderr
        assert (here / args[args.index("-o") + 1]).read_bytes().startswith(start)


def test_json_is_one_object_and_nothing_else(here):
    sliced = json.loads(slice_plate("--json").stdout)
    assert sliced["path"] == "plate.kiln" and sliced["layer_count"] == 4
    assert sliced["mesh_report"]["triangles"] == 12 and sliced["recipe"]["power_w"] == 100.0
    told = json.loads(run("info", "plate.kiln", "--json").stdout)
    assert told["intact"] and len(told["z_mm"]) == 4 and len(told["sha256"]) == 64
    assert json.loads(run("export", "plate.kiln", "-o", "p.gcode", "--json").stdout)["lines"] > 20
    failed = run("info", "absent.kiln", "--json")
    assert json.loads(failed.stdout) == {"error": "job file absent.kiln does not exist", "exit_code": 2}


def test_info_and_preview_say_what_of_the_strategy_was_chosen(here):
    done = slice_plate("--set", "hatch_angles_deg=0,90", "--set", "tile_mm=2.5", "-o", "plate.kiln")
    assert done.exit_code == 0, done.stderr
    told = run("info", "plate.kiln").stdout
    assert "0,90 deg    chosen" in told and "2.5 mm     chosen" in told
    assert run("preview", "plate.kiln", "-o", "plate.html").exit_code == 0
    assert "0,90" in (here / "plate.html").read_text()


def test_set_and_unit_reach_the_job(here):
    done = slice_plate("--set", "power_w=120", "--set", "hatch_spacing_mm = 0.8", "--unit", "cm", "-o", "big.kiln")
    assert done.exit_code == 0, done.stderr
    with Job.open("big.kiln") as job:
        assert (job.recipe.power_w, job.recipe.hatch_spacing_mm) == (120.0, 0.8)
        assert job.manifest.bounds_mm[1][2] == 20.0


# ---- bad input: one sentence, exit 2, nothing lost


def spoil_corners(corner):
    """Run every triangle from the origin through `corner` and on: NaN, or a needle without area."""
    data = bytearray(Path("plate.stl").read_bytes())
    for triangle in range(12):
        start = 84 + 50 * triangle + 12
        struct.pack_into("<9f", data, start, 0, 0, 0, *corner, *(2 * value for value in corner))
    Path("plate.stl").write_bytes(data)


BAD = {
    "empty file": (lambda: Path("plate.stl").write_bytes(b""), (), "empty"),
    "truncated file": (lambda: Path("plate.stl").write_bytes(Path("plate.stl").read_bytes()[:300]), (), "plate.stl"),
    "not a mesh": (lambda: Path("plate.stl").write_text("dear diary"), (), "plate.stl"),
    "absent file": (lambda: Path("plate.stl").unlink(), (), "plate.stl"),
    "NaN corners": (lambda: spoil_corners([math.nan, 0, 0]), (), "finite"),
    "no area": (lambda: spoil_corners([5, 0, 0]), (), "area"),
    "too large": (lambda: write_stl(rectangular(20, 10, 120), "plate.stl"), (), "z"),
    "unknown recipe": (None, ("--recipe", "dsel_fiber"), "did you mean 'dsel_fibre'"),
    "unknown key": (None, ("--set", "scan_sped_mm_s=1"), "did you mean 'scan_speed_mm_s'"),
    "value out of range": (None, ("--set", "absorptivity=1.5"), "outside its range of 0.01 to 1"),
    "value not a number": (None, ("--set", "power_w=lots"), "is not a finite number"),
    "setting without value": (None, ("--set", "power_w"), "KEY=VALUE"),
    "too little energy": (None, ("--set", "power_w=10"), "MJ/kg is the least"),
    "too much power": (None, ("--set", "power_w=900", "--set", "contour_power_w=900"), "this machine's gives 200 W"),
    "unknown machine": (None, ("--machine", "bensh"), "bench"),
    "absent folder": (None, ("-o", "no/such/part.kiln"), "folder no/such does not exist"),
    "a folder as output": (lambda: Path("part.kiln").mkdir(), ("-o", "part.kiln"), "is a folder"),
    "output over the input": (None, ("-o", "plate.stl"), "is the file that is read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_to_slice_gets_a_sentence_and_loses_nothing(here, case):
    spoil, options, words = BAD[case]
    assert slice_plate("-o", "old.kiln").exit_code == 0
    if spoil:
        spoil()
    before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
    done = slice_plate("-o", "old.kiln", *options)  # of an option given twice, the last one holds
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()} == before


def damaged(data):
    return data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: b"", "not a job file"),
        (lambda data: data[:1000], "cut short"),
        (lambda data: b"G21\nG90\n", "not a job file"),
        (damaged, "is damaged in"),
        (lambda data: data.replace(b'"schema_version": 2', b'"schema_version": 9'), "damaged in manifest.json"),
    ],
)
@pytest.mark.parametrize("command", [("info",), ("preview", "-o", "out.html"), ("export", "-o", "out.gcode")])
def test_a_bad_job_file_gets_a_sentence_and_no_output(here, command, spoil, words):
    path = write_small_job(here / "square.kiln")
    path.write_bytes(spoil(path.read_bytes()))
    done = run(command[0], "square.kiln", *command[1:])
    assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert sorted(os.listdir(here)) == ["plate.stl", "square.kiln"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("preview", "square.kiln", "-o", "out.pdf"), "a .html page or a .svg or .png picture"),
        (("preview", "square.kiln", "-o", "out.svg", "--layer", "3"), "has 2 layers"),
        (("preview", "square.kiln", "-o", "out.html", "--layer", "2"), "a page shows all layers"),
        (("export", "square.kiln", "-o", "square.kiln"), "is the file that is read"),
        (("export", "square.kiln", "--to", "stl", "-o", "x"), "gcode"),
        (("slcie", "part.stl"), "Did you mean 'slice'?"),
        (("slice", "plate.stl"), "--recipe"),
    ],
)
def test_a_bad_request_gets_a_sentence(here, args, words):
    write_small_job(here / "square.kiln")
    done = run(*args)
    assert done.exit_code == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_a_full_disk_says_so_and_keeps_the_old_job(here, monkeypatch):
    assert slice_plate("-o", "plate.kiln").exit_code == 0
    before = Path("plate.kiln").read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = slice_plate("-o", "plate.kiln", "--set", "contours=2")
    assert done.exit_code == 2 and "the disk is full" in done.stderr
    assert Path("plate.kiln").read_bytes() == before and sorted(os.listdir(here)) == ["plate.kiln", "plate.stl"]


def test_ctrl_c_exits_130_and_leaves_nothing_half_written(here, monkeypatch):
    filled = slicer.plan.fill

    def interrupted(layer, *rest):
        if layer.index == 2:
            raise KeyboardInterrupt
        return filled(layer, *rest)

    monkeypatch.setattr(slicer.plan, "fill", interrupted)
    done = slice_plate("-o", "plate.kiln")
    assert done.exit_code == 130 and "interrupted" in done.stderr and os.listdir(here) == ["plate.stl"]


def test_a_fault_of_our_own_is_a_sentence_and_with_debug_a_traceback(here, monkeypatch):
    def broken(*_args, **_kwargs):
        raise TypeError("no such thing")

    monkeypatch.setattr(slicer.plan, "plan_job", broken)
    done = slice_plate()
    assert done.exit_code == 1 and "fault of moonkiln itself: TypeError: no such thing" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("--debug", "slice", "plate.stl", "--recipe", WIRE_SMALL)
    assert done.exit_code == 1 and "Traceback" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MoonkilnError("x"), 1),
        (MoonkilnError("x", 4), 4),
        (SlicerError("x"), 2),
        (BridgeError("x"), 3),
        (PermissionError(errno.EACCES, "Permission denied", "part.kiln"), 2),
        (KeyboardInterrupt(), 130),
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), 1),
        (MemoryError(), 1),
    ],
)
def test_every_family_of_errors_has_its_exit_code(error, code):
    sentence, found = sentence_of(error)
    assert found == code and sentence


def test_the_exit_codes_are_written_down():
    page = (Path(__file__).parent.parent / "docs" / "exit-codes.md").read_text()
    for code in ExitCode:
        assert f"| {code.value} |" in page, f"docs/exit-codes.md does not explain {code.value} ({code.name})"


# ---- the command itself


def test_help_loads_nothing_heavy():
    script = (
        "import sys\nfrom control.cli import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'numpy', 'cv2', 'numba', 'rich', 'msgspec', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("slice", "info", "preview", "export", "completion"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_shows_an_example(name):
    done = run(name, "--help")
    assert done.exit_code == 0, done.stderr
    assert f"moonkiln {name}" in done.stdout.partition("Example")[2], f"{name} --help has no example"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["hil", "faults", "--json"], ["hil", "faults"]], ids=" ".join)
def test_a_full_standard_output_is_a_sentence(words):
    with open("/dev/full", "w") as full:
        program = [sys.executable, "-c", "from control.cli import main; main()", *words]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert done.returncode == 2 and "the disk is full" in done.stderr and "Traceback" not in done.stderr


def test_version():
    assert run("--version").stdout == f"moonkiln, version {importlib.metadata.version('moonkiln')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell):
    done = run("completion", shell)
    assert done.exit_code == 0 and "_MOONKILN_COMPLETE" in done.stdout


def test_completion_knows_commands_and_options():
    words = {"COMP_WORDS": "moonkiln sli", "COMP_CWORD": "1", "_MOONKILN_COMPLETE": "bash_complete"}
    done = CliRunner().invoke(cli, [], env=words, prog_name="moonkiln")
    assert done.stdout.split() == ["plain,slice"]


def plug_in(monkeypatch, name, value):
    point = importlib.metadata.EntryPoint(name, value, "moonkiln.commands")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [point])


def test_another_package_adds_a_command(monkeypatch):
    import click

    module = types.ModuleType("kiln_extra")
    module.__spec__ = importlib.util.spec_from_loader("kiln_extra", None)
    module.greet = click.command()(lambda: click.echo("hello"))
    monkeypatch.setitem(sys.modules, "kiln_extra", module)
    plug_in(monkeypatch, "greet", "kiln_extra:greet")
    assert "greet" in run("--help").stdout and run("greet").stdout == "hello\n"


def test_without_the_simulator_its_commands_are_gone_and_the_others_work(here, monkeypatch):
    plug_in(monkeypatch, "sim", "a_package_that_is_not_here.commands:sim")
    assert "sim " not in run("--help").stdout
    assert run("sim").exit_code == 2 and slice_plate().exit_code == 0


# ---- progress


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys):
    now = iter([0.0, 1.0, 9.9, 10.0, 11.0, 12.0])
    with Progress("printing", clock=lambda: next(now), every_s=10.0) as progress:
        for done in range(1, 7):
            progress.update(done, 6, f"layer {done}")
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "printing: 17%, 1 of 6, layer 1",
        "printing: 67%, 4 of 6, layer 4",
        "printing: 100%, 6 of 6, layer 6",
    ]
    with Progress("slicing") as progress:
        for done in range(1, 1001):
            progress.update(done, 1000)
    assert len(capsys.readouterr().err.splitlines()) == 10
    with Progress("slicing", quiet=True) as progress:
        progress.update(1, 1)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_draws_a_bar(monkeypatch):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("slicing") as progress:
        progress.update(3, 4, "layer 3")
    assert "75%" in terminal.getvalue() and "layer 3" in terminal.getvalue()
