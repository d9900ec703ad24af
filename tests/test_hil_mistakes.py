"""What a user gets wrong is told as such: a sentence, exit code 2, no verdict, no folder, and no long wait."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner, Result
from mcap.writer import Writer

from control.command_line import MoonkilnGroup, Settings
from control.errors import MoonkilnError
from control.machine_file import machine_path
from hil_sim.harness.generator import SHIPPED
from hil_sim.harness.hil_commands import hil
from hil_sim.harness.run_file import About, RunFileError, read_run, write_run
from hil_sim.harness.scenario import Scenario, ScenarioError, load_scenario
from hil_sim.harness.small_job import small_job
from hil_sim.harness.small_route import ROUTE_NAME, packed_route
from hil_sim.harness.subjects import PrintSubject, SubjectError
from hil_sim.harness.trials import CRASHED, tried
from hil_sim.world.faults import FaultSchedule
from hil_sim.world.plant.bed_setup import BedConfig
from slicer.errors import SlicerError

MAGIC = b"\x89MCAP0\r\n"
ROOT = MoonkilnGroup("moonkiln", commands={"hil": hil}, context_settings={"obj": Settings()})


def moonkiln(*words: str | Path) -> Result:
    """The command in this process, as the console script runs it."""
    return CliRunner().invoke(ROOT, ["hil", *map(str, words)])


@pytest.fixture
def no_job(tmp_path: Path) -> Path:
    path = tmp_path / "part.kiln"
    path.write_bytes(b"not a job")
    return path


def scenario(folder: Path, text: str = "", name: str = "s") -> Path:
    path = folder / "s.toml"
    path.write_text(f'schema_version = 1\nname = "{name}"\n{text}\n')
    return path


def assert_usage(done: Result, sentence: str) -> None:
    assert done.exit_code == 2, done.output
    assert sentence in done.output
    assert not any(word in done.output for word in ("Traceback", "CRASHED", "replay:", "fault of moonkiln itself"))


def test_a_job_that_is_none_is_no_crash_and_leaves_no_folder(no_job: Path, tmp_path: Path) -> None:
    assert_usage(moonkiln("run", "print", "--job", no_job, "--runs", tmp_path / "runs"), "part.kiln")
    assert not (tmp_path / "runs").exists()


def test_a_folder_of_other_runs_stays(no_job: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "other").mkdir(parents=True)
    moonkiln("run", "print", "--job", no_job, "--runs", tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("run", "s.toml"),
        ("run", "world.toml"),
        ("campaign", "s.toml"),
        ("campaign", "part.kiln"),
        ("campaign", "machine.toml"),
        ("campaign", "generator.toml"),
    ],
)
def test_a_report_does_not_take_the_place_of_a_file_that_is_read(
    command: str, name: str, tmp_path: Path, no_job: Path
) -> None:
    (tmp_path / "machine.toml").write_bytes(machine_path("bench").read_bytes())
    (tmp_path / "world.toml").write_bytes((SHIPPED.parents[1] / "world" / "machines" / "bench.toml").read_bytes())
    (tmp_path / "generator.toml").write_bytes(SHIPPED.read_bytes())
    path = scenario(tmp_path, f'machine = "{tmp_path}/machine.toml"\nworld = "{tmp_path}/world.toml"')
    before = (tmp_path / name).read_bytes()
    own = {"run": ["--runs", tmp_path / "runs"], "campaign": ["--generator", tmp_path / "generator.toml"]}[command]
    done = moonkiln(command, path, "--job", no_job, "--junit", tmp_path / "." / name, *own)
    assert_usage(done, f"{name} is the file that is read")
    assert (tmp_path / name).read_bytes() == before and not (tmp_path / "runs").exists()


def test_a_scenario_is_not_overwritten_by_its_own_report(tmp_path: Path) -> None:
    path = scenario(tmp_path, "cell_xy_mm = 10.0\npart = { x_mm = 10, y_mm = 5, layers = 1 }")
    before = path.read_bytes()
    done = moonkiln("run", path, "--junit", path, "--runs", tmp_path / "runs")
    assert path.read_bytes() == before, "the report is there instead"
    assert_usage(done, "s.toml is the file that is read")


def test_two_reports_of_one_place_are_refused_before_one_is_lost(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    words = ["--junit", tmp_path / "same", "--html", tmp_path / "folder" / ".." / "same"]
    done = moonkiln("campaign", "motion", "-n", "1", *words)
    assert_usage(done, "--junit and --html both name")
    assert not (tmp_path / "same").exists()


@pytest.mark.parametrize("words", [["-n", "99999999999999999999"], ["-n", "2", "--first", "9223372036854775807"]])
def test_more_seeds_than_anybody_can_judge_are_refused(words: list[str]) -> None:
    assert_usage(moonkiln("campaign", "motion", *words), "is not in the range")


def test_a_campaign_of_a_job_that_is_none_is_refused(no_job: Path) -> None:
    assert_usage(moonkiln("campaign", "bench", "--job", no_job, "-n", "2"), "part.kiln")


@pytest.mark.parametrize(
    "text, sentence",
    [
        ('machine = "nomachine"', "nomachine"),
        ('world = "noworld"', "there is no emulated machine 'noworld'"),
        ("cell_xy_mm = 1e-9", "cell_xy_mm"),
        ("cell_xy_mm = nan", "cell_xy_mm"),
        ("[bed]\ncell_xy_mm = 0.1\ncell_z_mm = 0.01", "give wider cells"),
        ('[bed]\nmaterial = "cheese"', "material 'cheese' is unknown"),
        ('fit_bed_to_job = false\n[bed]\natmosphere = "soup"', "atmosphere 'soup' is unknown"),
        ("sim_s_max = inf", "sim_s_max"),
        ("sim_s_max = 1e300", "sim_s_max"),
        ("sim_s_max = nan", "sim_s_max"),
        ('mode = "paced"\npace = inf', "pace"),
        ("[random]\ncount = [1, 1000000000]", "count"),
        ("[part]\nx_mm = 1e9", "x_mm"),
        ("[part]\nlayers = 1000000", "layers"),
        ('[[faults]]\nkind = "dropp"\npoint = "motion.to_device"', "'dropp' is no known fault"),
    ],
)
def test_a_scenario_that_cannot_be_run_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = scenario(tmp_path, text)
    assert_usage(moonkiln("run", path, "--runs", tmp_path / "runs"), sentence)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["../../etc", "a/b", "two\\nlines", "back\\\\slash", "", "x" * 101, "\\u001b[2J"])
def test_a_name_is_one_line_and_leads_into_no_other_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="name"):
        load_scenario(scenario(tmp_path, name=name))


def test_cells_that_no_computer_holds_are_counted_before_they_are_made() -> None:
    assert BedConfig().cells == pytest.approx(40 * 30 * 15)
    with pytest.raises(ValueError, match="give wider cells"):
        BedConfig(cell_xy_mm=0.01)


def test_only_what_fails_before_a_word_is_said_is_the_callers_mistake(no_job: Path) -> None:
    given = PrintSubject(Scenario(schema_version=1, name="s"), str(no_job))
    with pytest.raises(SlicerError):
        tried(given, FaultSchedule(), 0)
    nowhere = PrintSubject(Scenario(schema_version=1, name="s", machine="no"), str(small_job(no_job.parent)))
    with pytest.raises(MoonkilnError):
        tried(nowhere, FaultSchedule(), 0)

    class Says(PrintSubject, frozen=True):
        def run(self, schedule, seed, *, heard=None, **options):  # type: ignore[no-untyped-def,override]
            heard.tap(0.0, "motion.to_host", b"start")
            raise SlicerError("the host's own")

    assert tried(Says(given.scenario, given.job_path), FaultSchedule(), 0).verdict == CRASHED


# ---- numbers of the command line


@pytest.mark.parametrize("option", ["--pace", "--until"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "soon"])
def test_a_clock_takes_no_nan_and_no_infinity(option: str, value: str, tmp_path: Path) -> None:
    done = moonkiln("replay", tmp_path / "run.mcap", f"{option}={value}")
    assert done.exit_code == 2 and option in done.output and "Traceback" not in done.output


# ---- packed routes of somebody else


def _zip(members: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A packed folder, the same bytes whenever it is made: a ZipInfo is of 1980, a bare name would be of now."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        for name, data in members.items():
            packed.writestr(zipfile.ZipInfo(name), data, packing)
    return stream.getvalue()


def _lying(data: bytes, size: int, says: int) -> bytes:
    """The same file, with another size where it tells how large a member is when unpacked."""
    assert data.count(size.to_bytes(4, "little")) == 2
    return data.replace(size.to_bytes(4, "little"), says.to_bytes(4, "little"))


NO_ROUTES = {
    "empty": (b"", "not a zip"),
    "no zip": (b"garbage", "not a zip"),
    "torn": (_zip({ROUTE_NAME: b"{}"})[:-30], "not a zip"),
    "too many members": (_zip({ROUTE_NAME: b"{}", "a": b"", "b": b"", "c": b""}), "too large, or holds more"),
    "not UTF-8": (_zip({ROUTE_NAME: b"\xff"}), "no route that can be read"),
    "a parent's name": (_zip({"..": b"{}", ROUTE_NAME: b"{}"}), "it holds no route.json"),
    "no route in it": (_zip({"other.json": b"{}"}), "it holds no route.json"),
    "said to be 2 GiB": (_lying(_zip({ROUTE_NAME: b" " * 70_001}), 70_001, 2**31), "too large, or holds more"),
    "larger than said": (_lying(_zip({ROUTE_NAME: b" " * 70_001}), 70_001, 17), "Bad CRC"),
    "unknown packing": (
        _zip({ROUTE_NAME: b"{}"}).replace(b"\x08\x00\x00\x00", b"\x63\x00\x00\x00"),
        "compression method",
    ),
    "encrypted": (_zip({ROUTE_NAME: b"{}"}).replace(b"\x14\x00\x00\x00", b"\x14\x00\x01\x00"), "encrypted"),
}


@pytest.mark.parametrize(("data", "why"), NO_ROUTES.values(), ids=NO_ROUTES)
def test_a_packed_route_that_is_none_is_refused_in_a_sentence(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "route.zip"
    path.write_bytes(data)
    with pytest.raises(SubjectError, match=f"route.*{why}"):
        packed_route(path)


# ---- run files of somebody else


def _with_chunk(path: Path, packing: str, packed: bytes, size: int) -> None:
    """An MCAP whose one chunk says that it is so packed, and so large when unpacked."""
    text = packing.encode()
    body = (
        struct.pack("<QQQI", 0, 0, size, 0)
        + struct.pack("<I", len(text))
        + text
        + struct.pack("<Q", len(packed))
        + packed
    )
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.start(profile="moonkiln", library="moonkiln")
    writer.finish()
    data = stream.getvalue()
    header_end = len(MAGIC) + 9 + struct.unpack_from("<Q", data, len(MAGIC) + 1)[0]
    path.write_bytes(data[:header_end] + b"\x06" + struct.pack("<Q", len(body)) + body + data[header_end:])


@pytest.mark.parametrize(
    "packing, packed, size, sentence",
    [
        ("zstd", zstandard.compress(b"x"), 2**40, "GB when it is unpacked"),
        ("lz4", b"x", 1, "is packed by lz4"),
    ],
)
def test_a_run_file_is_not_unpacked_beyond_all_bounds(
    packing: str, packed: bytes, size: int, sentence: str, tmp_path: Path
) -> None:
    _with_chunk(tmp_path / "run.mcap", packing, packed, size)
    assert_usage(moonkiln("replay", tmp_path / "run.mcap"), sentence)


def test_a_bomb_that_lies_about_its_size_is_found_by_what_its_packing_says(tmp_path: Path) -> None:
    head = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + (2**42).to_bytes(8, "little")  # a frame of zstd: content size, 8 bytes
    _with_chunk(tmp_path / "run.mcap", "zstd", head + b"\x01\x00\x00", 10)
    assert_usage(moonkiln("replay", tmp_path / "run.mcap"), "GB when it is unpacked")


def test_another_job_than_the_one_that_was_run_is_refused(tmp_path: Path) -> None:
    said = About({}, 0, [], "exact", [], "", None, "0", "3.11")
    path = tmp_path / "run.mcap"
    write_run(path, said, [], None, b"the job")
    assert read_run(path).job == b"the job"
    path.write_bytes(path.read_bytes().replace(b"the job", b"the jab"))
    with pytest.raises(RunFileError, match="not the one that was run"):
        read_run(path)


@pytest.mark.parametrize("command", ["replay", "shrink", "diff"])
@pytest.mark.parametrize("data", [b"", b"garbage" * 99, MAGIC, MAGIC * 2])
def test_a_file_that_is_no_run_is_a_usage_error_of_every_command(command: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    path.write_bytes(data)
    assert_usage(moonkiln(command, *[path] * (2 if command == "diff" else 1)), "run.mcap")


def test_a_folder_is_no_run_file(tmp_path: Path) -> None:
    assert_usage(moonkiln("replay", tmp_path), "is a folder: name the .mcap in it")


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("absent.toml", None, "absent.toml does not exist: give a .toml file that does"),
        ("short_fed", None, "there is no scenario 'short_fed' (did you mean 'short_feed'?)"),
        ("s.toml", b"\xff\xfe\x00", "it is no text (byte 0 is no UTF-8): give a TOML file"),
        ("s.toml", b"garbage = [", "it is no TOML: "),
        ("s.toml", b"", "missing required field `schema_version`: write it"),
    ],
)
def test_what_is_no_scenario_is_told_with_what_to_do(
    name: str, data: bytes | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if data is not None:
        Path(name).write_bytes(data)
    assert_usage(moonkiln("run", name), sentence)


@pytest.mark.parametrize(
    "old, new",
    [
        ("weight = 3.0", "weight = inf"),
        ("weight = 3.0", "weight = nan"),
        ("weight = 3.0", "weight = 1e308"),
        ("for_s = [0.2, 5.0]", "for_s = [0.2, inf]"),
        ("for_s = [0.2, 5.0]", "for_s = [nan, 5.0]"),
        ("for_s = [0.2, 5.0]", "for_s = [0.2, 1e300]"),
        ("count = [1, 3]", "count = [1, 1000000000000000000000]"),
        ("faults = [1, 1, 2, 3, 4]", "faults = [1000000]"),
        ('"motion.*" = 2.0', '"motion.*" = inf'),
        ('"motion.*" = 2.0', '"motion.*" = nan'),
    ],
)
def test_a_generator_of_absurd_numbers_is_refused(old: str, new: str, tmp_path: Path) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "g.toml").write_text(text.replace(old, new, 1))
    done = moonkiln("campaign", "motion", "-n", "1", "--generator", tmp_path / "g.toml")
    assert_usage(done, "g.toml")
