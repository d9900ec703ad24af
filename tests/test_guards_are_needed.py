"""Is each of the host's guards needed, and would the oracle tell if it were gone?

Every row takes one guard away (with those that would stand in for it) and lets happen what it is there for: the whole
host ends well, exact or having stopped; the one without it must not pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from crash_helpers import run_faulty

from control import exposing, machine, print_run
from control.inspection import Inspector
from control.journal import Journal, LayerStream
from control.machine import Machine
from control.outcome import Outcome
from control.place import Place
from control.resume_point import ResumePoint
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.small_job import small_job

Patch = pytest.MonkeyPatch
FOREVER_S = 100_000.0
HOT_C = 100.0


def no_heater_watch(patch: Patch) -> None:
    patch.setattr(machine, "judged", lambda memory, *_: (memory, []))


def no_device_rules(patch: Patch) -> None:
    patch.setattr(machine, "device_trips", lambda *_: [])


def no_wait_for_warmth(patch: Patch) -> None:
    async def heat(self: Machine, target_c: float) -> None:
        self._heat_target_c = target_c
        await self.devices.heater.set_temp_c(target_c)

    patch.setattr(Machine, "heat", heat)


def no_look_at_the_meter(patch: Patch) -> None:
    patch.setattr(print_run, "still_draws", _nothing_wrong)


def no_word_of_what_is_on(patch: Patch) -> None:
    """It stops and says why, as it did before its outcome had a field for what is not safe."""
    told = Outcome.owning_up

    def wordless(self: Outcome, *args: Any) -> Outcome:
        return msgspec.structs.replace(told(self, *args), not_safe=[])

    patch.setattr(Outcome, "owning_up", wordless)


def no_count_of_light(patch: Patch) -> None:
    patch.setattr(Machine, "_judge_light", lambda *_: [])
    patch.setattr(exposing, "counted_beyond_plan_j", lambda *_: 0.0)


def no_look_for_stray_light(patch: Patch) -> None:
    patch.setattr(machine, "stray_light", lambda *_: [])
    patch.setattr(machine, "stray_count", lambda *_: [])


def no_drive_to_the_end_switches(patch: Patch) -> None:
    patch.setattr(Place, "check", _nothing)


def no_write_ahead(patch: Patch) -> None:
    async def ahead(self: LayerStream, first: int, last: int) -> None:
        self.sent = last + 1
        self.began_s = asyncio.get_running_loop().time() if self.began_s is None else self.began_s

    patch.setattr(LayerStream, "ahead", ahead)


def no_declarations(patch: Patch) -> None:
    patch.setattr(Journal, "declare", _nothing)


def no_doubt_at_a_resume(patch: Patch) -> None:
    """It goes on behind all that may have been exposed, as if all of that were."""
    found: Callable[..., ResumePoint] = print_run.resume_point

    def beyond(*args: Any) -> ResumePoint:
        point = found(*args)
        return replace(point, first_block=point.last_block + 1)

    patch.setattr(print_run, "resume_point", beyond)


def no_picture_before_a_resume(patch: Patch) -> None:
    patch.setattr(Inspector, "has_seen", True)


async def _nothing(*_: Any) -> None:
    pass


async def _nothing_wrong(*_: Any) -> str:
    return ""


@dataclass(frozen=True)
class Row:
    """Guards to take away, what to let happen, on a bed of which temperature, and what the oracle says without."""

    guards: tuple[Callable[[Patch], None], ...]
    fault: dict[str, Any] | tuple[dict[str, Any], ...] | None
    words: str
    bed_c: float = 24.0

    @property
    def faults(self) -> tuple[dict[str, Any], ...]:
        """Any number of them."""
        return self.fault if isinstance(self.fault, tuple) else () if self.fault is None else (self.fault,)


def from_s(at_s: float, kind: str, point: str, **args: Any) -> dict[str, Any]:
    return {"kind": kind, "point": point, "at_s": at_s, "for_s": FOREVER_S, "args": args}


def in_light(kind: str, point: str, after_s: float = 0.0, for_s: float = FOREVER_S, **args: Any) -> dict[str, Any]:
    """In the second layer, behind the beginning of its light."""
    return {"kind": kind, "point": point, "at_light": 1, "after_s": after_s, "for_s": for_s, "args": args}


KILLED = in_light("crash", "host", 0.6, 0.1, back_after_s=1.0)
ROWS = {
    "heater's watch": Row((no_heater_watch,), from_s(10.0, "bias", "heater.temp", offset=-40.0), "plate was", HOT_C),
    "warm-up": Row((no_wait_for_warmth,), None, "the plate was at", HOT_C),
    "meter at rest": Row((no_look_at_the_meter,), from_s(18.0, "heater_stuck_on", "heater.output"), "unasked"),
    "meter at rest, source": Row(
        (no_look_at_the_meter,), from_s(27.57, "beam_stuck_on", "beam.source", watts=50.0), "source made 50 W"
    ),
    "meter at rest of a stop": Row(
        (no_look_at_the_meter,),
        (from_s(18.0, "heater_stuck_on", "heater.output"), in_light("door_open", "interlock.door", 0.5)),
        "with nothing left on",
    ),
    "word of what is on": Row(
        (no_word_of_what_is_on,), from_s(18.0, "heater_stuck_on", "heater.output"), "with nothing left on"
    ),
    "count of weak light": Row((no_count_of_light,), in_light("beam_weak", "beam.source"), "J of"),
    "count of no light": Row((no_count_of_light,), in_light("beam_dead", "beam.source"), "was not exposed"),
    "stray light": Row(
        (no_look_for_stray_light, no_count_of_light, no_device_rules, no_look_at_the_meter),
        in_light("beam_stuck_on", "beam.source"),
        "stood",
    ),
    "place, steps lost": Row(
        (no_drive_to_the_end_switches,), in_light("missed_steps", "motion.axis", 0.5), "was not exposed"
    ),
    "place, axis stood": Row(
        (no_drive_to_the_end_switches,),
        in_light("stall_axis", "motion.axis", 0.5, 1.0) | {"at_light": 0},
        "not exposed",
    ),
    "write-ahead": Row((no_write_ahead,), KILLED, "was exposed"),
    "declarations": Row((no_declarations,), KILLED, "was exposed"),
    "picture before a resume": Row(
        (no_picture_before_a_resume,),
        (
            KILLED | {"at_light": 0},
            in_light("frozen", "camera", 0.05) | {"at_light": 0},
            in_light("short_feed", "recoater.feed", 0.0, fraction=0.0) | {"at_light": 0},
        ),
        "powder less than",
    ),
    "doubt at a resume": Row((no_doubt_at_a_resume,), KILLED, "was not exposed"),
}


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    """The campaign's plate, at room temperature and on a warm bed."""
    return {
        bed_c: small_job(tmp_path_factory.mktemp("plate"), bed_temp_c=bed_c)
        for bed_c in {row.bed_c for row in ROWS.values()}
    }


@pytest.mark.parametrize("name", ROWS)
def test_the_whole_host_ends_well(name: str, plates: dict[float, Path], tmp_path: Path) -> None:
    row = ROWS[name]
    ended = run_faulty(plates[row.bed_c], tmp_path / "run", *row.faults)
    assert ended.result.verdict.is_good, ended.told
    assert ended.result.verdict is not Verdict.EXACT or row.fault is None, "what it is there for has changed nothing"


@pytest.mark.parametrize("name", ROWS)
def test_a_host_without_its_guard_does_not_pass(
    name: str, plates: dict[float, Path], tmp_path: Path, monkeypatch: Patch
) -> None:
    row = ROWS[name]
    for take_away in row.guards:
        take_away(monkeypatch)
    ended = run_faulty(plates[row.bed_c], tmp_path / "run", *row.faults)
    assert ended.result.verdict is Verdict.SILENT, ended.told
    assert any(row.words in reason for reason in ended.result.judgement.reasons), ended.told
