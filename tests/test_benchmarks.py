"""Do the benchmarks measure what they say: is the load as dense as promised, and does the table tell the truth?"""

from __future__ import annotations

import asyncio
import csv
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware_bridge.links.line_framing import frame_line

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_dense_load_streams_200_lines_and_polls_each_device_ten_times_a_second() -> None:
    import bench_virtual_time

    result = bench_virtual_time.run(exposure_s=8.0)

    assert result["lines_per_s"] >= 200.0
    assert set(result["polls_per_s"]) == set(bench_virtual_time.DEVICES)
    assert all(rate == pytest.approx(10.0, abs=0.5) for rate in result["polls_per_s"].values())
    assert result["journal_groups_per_s"] == pytest.approx(result["lines_per_s"] / 16, rel=0.15)
    assert result["telemetry_messages_per_s"] >= 50.0


def test_links_alone_carry_the_same_load() -> None:
    import bench_virtual_links

    result = bench_virtual_links.run(run_s=6.0, rounds=1)

    assert result["lines_per_s"] >= 200.0
    assert all(rate == pytest.approx(10.0, abs=0.5) for rate in result["polls_per_s"].values())


def test_fewer_polls_or_lines_than_asked_for_fail_however_fast_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    import bench_virtual_links

    monkeypatch.setattr(bench_virtual_links, "BAR", 0.001)
    assert bench_virtual_links.run(run_s=6.0, rounds=1)["passed"]
    monkeypatch.setattr(bench_virtual_links, "HZ", 5.0)
    assert not bench_virtual_links.run(run_s=6.0, rounds=1)["passed"]


def test_the_bed_of_3_mm_is_really_solved_in_finer_cells() -> None:
    import bench_virtual_time

    coarse = bench_virtual_time.measure(4.0)["bed_cell_updates_per_s"]
    assert bench_virtual_time.measure(4.0, cell_xy_mm=3.0)["bed_cell_updates_per_s"] > 5 * coarse > 0


def test_an_idle_month_fires_no_timer_but_its_own() -> None:
    import bench_idle

    assert bench_idle.run(rounds=1)["timers"] == 1


def test_a_campaign_is_reckoned_from_its_rows_with_its_start_counted_once() -> None:
    import bench_campaign

    marks = [(10.0, 25), (15.0, 50), (20.0, 75), (25.0, 100)]  # 0.2 s a seed behind the first 25
    assert bench_campaign.whole_s(marks, ended_s=31.0, second_runs=1, seeds=100) == pytest.approx(31.0)
    assert bench_campaign.whole_s(marks, ended_s=31.0, second_runs=1) == pytest.approx(10 + 1975 * 0.2 + 6 + 19 * 0.2)


