"""Do the commands of `hil` do what they say, with the exit code that a CI can rely on?"""

from __future__ import annotations

import errno
import json
import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree

import click
import msgspec
import pytest
from click.testing import CliRunner, Result
from rover_drive_helpers import mapped_lane

from control.command_line import MoonkilnGroup, Settings
from hil_sim.harness.hil_commands import hil
from hil_sim.harness.keeping import run_and_keep
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.run_file import read_run, write_run
from hil_sim.harness.small_job import small_job
from hil_sim.harness.subjects import Subject
from hil_sim.harness.trials import Trial
from hil_sim.world.faults import FAMILIES, KINDS, FaultSchedule
from slicer.job import Job

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROOT = MoonkilnGroup("moonkiln", commands={"hil": hil}, context_settings={"obj": Settings()})


def moonkiln(*words: str | Path) -> Result:
    """The command in this process, as the console script runs it."""
    return CliRunner().invoke(ROOT, ["hil", *map(str, words)])


LATE = """
version = 1
[draw]
faults = [1, 2]
[kinds.delay]
weight = 1.0
anchors = ["at_chunk"]
args.delay_s = { one_of = [0.05, 3.0] }
"""


def late(folder: Path) -> list[str | Path]:
    """A campaign of late chunks only, under which a controller soon runs dry."""
    (folder / "late.toml").write_text(LATE, encoding="utf-8")
    return ["campaign", "motion", "-n", "20", "--generator", folder / "late.toml", "--twice-every", "1000"]


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that does not see that its controller ran dry."""
    for told in ("stood_s", "late_line_s"):
        monkeypatch.setattr(f"control.stream_host.{told}", lambda *measured: 0.0)


def test_a_good_campaign_ends_with_0_and_leaves_its_reports(tmp_path: Path) -> None:
    junit, html = tmp_path / "r.xml", tmp_path / "r.html"
    done = moonkiln("campaign", "motion", "-n", "8", "--first", "3", "--junit", junit, "--html", html)
    assert done.exit_code == 0, done.output
    assert "motion-40-bench: 8 seeds" in done.output and "run twice, each the same byte for byte" in done.output
    names = [case.get("name") for case in ElementTree.parse(junit).getroot().iter("testcase")]
    assert names == [*(f"seed {seed}" for seed in range(3, 11)), "seed 3 again"]
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.usefixtures("deaf")
def test_the_line_that_repeats_a_run_can_be_pasted_whatever_the_files_are_called(tmp_path: Path) -> None:
    folder = tmp_path / "my faults; $(id)"
    folder.mkdir()
    done = moonkiln(*late(folder), "--keep", tmp_path / "bad", "--junit", tmp_path / "r.xml")
    assert done.exit_code == 1
    cases = ElementTree.parse(tmp_path / "r.xml").getroot().iter("testcase")
    replays = [str(p.get("value")) for case in cases for p in case.iter("property") if p.get("name") == "replay"]
    whole = next(line for line in replays if "--first" in line)
    assert shlex.split(whole)[:6] == ["moonkiln", "hil", "campaign", "motion", "--generator", str(folder / "late.toml")]


@pytest.mark.usefixtures("deaf")
def test_ctrl_c_while_bad_runs_are_kept_loses_neither_reports_nor_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def twice(subject: Subject, schedule: FaultSchedule, seed: int, path: Path) -> Trial:
        calls.append(seed)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_and_keep(subject, schedule, seed, path)

    monkeypatch.setattr("hil_sim.harness.keeping.run_and_keep", twice)
    html = tmp_path / "r.html"
    done = moonkiln(*late(tmp_path), "--keep", tmp_path / "bad", "--html", html)
    assert done.exit_code == 130 and "interrupted; 1 of" in done.output, done.output
    (path,) = (tmp_path / "bad").iterdir()
    page = html.read_text(encoding="utf-8")
    assert f"moonkiln hil replay {path}" in page and f"--first {calls[1]} -n 1" in page


@pytest.mark.usefixtures("deaf")
def test_a_silent_run_ends_a_campaign_with_1_and_is_kept_replayed_and_shrunk(tmp_path: Path) -> None:
    done = moonkiln(*late(tmp_path), "--keep", tmp_path / "bad", "--json")
    assert done.exit_code == 1
    (bad, *_) = json.loads(done.stdout)["bad"]
    path = tmp_path / "bad" / f"seed-{bad['seed']}.mcap"
    assert bad["verdict"] == "SILENT" and bad["replay"] == f"moonkiln hil replay {path}"

    again = moonkiln("replay", path)
    assert again.exit_code == 0 and "SILENT: the beam stood" in again.output and "motion.to_host" in again.output
    small = moonkiln("shrink", path, "--json")
    found = json.loads(small.stdout)
    assert small.exit_code == 0 and found["verdict"] == "SILENT" and len(found["faults"]) == 1
    apart = moonkiln("diff", path, found["run"])
    assert apart.exit_code == 1 and "they part at" in apart.output
    assert moonkiln("diff", path, path).exit_code == 0


def test_a_replay_that_comes_out_otherwise_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        for told in ("stood_s", "late_line_s"):
            patched.setattr(f"control.stream_host.{told}", lambda *measured: 0.0)
        moonkiln(*late(tmp_path), "--keep", tmp_path)
    path = sorted(tmp_path.glob("*.mcap"))[0]
    done = moonkiln("replay", path)  # the host has been mended since
    assert done.exit_code == 1 and "NOT the same as it was kept" in done.output


def test_runs_that_only_ended_otherwise_differ_with_1(tmp_path: Path) -> None:
    first, second = tmp_path / "a.mcap", tmp_path / "b.mcap"
    run_and_keep(MotionSubject(vectors=4), FaultSchedule(), 0, first)
    run = read_run(first)
    assert run.about.digest is not None
    digest = msgspec.structs.replace(run.about.digest, outcome="0" * 32)
    about = msgspec.structs.replace(run.about, verdict="detected", digest=digest, whole=digest.whole)
    write_run(second, about, run.chunks, None, None)
    done = moonkiln("diff", first, second)
    assert done.exit_code == 1 and "verdict: exact and detected" in done.output, done.output
    assert "yet the runs are not the same" in done.output and "what the host said of it" in done.output
    told = json.loads(moonkiln("diff", first, second, "--json").stdout)
    assert told["alike"] is False and told["difference"] is None and told["parts"] == ["what the host said of it"]


def test_a_replay_shows_what_passed_up_to_a_time(tmp_path: Path) -> None:
    assert moonkiln("run", scenario_file(tmp_path, ""), "--runs", tmp_path, "--seed", "4").exit_code == 0
    (path,) = tmp_path.glob("*/run.mcap")
    done = moonkiln("replay", path, "--until", "5.0", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["same"] and told["chunks"] > 100 and "verdict" not in told


def test_a_scenario_is_run_judged_and_kept(tmp_path: Path) -> None:
    done = moonkiln("run", "short_feed", "--runs", tmp_path / "runs", "--junit", tmp_path / "r.xml")
    assert done.exit_code == 0 and done.output.startswith("degraded: declared: ['recoated']"), done.output
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert {"run.mcap", "outcome.json", "truth.mcap", "telemetry.mcap"} <= {path.name for path in run_dir.iterdir()}
    facts = {p.get("name"): p.get("value") for p in ElementTree.parse(tmp_path / "r.xml").getroot().iter("property")}
    assert facts["replay"] == f"moonkiln hil replay {run_dir / 'run.mcap'}" and facts["verdict"] == "degraded"


def test_a_scenario_whose_fault_never_struck_fails_unless_it_may_idle(tmp_path: Path) -> None:
    text = 'schema_version = 1\nname = "late"\ncell_xy_mm = 10.0\n[[faults]]\nkind = "short_feed"\n'
    text += 'point = "recoater.feed"\nat_event = 99\n'
    (tmp_path / "late.toml").write_text(text, encoding="utf-8")
    done = moonkiln("run", tmp_path / "late.toml", "--runs", tmp_path / "runs", "--junit", tmp_path / "r.xml")
    assert done.exit_code == 1 and done.output.startswith("exact: "), done.output
    assert 'FAILED strikes: {"kind": "short_feed"' in done.output and "it never struck: anchor it" in done.output
    (failure,) = ElementTree.parse(tmp_path / "r.xml").getroot().iter("failure")
    assert "it never struck" in str(failure.get("message"))
    (tmp_path / "may.toml").write_text(text + "may_idle = true\n", encoding="utf-8")
    done = moonkiln("run", tmp_path / "may.toml", "--runs", tmp_path / "runs", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["passed"] and len(told["never_struck"]) == 1
    assert [(e["kind"], e["held"]) for e in told["expectations"]] == [("strikes", True)]


def test_the_catalogue_is_printed_whole() -> None:
    done = moonkiln("faults")
    assert done.exit_code == 0 and done.output.endswith(f"{len(KINDS)} kinds\n")
    assert all(f"  {kind}: " in done.output for kind in KINDS)
    told = json.loads(moonkiln("faults", "stream", "--json").stdout)
    assert set(told["families"]["stream"]) == set(FAMILIES["stream"])
    assert told["families"]["stream"]["flip"]["counted"] == "at_chunk"


def test_the_schema_is_the_documents() -> None:
    assert moonkiln("schema").stdout == (DOCS / "scenario.schema.json").read_text(encoding="utf-8")


# ---- reports that cannot be written


@pytest.fixture
def judge_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **options: object) -> None:
        raise AssertionError("the campaign was begun")

    monkeypatch.setattr("hil_sim.harness.campaign.run_campaign", refuse)


@pytest.mark.usefixtures("judge_nothing")
@pytest.mark.parametrize("option", ["--html", "--junit", "--parquet"])
def test_a_report_whose_folder_is_absent_is_refused_before_anything_is_judged(option: str, tmp_path: Path) -> None:
    done = moonkiln("campaign", "motion", option, tmp_path / "absent" / "r")
    assert done.exit_code == 2 and f"{tmp_path}/absent/r: the folder {tmp_path}/absent does not exist" in done.output


@pytest.mark.usefixtures("judge_nothing")
def test_a_place_that_holds_something_else_is_refused_before_anything_is_judged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = moonkiln("campaign", "motion", "--keep", tmp_path / "file" / "bad")
    assert done.exit_code == 2 and f"{tmp_path}/file is no folder" in done.output
    done = moonkiln("campaign", "motion", "--html", tmp_path)
    assert done.exit_code == 2 and f"{tmp_path}: is a folder" in done.output


@pytest.mark.usefixtures("judge_nothing")
def test_parquet_without_pyarrow_is_refused_before_anything_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = moonkiln("campaign", "motion", "--parquet", tmp_path / "r.parquet")
    assert done.exit_code == 2 and "pip install 'moonkiln[parquet]'" in done.output


def test_a_disk_that_is_full_at_the_end_costs_neither_the_counts_nor_the_other_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*words: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hil_sim.harness.campaign_report.write_junit", full)
    words = ["campaign", "motion", "-n", "2", "--junit", tmp_path / "r.xml", "--html", tmp_path / "r.html"]
    done = moonkiln(*words)
    assert done.exit_code == 2 and "motion-40-bench: 2 seeds" in done.output
    assert f"{tmp_path}/r.xml was not written: the disk is full" in done.output and (tmp_path / "r.html").is_file()
    told = json.loads(moonkiln(*words, "--json").stdout)
    assert told["seeds"] == 2 and len(told["not_written"]) == 1


# ---- run: a scenario's own part, its expectations, its mode


def scenario_file(tmp_path: Path, text: str) -> Path:
    """A small scenario of one's own: 10 x 5 mm, one layer."""
    path = tmp_path / "mine.toml"
    head = 'schema_version = 1\nname = "mine"\ncell_xy_mm = 10.0\npart = { x_mm = 10, y_mm = 5, layers = 1 }\n'
    path.write_text(head + text, encoding="utf-8")
    return path


