"""What becomes of a small print when the plant fails under it: exact, declared, or stopped safe with its reason?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_helpers import write_small_job
from print_helpers import Printed, print_virtual

from control.host import Status
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.small_job import small_job
from hil_sim.world.faults import KINDS

FOREVER_S = 1e5
LAYERS = 3


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers of a square with three lines in it."""
    return write_small_job(tmp_path_factory.mktemp("small") / "small.kiln", LAYERS)


def struck(kind: str, point: str, **anchor: Any) -> tuple[dict[str, Any], ...]:
    if not anchor:
        anchor = {"at_layer": 1, "for_s": FOREVER_S}
    return ({"kind": kind, "point": point, **anchor},)


Change = Callable[[str], str]
SHORT_LEAK = {"at_layer": 1, "after_s": 5.3, "for_s": 0.7, "args": {"watts": 30}}  # between two lines, and over again
STOPPED = [
    ("jam", "recoater.blade", {}, "recoater: the drive reports a fault"),
    ("beam_dead", "beam.source", {}, "beam: layer 1 took 0.0 J of light"),
    ("beam_weak", "beam.source", {}, "the source is weak"),
    ("beam_weak", "beam.source", {"args": {"fraction": 0.97}}, "the source is weak"),
    ("beam_stuck_on", "beam.source", {}, "its source is stuck on"),
    ("beam_stuck_on", "beam.source", SHORT_LEAK, "beam: layer 1 took 131.8 J of light and its plan asks for 128.0 J"),
    ("supply_sag", "power.feeder", {}, "the source is weak"),
    ("shutter_stuck", "beam.shutter", {}, "beam"),
    ("door_open", "interlock.door", {}, "beam: the interlock circuit is open"),
    ("purge_lost", "interlock.purge", {}, "beam: the interlock circuit is open"),
    ("brownout", "power.feeder", {"for_s": 3.0}, ""),
    ("outage", "power.feeder", {"for_s": 60.0}, ""),
    ("missed_steps", "motion.axis", {}, "motion: the end switch of x is open"),
    ("stall_axis", "motion.axis", {"for_s": 8.0}, "layer 1 may lie elsewhere than planned"),
    ("blur", "camera", {"at_event": 3, "count": 9}, "camera: the powder of layer 1 cannot be judged"),
    ("glare", "camera", {"at_event": 3, "count": 9}, "camera: the powder of layer 1 cannot be judged"),
    ("frozen", "camera", {"at_event": 3, "count": 9}, "camera: the powder of layer 1 cannot be judged"),
    ("bad_jpeg", "camera", {"at_event": 3, "count": 9}, "that are no whole JPEG"),
    ("bad_jpeg", "camera", {"at_event": 3, "count": 9, "args": {"how": "patched"}}, "is damaged: its data end in"),
    ("bad_jpeg", "camera", {"at_event": 3, "count": 9, "args": {"how": "zeros"}}, "is damaged: "),
    ("wrong_size", "camera", {"at_event": 3, "count": 9}, "camera: the powder of layer 1 cannot be judged"),
    ("exposure_step", "camera", {"at_event": 3, "count": 9}, "camera: the powder of layer 1 cannot be judged"),
    ("no_frame", "camera", {"at_event": 3, "count": 9}, "camera"),
]  # fmt: skip
UNSEEN = [
    ("missed_steps", "motion.axis", {"args": {"mm": 0.4}}),
    ("backlash", "motion.axis", {}),
    ("wrong_home", "motion.axis", {"at_s": 0.1}),
    ("piston_slip", "piston.axis", {"args": {"mm": 0.2}}),
]
GOES_ON = [
    ("streak", "recoater.feed", {"at_event": 1}, Verdict.DEGRADED),
    ("streak", "recoater.feed", {"at_event": 1, "count": 2}, Verdict.DEGRADED),
    ("short_feed", "recoater.feed", {"at_event": 1, "args": {"fraction": 0.1}}, Verdict.DEGRADED),
    ("cooling_lost", "plate.losses", {}, Verdict.EXACT),
    ("ambient", "bed.ambient", {"args": {"to_c": 10.0}}, Verdict.EXACT),
    ("bad_jpeg", "camera", {"at_event": 3, "args": {"how": "patched"}}, Verdict.EXACT),
    ("misaligned", "camera", {"at_event": 3, "count": 9}, Verdict.EXACT),
    ("chiller_lost", "beam.cooling", {}, Verdict.EXACT),  # too short a print to warm its head
]  # fmt: skip


