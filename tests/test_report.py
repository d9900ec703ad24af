"""Does the report say what the run's folder holds, whole or damaged, in a page that stands alone?"""

from __future__ import annotations

import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_helpers import START_NS, inspection, make_run, outcome, write_truth

from control.errors import MoonkilnError
from control.outcome import Declared, Status
from control.report import duration, number, si, write_report
from control.report_telemetry import read_telemetry, telemetry_files
from control.report_truth import strength_mpa
from control.telemetry import Telemetry
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop

VOID = {"meta", "link", "img", "br", "input", "image", "hr"}


class Page(HTMLParser):
    """The page as a browser takes it: tags that close in order, everything that would be loaded, and the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"<{tag} {name}>"
            if name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
                self.loads.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words += data


def read(page: Path) -> tuple[Page, dict]:
    return Page(page.read_text(encoding="utf-8")), json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = make_run(tmp_path_factory.mktemp("run") / "20281102-000000", ended=outcome())
    write_truth(run_dir, run_dir / "part.kiln", energy_scale=1.02)
    return run_dir


def test_a_page_stands_alone(whole: Path) -> None:
    page, _ = read(write_report(whole))
    assert page.loads and all(load.startswith("data:") for load in page.loads)
    assert "script" not in page.tags and "link" not in page.tags
    text = (whole / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)", text)
    assert "http:" not in text and "https:" not in text


def test_the_numbers_are_the_runs(whole: Path) -> None:
    page, facts = read(write_report(whole))
    assert facts["schema_version"] == 1
    assert facts["verdict"]["status"] == "done"
    assert facts["totals"]["energy_j"] == 198.0 and facts["totals"]["polls"] == 4321
    for words in ("4,321", "198 J", "2 of 2", "Layer 2 may have been exposed twice at vectors 3 to 5.", "short_feed"):
        assert words in page.words, words
    assert "made of" not in page.words
    rows = facts["layers"]
    assert [(row["committed"], row["vectors_claimed"], row["energy_claimed_j"]) for row in rows] == [
        (True, 7, 99.0)
    ] * 2
    assert [row["flags"] for row in rows] == [[], ["re_exposed"]]
    assert [row["strokes"] for row in rows] == [1, 2]
    assert rows[0]["exposing_s"] == pytest.approx(55.0) and rows[1]["exposing_s"] == pytest.approx(50.0)
    assert rows[1]["powder"]["thin_area_mm2"] == 0.0 and rows[1]["exposed"]["iou"] == pytest.approx(0.91)
    assert facts["totals"]["meter_j"] == pytest.approx(0.114 * 3.6e6, rel=0.02)
    assert facts["job"]["solid_kg"] == pytest.approx(100.0 * 1.0 * 1e-9 * 1500.0)
    assert facts["totals"]["energy_j_kg"] == pytest.approx(198.0 / (100.0 * 1.0 * 1e-9 * 1500.0))
    assert {row["key"] for row in facts["recipe"]["numbers"]} >= {"power_w", "spot_mm", "density_kg_m3"}
    assert page.tags.count("img") == 2 * 3, "a path, a powder and an exposed picture of each layer"
    assert page.words.count("polls") >= 3


def test_truth_stands_beside_the_claims(whole: Path) -> None:
    page, facts = read(write_report(whole))
    truth = facts["truth"]
    assert truth["blocks"] == 14
    for row in facts["layers"]:
        assert row["blocks_true"] == 7
        assert row["energy_true_j"] == pytest.approx(1.02 * row["energy_planned_j"])
        assert row["scan_true_s"] == pytest.approx(6.5)
    assert truth["peak_temp_c"] == 1234.5
    assert truth["density"]["mean_kg_m3"] == pytest.approx(2310.0)
    low, high = truth["density"]["porosity"]
    assert low == pytest.approx(1 - 2310 / 2900) and high == pytest.approx(1 - 2310 / 3100)
    assert truth["density"]["strength_mpa"] == pytest.approx([strength_mpa(high), strength_mpa(low)])
    assert strength_mpa(0.4) == pytest.approx(0.632, rel=0.01), "a tenth of the 6.3 MPa of the fit at 40 %"
    assert "MPa, predicted" in page.words and "defect factor" in page.words
    assert page.tags.count("image") == 3, "peak temperature, mean density, section"


def test_truth_may_lie_elsewhere(whole: Path, tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", ended=outcome())
    page, facts = read(write_report(run_dir))
    assert facts["truth"] is None and "hardware has none" in page.words
    (tmp_path / "world").mkdir()
    write_truth(tmp_path / "world", run_dir / "part.kiln")
    output = write_report(run_dir, truth_dir=tmp_path / "world", output=tmp_path / "elsewhere.html")
    assert output == tmp_path / "elsewhere.html" and output.with_suffix(".json").is_file()
    assert read(output)[1]["truth"]["blocks"] == 14


def test_a_host_that_died_still_gets_its_report(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", layers=(0,), close=False)
    page, facts = read(write_report(run_dir))
    assert facts["verdict"]["status"] == "no outcome"
    assert "its host died, or is still at work" in page.words
    assert facts["totals"]["layers"] == 1 and facts["totals"]["vectors"] == 7
    assert [row["committed"] for row in facts["layers"]] == [True, False]
    # what a session told before its first chunk of 64 KiB dies with it
    assert any("was not closed" in note or "is empty" in note for note in facts["notes"])
    assert {event["text"] for event in facts["events"]} >= {"session 1: machine bench is ready"}
    assert not list(run_dir.glob("*-wal")) and not list(run_dir.glob("*-shm")), "reading leaves no trace"


@pytest.mark.parametrize("later_s", [1e4, 3e8, -1e4, -1.8e9, -30.0])
def test_sessions_are_joined_in_order(tmp_path: Path, later_s: float) -> None:
    """Whatever the computer's clock showed at the second one: a board without a battery begins in 1970 each time."""
    run_dir = make_run(tmp_path / "run", layers=(0,))
    make_run(run_dir, layers=(1,), ended=outcome(), later_s=later_s)
    assert (run_dir / "telemetry.1.mcap").is_file()
    _, facts = read(write_report(run_dir))
    assert any("had been set back" in note for note in facts["notes"]) == (later_s < 0)
    assert facts["totals"]["all_sessions_s"] == pytest.approx(180.0, abs=3.0), "the hours between are left out"
    assert [row["strokes"] for row in facts["layers"]] == [1, 2]
    times = [event["at_s"] for event in facts["events"] if "thin" in event["text"]]
    assert len(times) == 2 and times[0] < 65.0 < times[1], "the first session's come first"
    assert [row["exposing_s"] for row in facts["layers"]] == pytest.approx([55.0, 110.0], abs=1.0)


