"""Does whatever a user or a machine does wrong end in a sentence, an exit code and a run that is not lost?"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench_helpers import Bench, moonkiln, served_bench, slice_plate, wait_for_run
from click.testing import CliRunner, Result
from print_helpers import print_virtual

from control.cli import cli
from control.host import read_outcome
from control.machine_file import MACHINES
from hil_sim.harness.trace import read_truth

BENCH = (MACHINES / "bench.toml").read_text(encoding="utf-8")


def run(*words: str | Path) -> Result:
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert "Traceback" not in done.stderr and "fault of moonkiln" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer."""
    return slice_plate(tmp_path_factory.mktemp("job"), 1)


@pytest.fixture(scope="module")
def finished(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated run that is done."""
    folder = tmp_path_factory.mktemp("finished")
    assert print_virtual(job, folder).outcome is not None
    return folder


def copy_of(folder: Path, to: Path) -> Path:
    """A run's folder, copied so that it may be spoilt."""
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def assert_journal_is_intact(run_dir: Path) -> None:
    db = sqlite3.connect(run_dir / "run.sqlite")
    try:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    finally:
        db.close()


# ---- ports


def test_a_port_that_is_absent_is_named_and_the_run_is_kept(job: Path, tmp_path: Path) -> None:
    done = run("print", job, "--machine", "bench", "--runs", tmp_path / "runs")
    assert done.exit_code == 3
    assert "/dev/serial/by-id/usb-moonkiln_motion-if00" in done.stdout
    run_dir = wait_for_run(tmp_path / "runs")
    assert f"moonkiln resume {run_dir}" in done.stderr
    assert_journal_is_intact(run_dir)
    again = run("resume", run_dir)
    assert again.exit_code == 3 and "usb-moonkiln_motion" in again.stdout


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A served bench on which nothing is ever printed to the end."""
    with served_bench(tmp_path_factory.mktemp("bench") / "D") as served:
        yield served


def test_a_port_that_another_host_holds_is_named(bench: Bench, job: Path, tmp_path: Path) -> None:
    first = moonkiln("print", job, "--machine", bench.machine_toml, "--runs", tmp_path / "first")
    try:
        wait_for_run(tmp_path / "first")
        time.sleep(1.0)
        second = run("print", job, "--machine", bench.machine_toml, "--runs", tmp_path / "second")
        assert second.exit_code == 3
        assert "motion" in second.stdout and re.search(r"in use|busy|another", second.stdout), second.stdout
        assert_journal_is_intact(wait_for_run(tmp_path / "second"))
        assert first.poll() is None, "the second host disturbed the first"
    finally:
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=60)
    assert first.returncode == 130, out + err
    assert "stopped by SIGINT" in out and "moonkiln resume" in err


def test_a_device_of_another_model_is_named(bench: Bench, job: Path, tmp_path: Path) -> None:
    text = bench.machine_toml.read_text()
    heater, recoater = text.index("[devices.heater]"), text.index("[devices.recoater]")
    swapped = re.sub(r"unit = (\d)", lambda found: f"unit = {3 - int(found[1])}", text[heater:recoater])
    (tmp_path / "swapped.toml").write_text(text[:heater] + swapped + text[recoater:])
    done = run("print", job, "--machine", tmp_path / "swapped.toml", "--runs", tmp_path / "runs")
    assert done.exit_code == 3 and "heater" in done.stdout
    run_dir = wait_for_run(tmp_path / "runs")
    assert read_outcome(run_dir).status.value == "failed"
    assert_journal_is_intact(run_dir)


def test_a_baud_rate_that_is_wrong_is_a_sentence(bench: Bench, job: Path, tmp_path: Path) -> None:
    url = bench.url("motion").replace("baud=115200", "baud=9600")
    done = run("home", "--machine", bench.machine_toml, "--url", f"motion={url}")
    assert done.exit_code == 3 and "baud rate" in done.stderr


# ---- what is asked of print and resume


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("print", "absent.kiln", "--machine", "bench"), 2, "does not exist"),
        (("print", "JOB", "--machine", "bensh"), 2, "did you mean 'bench'?"),
        (("print", "JOB", "--machine", "absent.toml"), 2, "absent.toml does not exist"),
        (("print", "JOB", "--machine", "bench", "--url", "moton=sim:x"), 2, "did you mean 'motion'?"),
        (("print", "JOB", "--machine", "bench", "--url", "motion"), 2, "NAME=URL"),
        (("print", "JOB"), 2, "--machine"),
        (("resume", "nowhere"), 2, "no run to resume"),
        (("resume", "."), 2, "no run to resume"),
        (("report", "nowhere"), 2, "nowhere"),
        (("report", "."), 2, "holds no run"),
        (("jog", "--machine", "bench"), 2, "--x or --y"),
        (("sim", "print", "absent.kiln"), 2, "does not exist"),
        (("sim", "print", "JOB", "--scenario", "nosuch"), 2, "no scenario 'nosuch'"),
        (("sim", "print", "JOB", "--machine", "bensh"), 2, "bensh"),
        (("sim", "print", "JOB", "--seed", "-1"), 2, "-1 is not in the range x>=0"),
        (("sim", "drive", "JOB", "--machine", "osr", "--seed", "-1"), 2, "-1 is not in the range x>=0"),
        (("sim", "serve", "--dir", "D", "--machine", "bensh"), 2, "bensh"),
        (("sim", "serve", "--dir", "D", "--job", "absent.kiln"), 2, "does not exist"),
    ],
)
def test_a_wrong_request_is_a_sentence_and_leaves_nothing(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*(job if word == "JOB" else word for word in words))
    assert done.exit_code == code, done.stderr
    assert said in done.stderr
    assert not (tmp_path / "runs").exists() and os.listdir(tmp_path) in ([], ["D"])


def test_a_machine_that_does_not_cover_the_job_refuses_it(job: Path, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(BENCH.replace("x_mm = 250.0", "x_mm = 100.0"))
    done = run("print", job, "--machine", tmp_path / "small.toml", "--runs", tmp_path / "runs")
    assert done.exit_code == 1 and "a plate width of 250 mm, this machine has 100" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_damaged_job_is_refused_before_a_run_begins(job: Path, tmp_path: Path) -> None:
    whole = job.read_bytes()
    for name, content in [("cut.kiln", whole[: len(whole) // 2]), ("empty.kiln", b""), ("text.kiln", b"dear diary")]:
        (tmp_path / name).write_bytes(content)
        done = run("print", tmp_path / name, "--machine", "bench", "--runs", tmp_path / "runs")
        assert done.exit_code == 2 and name in done.stderr
        done = run("sim", "print", tmp_path / name, "--runs", tmp_path / "runs")
        assert done.exit_code == 2 and name in done.stderr
    assert not (tmp_path / "runs").exists()


def wire_machine(run_dir: Path) -> None:
    """A simulated run's folder as if its wires had been real ones."""
    (run_dir / "machine.toml").write_text(BENCH)


def forget_outcome(run_dir: Path) -> None:
    wire_machine(run_dir)
    (run_dir / "outcome.json").unlink()


def change_job(run_dir: Path) -> None:
    forget_outcome(run_dir)
    (run_dir / "part.kiln").write_bytes((run_dir / "part.kiln").read_bytes() + b"\n")


def simulated(run_dir: Path) -> None:
    (run_dir / "outcome.json").unlink()


def without(name: str) -> Callable[[Path], None]:
    def take(run_dir: Path) -> None:
        forget_outcome(run_dir)
        (run_dir / name).unlink()

    return take


def spoil_journal(run_dir: Path) -> None:
    (run_dir / "run.sqlite").write_bytes(b"no database " * 500)


def newer_journal(run_dir: Path) -> None:
    db = sqlite3.connect(run_dir / "run.sqlite")
    db.execute("update run set value = '99' where key = 'schema_version'")
    db.commit()
    db.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (wire_machine, "is done: there is nothing to resume"),
        (simulated, "its world died with it"),
        (change_job, "is not the job that this run was begun with"),
        (without("part.kiln"), "died before it began"),
        (without("machine.toml"), "died before it began"),
        (spoil_journal, "not a moonkiln journal"),
        (newer_journal, "schema version 99"),
    ],
)
def test_a_run_that_cannot_be_resumed_says_why_and_is_left_as_it_was(
    finished: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    run_dir = copy_of(finished, tmp_path / "run")
    spoil(run_dir)
    before = {path.name: path.read_bytes() for path in run_dir.iterdir() if "sqlite-" not in path.name}
    done = run("resume", run_dir)
    assert done.exit_code == 2 and said in done.stderr, done.stderr
    after = {path.name: path.read_bytes() for path in run_dir.iterdir() if "sqlite-" not in path.name}
    assert after == before


# ---- full disks


def test_a_disk_that_is_full_when_the_run_begins_is_a_sentence(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    done = run("print", job, "--machine", "bench", "--runs", tmp_path / "runs")
    assert done.exit_code == 2 and "No space left on device; free space" in done.stderr
    monkeypatch.undo()
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert_journal_is_intact(run_dir)
    again = run("resume", run_dir)
    assert again.exit_code == 2 and "died before it began; print again" in again.stderr


def test_a_report_that_cannot_be_written_does_not_hide_how_the_run_ended(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import control.report

    def full(*_args: object, **_more: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device", "report.html")

    monkeypatch.setattr(control.report, "write_report", full)
    done = run("print", job, "--machine", "bench", "--runs", tmp_path / "runs")
    assert done.exit_code == 3 and "failed: " in done.stdout
    assert "the report could not be written: report.html: the disk is full" in done.stderr
    assert "moonkiln report" in done.stderr
    as_json = run("print", job, "--machine", "bench", "--runs", tmp_path / "runs", "--json")
    assert json.loads(as_json.stdout)["report"] is None


# ---- what a program reads


def test_a_simulated_print_answers_a_program_with_one_object(job: Path, tmp_path: Path) -> None:
    done = run("sim", "print", job, "--runs", tmp_path / "runs", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["verdict"]) == ("done", "exact") and told["sim_s"] > 10
    assert told["layers"] == json.loads((Path(told["run_dir"]) / "outcome.json").read_text())["layers"]


# ---- Ctrl-C


def interrupt_when(process: subprocess.Popen[str], words: str, timeout_s: float = 60.0) -> tuple[str, str]:
    """SIGINT once the process says `words` on stderr; returns its whole stdout and stderr."""
    assert process.stderr is not None and process.stdout is not None
    said: list[str] = []
    killer = threading.Timer(timeout_s, process.kill)
    killer.start()
    try:
        for line in process.stderr:
            said.append(line)
            if words in line:
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=timeout_s)
    finally:
        killer.cancel()
    return out, "".join(said) + err


def test_ctrl_c_on_a_paced_simulation_is_a_safe_stop(job: Path, tmp_path: Path) -> None:
    process = moonkiln("sim", "print", job, "--pace", "1", "--runs", tmp_path / "runs")
    out, err = interrupt_when(process, "printing:")
    assert process.returncode == 130, out + err
    assert "stopped by SIGINT" in out and "Traceback" not in err
    run_dir = wait_for_run(tmp_path / "runs")
    outcome = read_outcome(run_dir)
    assert (outcome.status.value, outcome.exit_code) == ("stopped", 130)
    assert not read_truth(run_dir).end.beam_live
    assert_journal_is_intact(run_dir)
    assert "moonkiln resume" not in err, "its world is gone: resuming is not to be offered"
    assert "its simulated world is gone: print it again" in err


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_print_that_was_interrupted_on_the_wire_is_resumed_to_its_end(tmp_path: Path) -> None:
    job = slice_plate(tmp_path, 2)
    with served_bench(tmp_path / "D", "--job", job) as bench:
        host = moonkiln("print", job, "--machine", bench.machine_toml, "--runs", tmp_path / "runs")
        run_dir = wait_for_run(tmp_path / "runs")
        time.sleep(16.0)  # the first layer is being exposed
        host.send_signal(signal.SIGINT)
        out, err = host.communicate(timeout=60)
        assert host.returncode == 130 and f"moonkiln resume {run_dir}" in err, out + err
        resumed = moonkiln("resume", run_dir)
        out, err = resumed.communicate(timeout=200)
        assert resumed.returncode == 0, out + err
        bench.end()
    outcome = read_outcome(run_dir)
    assert outcome.status.value == "done" and outcome.totals.sessions == 2
    assert [layer.committed for layer in outcome.layers] == [True, True]