FAILS = """
[[expect.always]]
that = "powder.under_beam >= 95 %"

[[expect.eventually]]
that = "host.layers_done == 5"
within_s = 8.0
why = "five layers were wanted"
"""

HALTS_AT_ONCE = """
[[faults]]
kind = "short_circuit"
point = "motion.hotend"
at_s = 2.0
for_s = 3600.0

[[expect.end]]
that = 'verdict == detected and host.reason contains "halt"'
"""


def test_a_run_prints_the_scenarios_own_part_unless_a_job_is_given(tmp_path: Path) -> None:
    mine = scenario_file(tmp_path, "")
    assert moonkiln("run", mine, "--runs", tmp_path / "a").exit_code == 0
    (path,) = (tmp_path / "a").glob("*/run.mcap")
    job = read_run(path).job
    assert job is not None
    (tmp_path / "part.kiln").write_bytes(job)
    with Job.open(tmp_path / "part.kiln") as own:
        assert (own.manifest.layer_count, own.manifest.name) == (1, "plate")
    two = small_job(tmp_path, layers=2)
    told = json.loads(moonkiln("run", mine, "--job", two, "--runs", tmp_path / "b", "--json").stdout)
    about = read_run(Path(told["run"])).about
    assert about.job is not None and len(about.job.layers) == 2


