"""A host of the user's under `moonkiln hil run`, `campaign`, `replay` and `shrink`: is it the one that is judged?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench_helpers import slice_plate
from click.testing import CliRunner, Result

from control.cli import cli
from control.host import Outcome, Status, print_host
from hil_sim.harness import blocked
from hil_sim.harness.drive_subject import rover_subject
from hil_sim.harness.hil_case import CaseSettings, HilCase
from hil_sim.harness.small_job import bench_subject

pytestmark = pytest.mark.timeout(400)  # the first print of a fresh checkout waits for its kernels to be compiled

HOSTS = """
import asyncio
import time
import msgspec
from control.host import Status, drive_host, print_host


async def print_part(job, machine_toml, run_dir):
    (run_dir / "mine").write_text("was here")
    return await print_host(job, machine_toml, run_dir)


async def liar(job, machine_toml, run_dir):
    outcome = await print_host(job, machine_toml, run_dir / "own")
    (run_dir / "own" / "outcome.json").unlink()
    return msgspec.structs.replace(outcome, status=Status.DONE, exit_code=0)


async def idler(job, machine_toml, run_dir):
    return None


async def sleeper(job, machine_toml, run_dir):
    await asyncio.sleep(60)


async def short(job, machine_toml, run_dir):
    await asyncio.sleep(1.0)


async def leaver(job, machine_toml, run_dir):
    raise SystemExit(0)


def called_leaver(job, machine_toml, run_dir):
    raise SystemExit(0)


async def leaving_task(job, machine_toml, run_dir):
    async def leave():
        raise SystemExit(0)

    task = asyncio.create_task(leave())
    await asyncio.sleep(5)


async def leaving_callback(job, machine_toml, run_dir):
    asyncio.get_running_loop().call_later(1.0, exit, 0)
    await asyncio.sleep(5)


async def canceller(job, machine_toml, run_dir):
    task = asyncio.ensure_future(asyncio.sleep(9))
    task.cancel()
    await task


async def wordless(job, machine_toml, run_dir):
    outcome = await print_host(job, machine_toml, run_dir)
    if outcome.exit_code == 0:
        return outcome
    for path in run_dir.rglob("outcome.json"):
        path.unlink()


async def waiter(job, machine_toml, run_dir):
    await asyncio.Event().wait()


async def spinner(job, machine_toml, run_dir):
    while True:
        await asyncio.sleep(0)


async def garbler(job, machine_toml, run_dir):
    raise ValueError(f"it answered {bytes([0xd8, 0x00, 0xff]).decode('utf-8', 'surrogateescape')!s}")


async def garbled(job, machine_toml, run_dir):
    outcome = await print_host(job, machine_toml, run_dir / "own")
    (run_dir / "own" / "outcome.json").unlink()
    return msgspec.structs.replace(outcome, reason="\\ud800")


async def blocker(job, machine_toml, run_dir):
    await asyncio.sleep(1.0)
    time.sleep(3600.0)


async def blocking_task(job, machine_toml, run_dir):
    async def poll():
        while not (run_dir / "never").exists():
            pass

    await asyncio.create_task(poll())


async def debugged(job, machine_toml, run_dir):
    exec("import time; time.sleep(0.5)", {"__name__": "pdb"})


def called_blocker(job, machine_toml, run_dir):
    time.sleep(3600.0)


async def breaker(job, machine_toml, run_dir):
    raise ValueError("no filament")


def plain(job, machine_toml, run_dir):
    return None


class Printer:
    @staticmethod
    async def part(job, machine_toml, run_dir):
        return await print_part(job, machine_toml, run_dir)


async def drive(route, machine_toml, run_dir):
    (run_dir / "mine").write_text("was here")
    return await drive_host(route, machine_toml, run_dir, hold_s_max=20.0)
"""
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
SMALL = """
schema_version = 1
name = "small"
cell_xy_mm = 10.0
part = { x_mm = 10, y_mm = 5, layers = 1 }
"""
KILLED = f"""{SMALL}

[[faults]]
kind = "crash"
point = "host.journal"
at_event = 12
args = {{ back_after_s = 1.0 }}
"""
AT_ONCE = """
[[faults]]
kind = "{kind}"
point = "{point}"
at_s = 0.0
for_s = 3.0
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands: the hosts' module lies there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "lab_hosts.py").write_text(HOSTS)
    yield tmp_path
    sys.modules.pop("lab_hosts", None)


def hil(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["hil", *map(str, words)])