@pytest.mark.parametrize(
    ("motion_s", "bench_s", "is_good", "passed"),
    [(59.0, 599.0, True, True), (61.0, 599.0, True, False), (59.0, 601.0, True, False), (59.0, 599.0, False, False)],
)
def test_a_campaigns_both_bars_count_and_so_does_what_it_found(
    motion_s: float, bench_s: float, is_good: bool, passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bench_campaign

    def measured(subject: object, sample: int) -> dict[str, object]:
        return {"whole_s": motion_s if sample == 500 else bench_s, "passed": is_good}

    class Nothing:
        def run(self, *words: object) -> None: ...

    monkeypatch.setattr(bench_campaign, "measured", measured)
    monkeypatch.setattr(bench_campaign, "bench_subject", lambda folder: Nothing())
    assert bench_campaign.run()["passed"] is passed


@pytest.mark.parametrize("name", ["kinds-motion.csv", "kinds-print.csv", "kinds-rover.csv"])
def test_the_page_of_reliability_has_the_table_of_its_campaign_by_the_shipped_generator(name: str) -> None:
    """One that is older says how good a host is against faults that are no longer thrown: make it anew."""
    import kinds_table

    from hil_sim.harness.generator import SHIPPED, load_generator

    docs = BENCHMARKS.parent / "docs"
    page = (docs / "reliability.md").read_text(encoding="utf-8")
    with (docs / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    version = load_generator(SHIPPED).version
    assert {int(row["generator_version"]) for row in rows} == {version}
    assert f"seeds of generator version {version} " in page
    assert kinds_table.table(docs / name) in page
    assert all(int(row["bad"]) == 0 for row in rows)


def test_zigzag_is_one_continuous_path_on_the_plate() -> None:
    import bench_virtual_time

    path = bench_virtual_time.zigzag(5000)

    assert path.shape == (5000, 4)
    assert (path[1:, :2] == path[:-1, 2:]).all()
    assert path.min() >= 0.0 and path[:, [0, 2]].max() <= 250.0 and path[:, [1, 3]].max() <= 150.0


def test_the_paced_board_answers_at_the_pace_of_its_line() -> None:
    import bench_stream

    paced = bench_stream.streamed(200, 250_000)

    assert paced["lines_per_s"] <= 250_000 / 10 / 38  # a board that is faster than its wire would flatter us
    assert paced["commits"] == 13


def test_the_board_of_the_stream_believes_a_line_without_a_number_and_no_number_out_of_order() -> None:
    from stream_responder import Board

    board = Board()
    assert board.answer(b"M105") == b"ok T:21.0 /0.0\n"  # how printcore finds out that somebody is there
    assert board.answer(b"N-1 M110 N-1*125") == b"ok\n" and board.last == -1
    assert board.answer(frame_line(1, b"G1 X1").strip()).startswith(b"Error:") and board.lines == 0
    assert board.answer(frame_line(0, b"G1 X1").strip()) == b"ok\n" and (board.last, board.lines) == (0, 1)


def streams(share: float) -> Callable[[str, Path], str]:
    """A host that streams that share of its file to a port, line by line."""

    def host(port: str, file: Path) -> str:
        lines = file.read_bytes().splitlines()
        with open(os.open(port, os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0) as tty:
            for number, line in enumerate([b"M110 N0", *lines[: round(share * len(lines))]]):
                tty.write(frame_line(number, line))
                assert tty.readline().startswith(b"ok")
        return "a host"

    return host


def absent(port: str, file: Path) -> str:
    import stream_peers

    raise stream_peers.Absent("it is not installed: make peers")


def test_peers_stream_to_the_same_far_end_and_are_set_beside_us(monkeypatch: pytest.MonkeyPatch) -> None:
    import run
    import stream_peers

    monkeypatch.setattr(stream_peers, "PEERS", {"whole": streams(1.0), "half": streams(0.5), "absent": absent})
    whole, half, missing = rows = stream_peers.measure(60, 1e4)

    assert whole["lines"] == 60 and whole["ratio"] == pytest.approx(1e4 / whole["lines_per_s"], abs=0.01)
    assert half["error"] == "30 of 60 lines came" and missing["skipped"] == "it is not installed: make peers"
    said = run.beside({"stream": {"peers": rows}, "help": {}})
    assert "moonkiln" in said[0] and " x" in said[0] and "30 of 60" in said[1] and "skipped: it is not" in said[2]


def test_a_callback_that_holds_the_loop_is_seen_and_what_it_worked_told_apart() -> None:
    from loop_hold import longest, run_watched

    async def main() -> tuple[float, float]:
        begin_s = asyncio.get_running_loop().time()
        for _ in range(3):
            await asyncio.sleep(0)
        time.sleep(0.02)  # holds the loop, and works nothing
        await asyncio.sleep(0)
        end_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        time.sleep(0.05)  # after what is asked about
        return begin_s, end_s

    span_s, holds = run_watched(main())
    held = longest(holds, *span_s)
    assert held["loop_hold_longest_ms"] >= 20.0 and held["loop_turns"] >= 3
    assert held["loop_hold_longest_cpu_ms"] < held["loop_hold_longest_ms"]
    assert longest(holds, 0.0, 1e12)["loop_hold_longest_ms"] >= 50.0


def test_a_read_of_a_benchmarked_slave_cannot_be_faster_than_its_line() -> None:
    import bench_modbus

    assert bench_modbus.allowed(9600) == pytest.approx(1 / (33 / 960 + 7 / 960))
    assert bench_modbus.crc(bytes.fromhex("01 86 02")) == bytes.fromhex("C3 A1")  # Delta MS300, p. 794


def test_every_benchmark_has_a_figure_with_a_bar() -> None:
    import run

    assert set(run.names()) == set(run.FIGURES)


@pytest.mark.parametrize(
    ("name", "result", "verdict", "ratio"),
    [
        ("help", {"wall_s": 0.15, "passed": True}, "pass", 2.0),
        ("help", {"wall_s": 0.6}, "MISSED", 0.5),
        ("stream", {"lines_per_s": 10_000.0}, "pass", 2.0),
        ("slice", {"wall_s": 0.2, "passed": False}, "MISSED", 2.0),  # fast, and something else was wrong
        ("bed", {"error": "no module"}, "FAILED", None),
        ("bed", {"something": 1}, "FAILED", None),
    ],
)
def test_verdict_follows_from_the_bar_and_the_benchmark_s_own_word(
    name: str, result: dict, verdict: str, ratio: float | None
) -> None:
    import run

    row = run.row_of(name, result)

    assert row.verdict == verdict
    assert row.ratio == (None if ratio is None else pytest.approx(ratio))
    assert verdict in run.table([row])


def test_a_benchmark_that_does_not_exist_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    import run

    with pytest.raises(SystemExit):
        run.main(["slcie"])
    assert "'slcie'" in capsys.readouterr().err


def test_missed_bars_fail_only_a_strict_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import run

    (tmp_path / "bench_help.py").write_text("def run():\n    return {'wall_s': 3.0}\n")
    monkeypatch.setattr(run, "HERE", tmp_path)

    assert run.main(["help", "--json", str(tmp_path / "all.json")]) == 0
    assert run.main(["help", "--strict"]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert (tmp_path / "results" / "help.json").is_file() and (tmp_path / "all.json").is_file()


def test_missing_peers_are_said_and_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import peers

    assert peers.main(["--scripts", str(tmp_path)]) == 0
    assert "run_all.sh" in capsys.readouterr().out
    (tmp_path / "run_all.sh").write_text("exit 1\n")
    assert peers.main(["--scripts", str(tmp_path), "--peers", str(tmp_path / "none")]) == 0
    assert "not installed" in capsys.readouterr().out


def test_the_table_of_peers_says_who_was_not_beaten_by_enough() -> None:
    import peers

    ours = {"job": "a job", "who": "moonkiln", "wall_s": 1.0, "cpu_s": 1.0, "peak_mb": 100}
    slow, quick = ({**ours, "who": who, "ratio": ratio, "bar": 3.0} for who, ratio in (("slow", 4.0), ("quick", 2.0)))
    lines = peers.table([slow, quick, {"job": "a job", "who": "absent", "error": "no such file"}, ours]).splitlines()

    missed = [line for line in lines if "MISSED" in line]
    assert len(missed) == 1 and "quick" in missed[0]
    assert any("absent" in line and "could not run" in line for line in lines)


def test_a_peer_that_fails_is_a_row_and_the_others_are_measured(tmp_path: Path) -> None:
    import peers

    (tmp_path / "v1" / "bin").mkdir(parents=True)
    (tmp_path / "v1" / "bin" / "python").symlink_to(sys.executable)
    figures = '{"median_s": 6.0, "cpu_s": 7.0, "rss_peak_mb": 80}'
    (tmp_path / "good.py").write_text(f"print('''{figures}''')\n")
    (tmp_path / "bad.py").write_text("raise SystemExit('no slicer here')\n")
    job = peers.Comparison(
        "a job", "part", "COMPARISONS and (2.0, 2.0, 50.0)", (("good", "good.py"), ("bad", "bad.py")), {}
    )

    good, bad, ours = peers.measure(job, tmp_path, tmp_path)
    assert good["ratio"] == 3.0 and good["cpu_s"] == 7.0
    assert "no slicer here" in bad["error"] and ours["wall_s"] == 2.0