def test_sessions_are_counted_not_spelled(tmp_path: Path) -> None:
    for name in ("telemetry.mcap", "telemetry.10.mcap", "telemetry.2.mcap", "telemetry.1.mcap", "telemetry.x.mcap"):
        (tmp_path / name).touch()
    found = [path.name for path in telemetry_files(tmp_path)]
    assert found == ["telemetry.1.mcap", "telemetry.2.mcap", "telemetry.10.mcap", "telemetry.mcap"]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.6, 0.9, 0.999])
def test_telemetry_cut_short_costs_no_report(tmp_path: Path, share: float) -> None:
    run_dir = make_run(tmp_path / "run", ended=outcome())
    path = run_dir / "telemetry.mcap"
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    _, facts = read(write_report(run_dir))
    if share < 0.7:
        assert any("telemetry.mcap" in note for note in facts["notes"])
    else:
        assert facts["totals"]["messages"] > 20, "only the index was lost"
    assert facts["totals"]["polls"] == 4321


def test_what_stands_before_a_cut_is_shown(tmp_path: Path) -> None:
    path, rng = tmp_path / "telemetry.mcap", np.random.default_rng(4)

    async def tell(_: VirtualLoop) -> None:
        with Telemetry.open(path, START_NS) as telemetry:
            for layer in range(12):
                telemetry.picture(layer, "powder", rng.bytes(60_000), inspection("powder"))

    run_virtual(tell)
    whole = read_telemetry([path], lambda layer: True)
    assert len(whole.pictures) == 12 and not whole.notes
    path.write_bytes(path.read_bytes()[:400_000])
    cut = read_telemetry([path], lambda layer: layer != 1)
    assert [look.layer for look in cut.looks] == list(range(len(cut.looks))) and 4 <= len(cut.looks) <= 6
    assert (0, "powder") in cut.pictures and (1, "powder") not in cut.pictures, "only what is wanted is kept"
    assert all(cut.pictures[key] == whole.pictures[key] for key in cut.pictures)
    assert len(cut.notes) == 1 and "was not closed" in cut.notes[0]


