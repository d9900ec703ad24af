"""Do JUnit, HTML and Parquet say what the campaign found, and how to see it again?"""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from hil_helpers import SHORT

from control.errors import MoonkilnError
from hil_sim.harness.campaign import Report, Row, Twice, run_campaign
from hil_sim.harness.campaign_report import (
    coverage,
    kind_matrix,
    kind_rows,
    latencies,
    replay_command,
    write_html,
    write_junit,
    write_kinds,
    write_parquet,
)
from hil_sim.harness.generator import load_generator
from hil_sim.harness.trials import CRASHED
from hil_sim.world.faults import KINDS

AGAIN = "moonkiln hil campaign motion"
DROP = {"kind": "drop", "point": "motion.to_device", "at_chunk": 4, "count": 1}
FLIP = {"kind": "flip", "point": "motion.to_host", "at_chunk": 9, "count": 1}


def row(seed: int, verdict: str, *faults: dict[str, Any], reason: str = "why", sim_s: float = 10.0) -> Row:
    struck = [(2.0 + n, fault["kind"]) for n, fault in enumerate(faults)]
    is_stopped = verdict == "detected"
    return Row(
        seed, verdict, [reason], list(faults), struck, f"digest{seed}", sim_s, 100, 0, 1, 0.1 * (seed + 1),
        cause=struck[-1] if is_stopped else None, noticed_s=sim_s - 1.0 if is_stopped else None,
    )  # fmt: skip


@pytest.fixture
def report() -> Report:
    rows = [
        row(0, "exact", DROP),
        row(1, "detected", DROP, FLIP),
        row(2, "SILENT", FLIP, reason="block <7> & \x00 was lost"),
        row(3, CRASHED, DROP, reason="KeyError in host.py:run: 'x'"),
        row(4, "detected", FLIP, sim_s=12.0),
        row(5, "detected", FLIP, sim_s=20.0),
    ]
    return Report(
        {"subject": "motion"},
        "motion-40",
        7,
        "0.1",
        "3.11",
        rows,
        [Twice(0, "a", "a"), Twice(5, "a", "b")],
        points=["motion.to_device", "motion.to_host"],
    )


def test_junit_has_every_seed_with_what_it_takes_to_repeat_it(report: Report, tmp_path: Path) -> None:
    kept = {2: Path("runs/seed-2.mcap")}
    write_junit(report, tmp_path / "r.xml", kept=kept, again=AGAIN)
    suite = ElementTree.parse(tmp_path / "r.xml").getroot()[0]
    assert {k: suite.get(k) for k in ("tests", "failures", "errors")} == {"tests": "8", "failures": "2", "errors": "1"}
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    facts = {p.get("name"): p.get("value") for p in cases["seed 2"].iter("property")}
    assert facts["verdict"] == "SILENT" and facts["digest"] == "digest2" and facts["seed"] == "2"
    assert facts["replay"] == "moonkiln hil replay runs/seed-2.mcap"
    assert '"kind":"flip"' in str(facts["schedule"])
    failure = cases["seed 2"].find("failure")
    assert failure is not None and failure.get("message") == "SILENT: block <7> & � was lost"
    assert cases["seed 3"].find("error") is not None and cases["seed 1"].find("failure") is None
    assert cases["seed 5 again"].find("failure") is not None and cases["seed 0 again"].find("failure") is None


def test_a_run_that_was_not_kept_is_repeated_from_its_seed(report: Report) -> None:
    assert replay_command(report, report.rows[1], {}, AGAIN) == "moonkiln hil campaign motion --first 1 -n 1"


def test_kinds_are_counted_by_how_their_runs_ended(report: Report) -> None:
    matrix = kind_matrix(report)
    assert matrix["drop"] == {"exact": 1, "detected": 1, CRASHED: 1}
    assert matrix["flip"] == {"detected": 3, "SILENT": 1}


def test_a_stop_is_timed_from_its_cause_until_the_host_noticed(report: Report) -> None:
    """Of seed 1 that is the flip at 3 s, noticed at 9; of 4 and 5 the flip at 2 s, noticed at 11 and 19."""
    assert latencies(report) == [("flip", 3, 9.0, 17.0, "1 frame", None)]


