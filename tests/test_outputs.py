"""Can a command overwrite what it reads, or a thing that is no file; does it say so before the work?"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from job_helpers import WIRE_SMALL, write_small_job

import slicer.job
import slicer.plan
from control.cli import cli
from control.commands.arguments import check_output, check_output_folder
from control.errors import UsageError
from control.machine_file import machine_path
from control.rover.ground.dem import Crs, Dem, write_npz
from control.rover.ground.survey import FILES
from slicer.bricks import rectangular, write_stl
from slicer.whole_file import whole_file


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own with a mesh, a second one, a recipe, a machine and a job in it."""
    monkeypatch.chdir(tmp_path)
    write_stl(rectangular(20, 10, 2), tmp_path / "plate.stl")
    write_stl(rectangular(5, 5, 2), tmp_path / "pin.stl")
    (tmp_path / "mine.toml").write_bytes(WIRE_SMALL.read_bytes())
    (tmp_path / "bench2.toml").write_bytes(machine_path("bench").read_bytes())
    write_small_job(tmp_path / "part.kiln")
    write_small_job(tmp_path / "x.cli.parameters.csv")
    (tmp_path / "link.kiln").symlink_to("part.kiln")
    return tmp_path


def run(*words):
    return CliRunner().invoke(cli, [*words])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SLICE = ("slice", "plate.stl", "pin.stl", "--recipe", "mine.toml", "--machine", "bench2.toml", "-o")


@pytest.mark.parametrize(
    "words",
    [
        (*SLICE, "plate.stl"),
        (*SLICE, "pin.stl"),
        (*SLICE, "./mine.toml"),
        (*SLICE, "bench2.toml"),
        ("check", "part.kiln", "-o", "part.kiln"),
        ("check", "part.kiln", "-o", "link.kiln"),
        ("check", "link.kiln", "--layer", "1", "-o", "part.kiln"),
        ("export", "part.kiln", "-o", "../" + "{here}/part.kiln"),
        ("export", "x.cli.parameters.csv", "--to", "cli", "-o", "x.cli"),
    ],
)
def test_no_command_overwrites_what_it_reads(here, words):
    before = contents(here)
    done = run(*(word.format(here=here.name) for word in words))
    assert done.exit_code == 2 and "is the file that is read; name another one" in done.stderr, done.output
    assert contents(here) == before and (here / "link.kiln").is_symlink()


def test_a_preview_drawn_over_its_job_is_refused(here):
    os.rename("part.kiln", "part.html")
    before = contents(here)
    done = run("preview", "part.html", "-o", "part.html")
    assert done.exit_code == 2 and "is the file that is read" in done.stderr and contents(here) == before


@pytest.mark.parametrize(
    "words",
    [
        (*SLICE, "no/x.kiln"),
        ("check", "part.kiln", "-o", "no/x.json"),
        ("export", "part.kiln", "-o", "no/x.gcode"),
        ("preview", "part.kiln", "-o", "no/x.html"),
        ("brick", "rectangular", "-o", "no/x.stl"),
        ("brick", "rectangular", "-o", "x.stl", "--picture", "no/x.png"),
        ("rover", "plan", "--map", "x.npz", "--from", "0,0", "--to", "1,1", "-o", "no/x.json"),
        ("report", ".", "-o", "no/x.html"),
    ],
)
def test_an_absent_folder_is_said_before_the_work(here, words, monkeypatch):
    def worked(*_args, **_kwargs):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(slicer.job.Job, "layer", worked)
    monkeypatch.setattr(slicer.plan, "plan_job", worked)
    before = contents(here)
    done = run(*words)
    assert done.exit_code == 2 and "the folder no does not exist" in done.stderr, done.output
    assert contents(here) == before


def test_a_report_is_a_page_and_no_part_of_its_run(here):
    (here / "journal.db").write_bytes(b"written ahead")
    done = run("report", ".", "-o", "journal.db")
    assert done.exit_code == 2 and "a report is written as .html" in done.stderr
    assert (here / "journal.db").read_bytes() == b"written ahead"