def test_a_campaign_judges_it_in_other_processes_too(folder: Path) -> None:
    words = ["campaign", "bench", "-n", "2", "--json"]
    mine = hil(*words, "--host", "lab_hosts:print_part", "-j", "2", "--keep", folder / "bad")
    assert mine.exit_code == 0, mine.output
    assert json.loads(mine.stdout)["verdicts"] == json.loads(hil(*words).stdout)["verdicts"]


def test_one_that_lies_is_found_kept_repeated_and_made_smaller(folder: Path) -> None:
    done = hil("campaign", "bench", "--host", "lab_hosts:liar", "-n", "3", "--keep", folder / "bad", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and {one["verdict"] for one in told["bad"]} == {"SILENT"}, told
    run = folder / "bad" / f"seed-{told['bad'][0]['seed']}.mcap"

    again = hil("replay", run, "--host", "lab_hosts:liar", "--json")
    assert again.exit_code == 0 and json.loads(again.stdout)["verdict"] == "SILENT"
    mended = hil("replay", run, "--host", "lab_hosts:Printer.part", "--json")
    assert mended.exit_code == 1 and json.loads(mended.stdout)["verdict"] == "detected"
    small = hil("shrink", run, "--host", "lab_hosts:liar", "--runs", "12", "--json")
    assert small.exit_code == 0 and json.loads(small.stdout)["verdict"] == "SILENT"


def test_the_lines_that_repeat_a_run_name_it(folder: Path) -> None:
    words = "campaign", "bench", "--host", "lab_hosts:liar", "-n", "3", "--keep", folder / "bad", "--junit", "r.xml"
    done = hil(*words)
    assert done.exit_code == 1
    assert (
        ".mcap --host lab_hosts:liar" in (folder / "r.xml").read_text() and ".mcap --host lab_hosts:liar" in done.stdout
    )


def test_no_code_that_a_file_names_is_called_unless_the_user_names_it_too(folder: Path) -> None:
    (folder / "small.toml").write_text(SMALL)
    first = hil("run", "small.toml", "--host", "lab_hosts:print_part", "--runs", "runs")
    assert first.exit_code == 0 and "--host lab_hosts:print_part" in first.stdout, first.output
    (run,) = Path("runs").glob("*/run.mcap")
    assert (run.parent / "mine").exists()
    for command in ("replay", "shrink"):
        done = hil(command, run)
        assert done.exit_code == 2 and "--host lab_hosts:print_part calls what has that name here" in done.output
    (folder / "lab_hosts.py").unlink()
    sys.modules.pop("lab_hosts")
    done = hil("replay", run, "--host", "lab_hosts:print_part")
    assert done.exit_code == 2 and "lab_hosts:print_part cannot be imported" in done.output


def test_the_folder_where_the_user_stands_comes_first(folder: Path) -> None:
    (folder / "small.toml").write_text(SMALL)
    (folder / "this.py").write_text(HOSTS)  # Python has a module of that name, too
    done = hil("run", "small.toml", "--host", "this:print_part", "--runs", "runs")
    sys.modules.pop("this", None)
    assert done.exit_code == 0, done.output


def test_a_run_of_ours_is_kept_as_it_was_before_there_were_others(tmp_path: Path) -> None:
    assert "host" not in bench_subject(tmp_path).to_dict() and "host" not in rover_subject(tmp_path).to_dict()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("leaver", "ended its process (0)"),
        ("called_leaver", "ended its process (0)"),
        ("leaving_task", "ended its process (0)"),
        ("leaving_callback", "ended its process (0)"),
        ("canceller", "let out a CancelledError of something that it had cancelled itself"),
        ("breaker", "ValueError: no filament"),
        ("garbler", "ValueError: it answered \\udcd8\x00\\udcff"),
        ("garbled", "cannot be its outcome.json"),
    ],
)
def test_one_that_breaks_is_said_to(folder: Path, name: str, why: str) -> None:
    (folder / "small.toml").write_text(SMALL)
    done = hil("run", "small.toml", "--host", f"lab_hosts:{name}", "--runs", "runs", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and told["verdict"] == "CRASHED" and why.split(": ")[-1] in told["reasons"][0], told
    done = hil("campaign", "small.toml", "--host", f"lab_hosts:{name}", "-n", "2")
    assert done.exit_code == 2 and f"the host lab_hosts:{name} breaks though nothing goes wrong" in done.output
    assert why in done.output


def test_one_that_stops_without_a_word_has_not_stopped_safe(folder: Path) -> None:
    (folder / "door.toml").write_text(SMALL + AT_ONCE.format(kind="door_open", point="interlock.door"))
    done = hil("run", "door.toml", "--host", "lab_hosts:wordless", "--runs", "runs", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and told["verdict"] == "CRASHED", told
    assert "it must say how it ended" in told["reasons"][0]
    done = hil("campaign", "bench", "--host", "lab_hosts:wordless", "-n", "4", "--keep", folder / "bad", "--json")
    assert done.exit_code == 1 and "CRASHED" in {one["verdict"] for one in json.loads(done.stdout)["bad"]}


@pytest.mark.parametrize(("name", "where"), [("waiter", "it waited at waiter"), ("spinner", "> spinner (")])
def test_one_that_never_ends_hangs_and_is_told_where(folder: Path, name: str, where: str) -> None:
    (folder / "small.toml").write_text(SMALL)
    words = [sys.executable, "-m", "control.cli", "hil", "run", "small.toml", "--host", f"lab_hosts:{name}", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300, env=ENV)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["verdict"] == "HANG" and where in told["reasons"][0], told
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(400, method="thread")  # the other method has the signal, and then nobody watches
@pytest.mark.parametrize(("name", "where"), [("blocker", "blocker"), ("blocking_task", ""), ("called_blocker",) * 2])
def test_one_that_blocks_hangs_and_is_told_where(
    folder: Path, name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "BLOCKED_S_MAX", 0.5)
    (folder / "small.toml").write_text(SMALL)
    done = hil("run", "small.toml", "--host", f"lab_hosts:{name}", "--runs", "runs", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and told["verdict"] == "HANG", told
    assert f"the host let nothing else run, at {where}" in told["reasons"][0], told
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.timeout(400, method="thread")
def test_one_that_stands_at_a_debuggers_prompt_is_let_be(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "BLOCKED_S_MAX", 0.1)
    (folder / "small.toml").write_text(SMALL)
    done = hil("run", "small.toml", "--host", "lab_hosts:debugged", "--runs", "runs", "--json")
    assert "nothing was tested" in json.loads(done.stdout)["reasons"][0], done.stdout


@pytest.mark.real_time
@pytest.mark.timeout(400, method="thread")
@pytest.mark.parametrize("more", [["--mode", "wire"], ["--pace", "0.2"]], ids=["wire", "paced"])
def test_one_that_waits_for_the_clock_does_not_block(
    folder: Path, more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "BLOCKED_S_MAX", 0.02)
    (folder / "small.toml").write_text(SMALL)
    done = hil("run", "small.toml", "--host", "lab_hosts:short", *more, "--runs", "runs", "--json")
    told = json.loads(done.stdout)
    assert told["verdict"] == "CRASHED" and "nothing was tested" in told["reasons"][0], told


def test_one_that_is_killed_is_not_gone_on_with_by_ours(folder: Path) -> None:
    (folder / "killed.toml").write_text(KILLED)
    done = hil("run", "killed.toml", "--host", "lab_hosts:print_part", "--runs", "runs", "--json")
    told = json.loads(done.stdout)
    assert told["verdict"] == "detected" and any("host 1 died" in reason for reason in told["reasons"]), told
    assert not any("host 2" in reason for reason in told["reasons"])


def test_a_rovers_host_drives(folder: Path) -> None:
    done = hil("run", "rover_bus_cut", "--host", "lab_hosts:drive", "--runs", "runs")
    assert done.exit_code == 0, done.output
    assert list(Path("runs").glob("*/mine"))


@pytest.mark.parametrize("host", ["idler", "sleeper"])
def test_one_that_does_nothing_is_not_tested_by_a_fault_that_it_never_met(folder: Path, host: str) -> None:
    (folder / "door.toml").write_text(SMALL + AT_ONCE.format(kind="door_open", point="interlock.door"))
    done = hil("run", "door.toml", "--host", f"lab_hosts:{host}", "--runs", "runs", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and told["verdict"] == "CRASHED" and "nothing was tested" in told["reasons"][0], told


@pytest.mark.parametrize(
    ("kind", "point", "why"),
    [
        ("door_open", "interlock.door", "lab_hosts:sleeper breaks with its own faults alone"),
        ("outage", "power.feeder", "lab_hosts:sleeper breaks with its own faults alone"),
    ],
)
def test_one_that_leaves_no_outcome_has_no_campaign_whatever_its_scenario_does(
    folder: Path, kind: str, point: str, why: str
) -> None:
    (folder / "struck.toml").write_text(SMALL + AT_ONCE.format(kind=kind, point=point))
    done = hil("campaign", "struck.toml", "--host", "lab_hosts:sleeper", "-n", "1")
    assert done.exit_code == 2 and why in done.output, done.output


def test_one_that_its_scenario_kills_has_a_campaign(folder: Path) -> None:
    (folder / "killed.toml").write_text(KILLED)
    done = hil("campaign", "killed.toml", "--host", "lab_hosts:print_part", "-n", "1")
    assert done.exit_code == 0 and "1 detected" in done.output, done.output


def test_one_that_does_nothing_has_no_campaign(folder: Path) -> None:
    done = hil("campaign", "bench", "--host", "lab_hosts:idler", "-n", "2")
    assert done.exit_code == 2 and "though nothing goes wrong" in done.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["campaign", "motion", "--host", "lab_hosts:liar"], "streams a program by moonkiln's own host: leave --host"),
        (["campaign", "bench", "--host", "./host {job}"], "is a process of its own and lives in real time"),
        (["run", "print", "--host", "./host {job}"], "`hil run --mode wire` runs it"),
        (["run", "print", "--host", "lab_hosts:nobody"], "cannot be imported"),
        (["run", "rover_bus_cut", "--host", "lab_host:drive"], "No module named 'lab_host'"),
        (["run", "print", "--host", ""], "is no host: give a callable"),
        (["run", "print", "--host", "typo:host"], "typo:host cannot be imported: SyntaxError"),
        (["campaign", "bench", "--host", "lab_hosts:plain"], "must be `async def host(job, machine_toml, run_dir)`"),
    ],
)
def test_what_can_be_no_host_there_is_a_sentence_and_leaves_nothing(
    folder: Path, words: list[str], sentence: str
) -> None:
    (folder / "typo.py").write_text("async def host(:")
    done = hil(*words, *(["--runs", "runs"] if words[0] == "run" else []))
    assert done.exit_code == 2 and sentence in done.output, done.output
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("command", "where"), [("./nosuch {job}", "in /"), ("./lab_hosts.py", "in /"), ("no-such-program", "on the PATH")]
)
def test_a_command_that_cannot_be_started_is_a_mistake_and_no_finding(folder: Path, command: str, where: str) -> None:
    (folder / "small.toml").write_text(SMALL)
    done = hil("run", "small.toml", "--mode", "wire", "--host", command, "--runs", "runs")
    assert done.exit_code == 2 and "cannot be started: there is no program" in done.output, done.output
    assert where in done.output and not Path("runs").exists()