def test_an_expectation_that_fails_is_told_with_its_moment_and_values_and_ends_with_1(tmp_path: Path) -> None:
    junit = tmp_path / "r.xml"
    mine = scenario_file(tmp_path, FAILS)
    done = moonkiln("run", mine, "--runs", tmp_path / "a", "--junit", junit)
    assert done.exit_code == 1 and done.output.startswith("exact: "), done.output
    held, failed = done.output.splitlines()[1:3]
    assert held.startswith("held   always: powder.under_beam >= 95 %")
    assert failed.startswith("FAILED eventually: host.layers_done == 5: not so until 8.000 s: host.layers_done was 0")
    assert failed.endswith("(five layers were wanted)")

    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert cases["seed 0"].find("failure") is None, "the oracle found nothing"
    assert cases["always: powder.under_beam >= 95 %"].find("failure") is None
    (failure,) = cases["eventually: host.layers_done == 5"].iter("failure")
    assert "not so until 8.000 s" in str(failure.get("message"))

    told = json.loads(moonkiln("run", mine, "--runs", tmp_path / "b", "--json").stdout)
    assert told["passed"] is False and [e["held"] for e in told["expectations"]] == [True, False]
    assert told["expectations"][1]["at_s"] == 8.0


def test_a_paced_run_has_the_digest_of_a_virtual_one(tmp_path: Path) -> None:
    mine = scenario_file(tmp_path, "")
    modes = [[], ["--pace", "200"], ["--mode", "paced", "--pace", "100"]]
    ran = [
        json.loads(moonkiln("run", mine, "--runs", tmp_path / str(n), "--json", *m).stdout) for n, m in enumerate(modes)
    ]
    assert [row["mode"] for row in ran] == ["virtual", "paced", "paced"]
    assert len({row["digest"] for row in ran}) == 1