def test_what_comes_before_or_beside_an_input_may_be_overwritten(here):
    (here / "old.json").write_text("old")
    assert run("check", "part.kiln", "-o", "old.json").exit_code == 0
    assert (here / "old.json").read_text().startswith("{")


# ---- what is no file


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_a_pipe_is_not_replaced_by_a_file(pipe):
    (pipe.parent / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with (
            pytest.raises(OSError, match="is a device, pipe or socket and no file"),
            whole_file(pipe.parent / name) as stream,
        ):
            stream.write(b"gone")
    assert stat.S_ISFIFO(pipe.stat().st_mode) and sorted(os.listdir(pipe.parent)) == ["link", "pipe"]


def test_a_folder_is_refused_before_a_byte_is_written(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"), whole_file(tmp_path / "folder"):
        raise AssertionError("the block was entered")


def test_a_folder_that_is_not_there_is_told_of_by_the_name_that_was_given(tmp_path):
    with pytest.raises(FileNotFoundError) as failed, whole_file(tmp_path / "absent" / "page.html"):
        raise AssertionError("the block was entered")
    assert failed.value.filename == str(tmp_path / "absent" / "page.html")


def test_what_stands_behind_a_link_or_nowhere_is_written_as_before(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    for name, target in (("to_old", "old"), ("to_nothing", "nothing")):
        (tmp_path / name).symlink_to(target)
        with whole_file(tmp_path / name) as stream:
            stream.write(b"new")
        assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize("words", [SLICE, ("check", "part.kiln", "-o"), ("export", "part.kiln", "-o")])
def test_a_command_says_that_a_pipe_is_no_file(here, pipe, words):
    before = os.lstat(pipe)
    done = run(*words, str(pipe))
    assert done.exit_code == 2 and f"{pipe}: is a device, pipe or socket and no file" in done.stderr
    assert os.lstat(pipe) == before


# ---- folders


def test_a_survey_does_not_take_the_map_that_it_is_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_npz(Dem(np.zeros((10, 10), np.float32), 0.0, 0.0, 1.0, Crs("local"), "flat"), tmp_path / "flat.npz")
    assert run("rover", "survey", "flat.npz", "-o", "out").exit_code == 0
    assert set(os.listdir("out")) <= set(FILES)
    before = contents(tmp_path)
    done = run("rover", "survey", "out/slope.tif", "-o", "out")
    assert done.exit_code == 2 and "out/slope.tif is the file that is read" in done.stderr
    done = run("rover", "survey", "flat.npz", "-o", "out/index.html/sub")
    assert done.exit_code == 2 and "index.html is no folder" in done.stderr
    assert contents(tmp_path) == before
    assert run("rover", "survey", "flat.npz", "-o", ".").exit_code == 0, "its own name is none of a survey's"


def test_a_plan_does_not_take_its_map_by_another_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_npz(Dem(np.zeros((40, 40), np.float32), 0.0, 0.0, 1.0, Crs("local"), "flat"), tmp_path / "flat.npz")
    os.link("flat.npz", "flat.json")
    before = contents(tmp_path)
    for output in ("flat.json", "flat.html"):  # of a page, the route is written beside it
        done = run("rover", "plan", "--map", "flat.npz", "--from", "5,-5", "--to", "30,-30", "-o", output)
        assert done.exit_code == 2 and "flat.json is the file that is read" in done.stderr
    assert contents(tmp_path) == before


def test_names_are_no_paths_unless_they_end_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bench").write_text("a file that is called like a shipped machine")
    check_output(Path("bench"), inputs=("bench", None))
    Path("bench.toml").write_text("")
    with pytest.raises(UsageError, match="is the file that is read"):
        check_output(Path("bench.toml"), inputs=("bench.toml",))
    check_output_folder(Path("new/deep"), ("bench",), inputs=(Path("bench"),))
