"""Do the benchmarks measure what they say: is the load as dense as promised, and does the table tell the truth?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

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