def test_stops_that_came_later_than_their_kinds_bound_are_counted(report: Report) -> None:
    """Seed 1 stopped 6 s after its strike, 4 and 5 after 9 and 17: all that a lost plug's 2 s do not allow."""
    rows = [msgspec.structs.replace(row, cause=row.cause and (row.cause[0], "replug")) for row in report.rows]
    (found,) = latencies(msgspec.structs.replace(report, rows=rows))
    assert (found.kind, found.bound, found.runs, found.late) == ("replug", "2 s", 3, 3)


def test_kinds_are_told_with_how_their_runs_ended_and_how_soon_they_were_noticed(
    report: Report, tmp_path: Path
) -> None:
    assert kind_rows(report) == [
        ("drop", 3, 1, 0, 1, 1, 0, None, None),
        ("flip", 4, 0, 0, 3, 1, 3, 9.0, 17.0),
    ]
    write_kinds(report, tmp_path / "kinds.csv")
    lines = (tmp_path / "kinds.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("subject,generator_version,seeds,kind,struck,exact,")
    assert lines[1:] == ["motion-40,7,6,drop,3,1,0,1,1,0,,", "motion-40,7,6,flip,4,0,0,3,1,3,9.000,17.000"]


def test_coverage_names_what_never_struck(report: Report) -> None:
    counts = {kind: n for _, kinds in coverage(report) for kind, n in kinds}
    assert set(counts) == set(KINDS)
    assert counts["drop"] == 3 and counts["flip"] == 4 and counts["merge"] == 0
    assert counts["short_feed"] is None, "a motion board alone has no place for it"


def test_the_page_tells_it_all_and_needs_nothing_from_elsewhere(report: Report, tmp_path: Path) -> None:
    write_html(report, tmp_path / "r.html", kept={}, again=AGAIN)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=|@import|url\(|<script", page)
    assert "2 runs may not be, 1 seeds do not repeat" in page and "generator version 7" in page
    assert "block &lt;7&gt; &amp;" in page and "<7>" not in page
    assert "moonkiln hil campaign motion --first 2 -n 1" in page
    assert '<span class="none">merge 0</span>' in page and '<span class="none">(short_feed)</span>' in page
    assert re.search(r"<td>5</td><td>0\.60</td><td>20\.0</td>", page), "the slowest comes with its time"
    assert page.index("<td>5</td><td>0.60</td>") < page.index("<td>0</td><td>0.10</td>")


def test_a_good_campaign_makes_a_good_page(tmp_path: Path) -> None:
    report = run_campaign(SHORT, load_generator(), range(6), twice_every=6)
    write_html(report, tmp_path / "r.html", kept={}, again=AGAIN)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "No run was SILENT" in page and "each with the same digest" in page and "What went wrong" not in page


def test_parquet_has_a_row_a_run(report: Report, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    write_parquet(report, tmp_path / "r.parquet")
    rows = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert [(r["seed"], r["verdict"], r["generator_version"]) for r in rows][:3] == [
        (0, "exact", 7),
        (1, "detected", 7),
        (2, "SILENT", 7),
    ]
    assert rows[1]["kinds"] == ["drop", "flip"] and rows[1]["latency_s"] == 6.0 and rows[0]["latency_s"] is None


def test_tables_of_many_campaigns_can_be_read_as_one(report: Report, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    for name, rows in (("all", report.rows), ("exact", report.rows[:1]), ("none", [])):
        write_parquet(msgspec.structs.replace(report, rows=rows, cut=""), tmp_path / f"{name}.parquet")
    assert parquet.read_table(tmp_path).num_rows == len(report.rows) + 1
    assert len({parquet.read_schema(path) for path in tmp_path.iterdir()}) == 1


def test_a_hosts_words_are_kept_as_far_as_they_can_be_written(report: Report, tmp_path: Path) -> None:
    odd = msgspec.structs.replace(report.rows[2], reasons=["\x00\x1b[31m 😀 ü \ufffe"])
    page, junit = tmp_path / "r.html", tmp_path / "r.xml"
    write_html(msgspec.structs.replace(report, rows=[odd]), page, kept={}, again=AGAIN)
    write_junit(msgspec.structs.replace(report, rows=[odd]), junit, kept={}, again=AGAIN)
    for path in (page, junit):
        text = path.read_text(encoding="utf-8")
        assert "��[31m 😀 ü �" in text and "\x00" not in text and "\x1b" not in text


def test_without_pyarrow_parquet_says_what_to_install(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return ours(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MoonkilnError, match=r"pip install 'moonkiln\[parquet\]'"):
        write_parquet(report, tmp_path / "r.parquet")
    assert not (tmp_path / "r.parquet").exists()