@pytest.mark.real_time
def test_a_run_on_the_wire_is_kept_and_compared_at_job_level_in_virtual_time(tmp_path: Path) -> None:
    mine = scenario_file(tmp_path, HALTS_AT_ONCE)
    told = json.loads(moonkiln("run", mine, "--mode", "wire", "--runs", tmp_path / "runs", "--json").stdout)
    assert told["passed"] and told["mode"] == "wire" and "digest" not in told and told["never_struck"] == []
    assert told["late_s"] > 0.0
    path = Path(told["run"])
    kept = read_run(path)
    assert kept.about.was_on_wire and kept.chunks, "what passed on the ptys is not in it"

    again = moonkiln("replay", path)
    assert again.exit_code == 0 and "the same at the level of its job as it was kept on the wire" in again.output
    part = moonkiln("replay", path, "--until", "1.0")
    assert part.exit_code == 0 and "only whole runs can be compared" in part.output

    assert kept.about.job is not None
    other = msgspec.structs.replace(kept.about, job=msgspec.structs.replace(kept.about.job, strokes=7))
    write_run(path, other, kept.chunks, None, kept.job)
    apart = moonkiln("replay", path)
    assert apart.exit_code == 1 and "strokes is 0 and was 7" in apart.output


def test_a_rovers_scenario_drives_a_route_and_is_held_to_what_it_expects(tmp_path: Path) -> None:
    route, junit = mapped_lane(tmp_path, 4.0), tmp_path / "r.xml"
    words = ["run", "rover_tracker_hidden", "--job", route, "--runs", tmp_path / "runs"]
    done = moonkiln(*words, "--junit", junit)
    assert done.exit_code == 0 and done.output.count("held   ") == 3, done.output
    cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    assert len(cases) == 4 and all(case.find("failure") is None for case in cases)

    told = json.loads(moonkiln(*words, "--pace", "1000", "--json").stdout)
    assert told["mode"] == "paced" and told["passed"] and len(told["expectations"]) == 3