def test_a_flipped_byte_costs_no_report(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", ended=outcome())
    path = run_dir / "telemetry.mcap"
    data = path.read_bytes()
    rng = np.random.default_rng(9)
    for place in rng.integers(0, len(data), 25).tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        read(write_report(run_dir))


@pytest.mark.parametrize("name", ["part.kiln", "run.sqlite", "machine.toml", "telemetry.mcap", "outcome.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x00rubbish\xff" * 40])
def test_no_file_is_indispensable(tmp_path: Path, name: str, content: bytes | None) -> None:
    run_dir = make_run(tmp_path / "run", ended=outcome())
    (run_dir / name).unlink()
    if content is not None:
        (run_dir / name).write_bytes(content)
    _, facts = read(write_report(run_dir))
    if name == "outcome.json":
        assert facts["verdict"]["status"] == ("no outcome" if content is None else "unknown")
    else:
        assert facts["verdict"]["status"] == "done"
        assert facts["notes"], f"a report without {name} says so"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half"])
def test_damaged_truth_is_named(tmp_path: Path, content: bytes) -> None:
    run_dir = make_run(tmp_path / "run", ended=outcome())
    (run_dir / "truth.mcap").write_bytes(content)
    (run_dir / "truth_maps.npz").write_bytes(content)
    _, facts = read(write_report(run_dir))
    assert facts["truth"]["blocks"] == 0 and not facts["truth"]["closed"]
    assert sum("truth" in note for note in facts["notes"]) == 2


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=y>&\u202e"
    ended = outcome(Status.FAILED, evil, declared=[Declared("skipped", 0, -1, -1)])
    run_dir = make_run(tmp_path / "<b>evil & co", ended=ended, event=evil)
    text = (run_dir / "machine.toml").read_text(encoding="utf-8")
    (run_dir / "machine.toml").write_text(
        text.replace('name = "bench"', f"name = {json.dumps(evil)}"), encoding="utf-8"
    )
    page, facts = read(write_report(run_dir))
    assert evil in page.words and "script" not in page.tags
    assert all(load.startswith("data:") for load in page.loads)
    assert facts["events"][-1]["text"] == evil and facts["machine"]["name"] == evil


def test_nan_never_reaches_the_json(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", ended=outcome())
    write_truth(run_dir, run_dir / "part.kiln", energy_scale=float("nan"))
    page, facts = read(write_report(run_dir))
    assert facts["layers"][0]["energy_true_j"] in (None, 0.0)
    assert "nan" not in page.words.lower().split()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MoonkilnError, match="holds no run"):
        write_report(tmp_path)
    with pytest.raises(MoonkilnError, match="is no folder"):
        write_report(tmp_path / "absent")


def test_a_truncated_record_length_is_no_allocation(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "run", ended=outcome())
    (run_dir / "telemetry.mcap").write_bytes(b"\x89MCAP0\r\n" + b"\x06" + struct.pack("<Q", 2**60))
    _, facts = read(write_report(run_dir))
    assert any("damaged" in note for note in facts["notes"])


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (12, "12"), (1234.5, "1,234"), (0.01234, "0.0123"), (None, "–"), (float("nan"), "–")]
)
def test_numbers_in_words(value: float | None, words: str) -> None:
    assert number(value) == words


def test_units_and_durations_in_words() -> None:
    assert si(23_400.0, "J") == "23.4 kJ" and si(2.5e6, "J/kg") == "2.50 MJ/kg" and si(-1500.0, "J") == "-1.50 kJ"
    assert duration(7.25) == "7.2 s" and duration(725.0) == "12 min 05 s" and duration(7500.0) == "2 h 05 min"
    assert duration(180_000.0) == "2 d 02 h"