def printed(job: Path, folder: Path, kind: str, point: str, extra: dict[str, Any], machine: Change = str) -> Printed:
    anchor = dict(extra)
    if not {"at_event", "at_layer", "at_s"} & set(anchor):
        anchor["at_layer"] = 1
    if "at_event" not in anchor:
        anchor.setdefault("for_s", FOREVER_S)
    return print_virtual(job, folder, faults=struck(kind, point, **anchor), machine=machine)


@pytest.mark.parametrize(("kind", "point", "extra", "words"), STOPPED)
def test_a_print_that_cannot_go_on_stops_safe_and_names_why(
    job: Path, tmp_path: Path, kind: str, point: str, extra: dict[str, Any], words: str
) -> None:
    end = printed(job, tmp_path, kind, point, extra)
    assert end.outcome is not None, end.error
    assert any(strike.kind == kind for strike in end.record.faults)
    assert end.outcome.status in (Status.STOPPED, Status.FAILED) and words in end.outcome.reason, end.outcome
    assert end.verdict is Verdict.DETECTED, end.judgement
    assert end.end.beam_w == 0.0 and not end.record.end.beam_live
    bound_s, struck_s = KINDS[kind].bound_s, end.record.faults[0].t_s
    if bound_s is not None and words:
        assert end.end.time_s - struck_s <= bound_s + 60.0  # to make it safe takes a while, too


@pytest.mark.parametrize("bench", ["bench", "bench_grbl", "bench_rrf"])
def test_light_that_nobody_asked_for_falls_on_the_part_and_on_nothing_else(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, bench: str
) -> None:
    """A source that is stuck on, behind a photodiode that shows nothing: only the count tells, with the shutter open.
    The machine stands where the layer begins by then, which is not where it was homed."""
    job = small_job(tmp_path_factory.mktemp("job"), machine=bench)
    faults = (
        {"kind": "spike", "point": "beam.emission", "at_layer": 0, "for_s": FOREVER_S, "args": {"value": -1000.0}},
        {"kind": "beam_stuck_on", "point": "beam.source", "at_layer": 0, "for_s": FOREVER_S, "args": {"watts": 200}},
    )
    end = print_virtual(job, tmp_path, faults=faults, bench=bench)
    assert end.outcome is not None and "its source is stuck on" in end.outcome.reason, (end.outcome, end.error)
    assert end.verdict is Verdict.DETECTED, end.judgement
    places = {(round(x), round(y)) for x, y in (still.at_mm for still in end.record.still)}
    assert places and (0, 0) not in places, places
    assert end.record.end.beam_energy_j < 5.0


@pytest.mark.parametrize(("kind", "point", "extra", "verdict"), GOES_ON)
def test_a_print_that_can_go_on_is_whole(
    job: Path, tmp_path: Path, kind: str, point: str, extra: dict[str, Any], verdict: Verdict
) -> None:
    end = printed(job, tmp_path, kind, point, extra)
    assert any(strike.kind == kind for strike in end.record.faults)
    assert end.outcome is not None and end.outcome.status is Status.DONE, end.outcome
    assert end.verdict is verdict, end.judgement


@pytest.mark.parametrize(("kind", "point", "extra"), UNSEEN)
def test_what_no_sensor_shows_is_declared_as_a_limit_in_the_catalogue(
    job: Path, tmp_path: Path, kind: str, point: str, extra: dict[str, Any]
) -> None:
    """Whoever builds a sensor for one of these, or a check, takes its row away here and its limit there."""
    end = printed(job, tmp_path, kind, point, extra)
    assert end.outcome is not None and end.outcome.status is Status.DONE, end.outcome
    assert end.verdict is Verdict.SILENT, end.judgement
    assert KINDS[kind].is_known_limit