@pytest.mark.real_time
def test_no_replay_that_would_be_refused_is_told_of_a_command(folder: Path) -> None:
    (folder / "small.toml").write_text(SMALL)
    done = hil("run", "small.toml", "--mode", "wire", "--host", "false", "--runs", "runs", "--junit", "r.xml")
    assert "moonkiln hil replay" not in done.stdout + (folder / "r.xml").read_text(), done.stdout
    assert "replay: none, for a command lives in real time: run it once more on the wire" in done.stdout


@pytest.mark.real_time
def test_a_command_prints_on_the_wire_and_is_not_made_again_in_virtual_time(folder: Path) -> None:
    command = f"{sys.executable} -m control.cli print {{job}} --machine {{machine}} --runs {{run_dir}}"
    (folder / "small.toml").write_text(SMALL)
    done = hil("run", "small.toml", "--mode", "wire", "--host", command, "--runs", "runs", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 0 and told["verdict"] in ("exact", "degraded"), told  # a busy computer lets lines wait
    assert list(Path("runs").glob("*/host.log"))
    again = hil("replay", told["run"], "--host", command)
    assert again.exit_code == 2 and "lives in real time" in again.output


@pytest.mark.real_time
@pytest.mark.parametrize("more", ["", "[random]\nkinds = ['delay']\n"], ids=["plain", "random"])
def test_a_command_that_says_nothing_has_not_stopped_safe(folder: Path, more: str) -> None:
    (folder / "small.toml").write_text(SMALL + more)
    done = hil("run", "small.toml", "--mode", "wire", "--host", "false", "--runs", "runs", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and told["verdict"] == "CRASHED", told
    assert "not one byte of it came to a device" in told["reasons"][0] and "exit code 1" in told["reasons"][0]


async def mine(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
    return await print_host(job, machine_toml, run_dir)


@pytest.mark.parametrize(("host", "goes_on"), [(None, True), (mine, False)], ids=["ours", "mine"])
def test_in_a_test_ours_goes_on_when_it_was_killed_and_another_does_not(
    host: Any, goes_on: bool, tmp_path: Path
) -> None:
    job = slice_plate(tmp_path, 1)
    case = HilCase(CaseSettings(run_dir=tmp_path / "run", host=host, cell_xy_mm=10.0, job=str(job)))
    case.faults.at(event=12).crash("host.journal", back_after_s=1.0)
    case.host.print()
    case.run(within="1 h")
    case.live.close()  # what is left of the dead one does not keep it
    assert "host 1 died" in case.live.ended().judgement.reasons[0]
    outcome = case.host.outcome
    assert (outcome is not None and outcome.status is Status.DONE) == goes_on