def test_a_campaign_over_a_scenario_of_the_wire_runs_in_virtual_time(tmp_path: Path) -> None:
    mine = scenario_file(tmp_path, 'mode = "wire"\n')
    done = moonkiln("campaign", mine, "-n", "1", "--keep", tmp_path / "bad", "--twice-every", "1")
    assert done.exit_code == 0 and "each the same byte for byte" in done.output, done.output


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that cannot be written is found before anything is run."""

    def run(*_: object, **__: object) -> None:
        raise AssertionError("it was run though its file could not be written")

    for name in ("keeping.tried", "shrink.tried"):
        monkeypatch.setattr(f"hil_sim.harness.{name}", run)


@pytest.mark.usefixtures("nothing_runs")
def test_files_that_cannot_be_written_are_told_of_before_anything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    done = moonkiln("run", "motion", "--junit", tmp_path / "folder", "--runs", tmp_path / "runs")
    assert done.exit_code == 2 and "folder" in done.output and not (tmp_path / "runs").exists(), done.output
    done = moonkiln("run", "motion", "--runs", "/proc/nope")
    assert done.exit_code == 2 and "nothing may be written into /proc" in done.output

    monkeypatch.undo()
    path = tmp_path / "run.mcap"
    run_and_keep(MotionSubject(vectors=4), FaultSchedule(), 0, path)
    before = path.read_bytes()
    for target, sentence in ((Path("/proc/nope/x.mcap"), "nothing may be written into /proc"), (path, "that is read")):
        done = moonkiln("shrink", path, "-o", target)
        assert done.exit_code == 2 and sentence in done.output and "exact" not in done.output, done.output
    assert path.read_bytes() == before


def test_a_verdict_is_told_though_nothing_can_be_written_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hil_sim.harness.keeping.write_run", full)
    monkeypatch.setattr("hil_sim.harness.campaign_report.write_junit", full)
    words = ["run", "motion", "--junit", tmp_path / "r.xml", "--runs", tmp_path / "runs"]
    done = moonkiln(*words)
    assert done.exit_code == 2 and done.output.startswith("exact: ") and "replay:" not in done.output, done.output
    assert done.output.count("was not written: ") == 2 and "the disk is full" in done.output
    told = json.loads(moonkiln(*words, "--json").stdout)
    assert told["verdict"] == "exact" and told["run"] is None and len(told["not_written"]) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["campaign", "motion", "--job", "part.kiln"], "motion has a program of its own"),
        (["campaign", "bench", "--cluster", "nonsense"], "--cluster nonsense: give the address of a Dask scheduler as"),
        (["campaign", "bench", "--job", "part.kiln"], "part.kiln does not exist"),
        (["campaign", "nosuch"], "there is no scenario 'nosuch'"),
        (["campaign", "motion", "--machine", "nosuch"], "nosuch"),
        (["campaign", "motion", "--generator", "nosuch.toml"], "nosuch.toml cannot be read"),
        (["replay", "nosuch.mcap"], "nosuch.mcap does not exist"),
        (["shrink", "nosuch.mcap"], "nosuch.mcap does not exist"),
        (["diff", "nosuch.mcap", "nosuch.mcap"], "nosuch.mcap does not exist"),
        (["faults", "nosuch"], "there is no family 'nosuch'"),
        (["run", "print", "--seed", "-5"], "-5 is not in the range x>=0"),
        (["run", "print", "--mode", "wire", "--pace", "2"], "only paced time has a pace"),
        (["run", "print", "--mode", "virtual", "--pace", "2"], "only paced time has a pace"),
        (["run", "motion", "--mode", "wire"], "has no wires outside virtual time"),
        (["run", "rover", "--mode", "wire", "--pace", "2"], "only paced time has a pace"),
        (["campaign", "print", "--machine", "bench_rrf"], "names its machine, bench: leave --machine"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence_and_2(words: list[str], sentence: str) -> None:
    done = moonkiln(*words)
    assert done.exit_code == 2 and sentence in done.output, done.output


@pytest.mark.parametrize("name", sorted(hil.commands))
def test_every_command_shows_an_example(name: str) -> None:
    command = hil.commands[name]
    assert isinstance(command, click.Command) and f"moonkiln hil {name}" in (command.epilog or "")
