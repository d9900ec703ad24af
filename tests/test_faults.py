"""Is a fault schedule what it says: frozen data, refused where it could never strike, kept through JSON?"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import pickle
from pathlib import Path

import pytest
from defined_tests import defined_in
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import build_world
from hil_sim.world.faults import FAMILIES, KINDS, Fault, Faults, FaultSchedule, check_faults
from hil_sim.world.faults.actuator import feed_fraction
from hil_sim.world.faults.schedule import ANCHORS, COUNTED
from hil_sim.world.faults.stream import strike_chunk
from hil_sim.world.faults.thermal import reading_c
from hil_sim.world.wiring import WorldError


def test_a_window_is_half_open_and_the_first_fault_wins():
    early, late = Fault("drop", "a.to_host", at_s=1.0, for_s=2.0), Fault("flip", "a.to_host", at_s=2.0, for_s=5.0)
    schedule = FaultSchedule((early, late))
    assert [schedule.active("a.to_host", t) for t in (0.999, 1.0, 2.5, 3.0, 6.999, 7.0)] == [
        None, early, early, late, late, None,
    ]  # fmt: skip
    assert schedule.active("b.to_host", 2.0) is None
    assert schedule.touches("a.to_host") and not schedule.touches("b.to_host")


def test_a_counted_anchor_strikes_its_events_and_no_time():
    fault = Fault("drop", "a.to_device", at_chunk=3, count=2)
    schedule = FaultSchedule((fault,))
    assert [n for n in range(8) if schedule.strike("a.to_device", n)] == [3, 4]
    assert schedule.active("a.to_device", 3.0) is None and schedule.touches("a.to_device")


@pytest.mark.parametrize(
    "settings",
    [
        {"at_chunk": 3, "for_s": 1.0}, {"at_chunk": 3, "after_s": 1.0}, {"at_light": 1, "for_s": 1.0, "count": 7},
        {"at_s": 1.0, "for_s": 1.0, "count": 7}, {"at_s": 1.0, "for_s": 1.0, "after_s": 12.0},
        {"at_s": 1.0, "for_s": 1.0, "may_idle": "false"}, {"at_s": 1.0, "for_s": 1.0, "may_idle": 1},
        {}, {"at_s": 1.0}, {"at_s": -1.0, "for_s": 1}, {"at_s": float("nan"), "for_s": 1}, {"at_chunk": -1},
        {"at_chunk": 0, "count": 0}, {"at_s": 1.0, "for_s": 1.0, "at_chunk": 1}, {"at_s": 1.0, "for_s": float("nan")},
    ],
)  # fmt: skip
def test_an_anchor_that_could_never_strike_is_refused(settings):
    with pytest.raises(ValueError, match=r"'drop' at 'a\.to_host'"):
        Fault("drop", "a.to_host", **settings)


@pytest.mark.parametrize("anchor", ANCHORS)
def test_a_fault_is_refused_or_the_same_when_it_is_read_again(anchor):
    spans = itertools.product((0.0, 1.0), (0.0, 2.0), (1, 3), (False, True))
    taken = []
    for for_s, after_s, count, may_idle in spans:
        with contextlib.suppress(ValueError):
            taken.append(
                Fault("drop", "a.to_host", for_s=for_s, after_s=after_s, count=count, may_idle=may_idle, **{anchor: 2})
            )
    assert taken and [Fault.from_dict(fault.to_dict()) for fault in taken] == taken


def test_faults_are_frozen_hashable_and_survive_json_and_pickle():
    fault = Fault("delay", "a.to_host", at_s=1.5, for_s=2.0, args={"delay_s": 0.2})
    counted = Fault("insert", "a.to_host", at_chunk=7, args={"hex": "0d0a"})
    layered = Fault("drop", "a.to_host", at_layer=3, after_s=0.5, for_s=2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        fault.kind = "drop"  # type: ignore[misc]
    schedule = FaultSchedule((fault, counted, layered))
    assert len({fault, counted, dataclasses.replace(fault)}) == 2 and hash(schedule) == hash(
        FaultSchedule((fault, counted, layered))
    )
    rows = json.loads(json.dumps([f.to_dict() for f in schedule.faults]))
    assert FaultSchedule(tuple(Fault.from_dict(row) for row in rows)) == schedule
    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == schedule and copy.active("a.to_host", 2.0) == fault
    with pytest.raises(ValueError, match="wen"):
        Fault.from_dict({"kind": "drop", "point": "a.to_host", "wen": 3})


def test_a_schedule_that_this_world_cannot_carry_out_is_named_in_sentences():
    schedule = FaultSchedule(
        (
            Fault("drpo", "motion.to_device", at_chunk=0),
            Fault("drop", "recoater.feed", at_chunk=0),
            Fault("drop", "nowhere.to_host", at_chunk=0),
            Fault("flip", "motion.to_host", at_chunk=0, args={"bite": 3}),
            Fault("short_feed", "recoater.feed", at_s=1.0, for_s=1.0, args={"fraction": 0.4}),
            Fault("short_feed", "recoater.feed", at_chunk=1),
        )
    )
    sentences = check_faults(schedule, ["motion.to_host", "motion.to_device", "recoater.feed"])
    assert [sentence.split("'")[1] for sentence in sentences] == [
        "drpo",
        "drop",
        "nowhere.to_host",
        "flip",
        "short_feed",
    ]
    assert len(check_faults(schedule)) == 4


@given(st.binary(min_size=1, max_size=64), st.integers(0, 200), st.integers(0, 20))
def test_a_flip_changes_exactly_one_bit(chunk, byte, bit):
    fault = Fault("flip", "a.to_host", at_chunk=0, args={"byte": byte, "bit": bit})
    delay_s, struck = strike_chunk(fault, chunk)
    assert delay_s == 0 and len(struck) == len(chunk)
    assert sum((a ^ b).bit_count() for a, b in zip(chunk, struck, strict=True)) == 1


def test_kinds_of_other_families_are_refused_where_they_cannot_strike():
    short = Fault("short_feed", "recoater.feed", at_s=0, for_s=1, args={"fraction": 0.3})
    assert feed_fraction(short) == 0.3 and feed_fraction(None) == 1.0
    with pytest.raises(ValueError, match="no fault of a byte stream"):
        strike_chunk(short, b"x")
    with pytest.raises(ValueError, match="no fault of the feed"):
        feed_fraction(Fault("drop", "a.to_host", at_chunk=0))
    with pytest.raises(ValueError, match="no fault of a sensor"):
        reading_c(Fault("heater_open", "motion.plate", at_s=0, for_s=1))


def test_no_two_families_have_a_kind_of_one_name():
    assert len(KINDS) == sum(len(family) for family in FAMILIES.values())


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_says_what_it_is_and_names_a_test_that_exists(name):
    kind = KINDS[name]
    assert kind.models and kind.reaction and kind.bound and kind.points
    assert kind.counted is None or kind.counted in COUNTED
    file, _, test = kind.test.partition("::")
    assert test in defined_in(Path(__file__).parent.parent / file)


def test_a_layers_window_begins_with_the_layer_and_is_noted_once():
    fault = Fault("drop", "a.to_host", at_layer=2, after_s=1.0, for_s=2.0)
    faults = Faults(FaultSchedule((fault,)))
    faults.begin_layer(1, 5.0)
    assert faults.touches("a.to_host") and faults.now("a.to_host", 6.5) is None
    faults.begin_layer(2, 10.0)
    faults.begin_layer(2, 12.0)  # one more pass
    asked = [faults.event("a.to_host", t) for t in (10.9, 11.0, 12.9, 13.0)]
    assert asked == [None, fault, fault, None] and faults.strikes == [(11.0, "a.to_host", fault)]


def test_a_window_in_the_light_begins_with_the_layers_first_exposed_block():
    fault = Fault("door_open", "interlock.door", at_light=2, after_s=1.0, for_s=2.0)
    assert Fault.from_dict(fault.to_dict()) == fault and fault.to_dict()["at_light"] == 2
    faults = Faults(FaultSchedule((fault,)))
    assert faults.waits_for_light and not Faults(FaultSchedule()).waits_for_light
    with pytest.raises(ValueError, match="anchored by at_light"):
        faults.ends_s(fault)
    faults.begin_layer(2, 10.0)  # its powder
    faults.begin_light(1, 11.0)
    assert faults.now("interlock.door", 12.5) is None
    faults.begin_light(2, 15.0)
    faults.begin_light(2, 15.4)  # its second block
    asked = [faults.now("interlock.door", t) for t in (15.9, 16.0, 17.9, 18.0)]
    assert asked == [None, fault, fault, None] and faults.ends_s(fault) == 18.0
    assert faults.layers == 1, "light is no layer of its own"


def test_events_are_counted_by_point_and_every_one_that_is_struck_is_noted():
    fault = Fault("drop", "a.to_host", at_chunk=1, count=2)
    faults = Faults(FaultSchedule((fault,)))
    assert [faults.event("b.to_host", 0.0) for _ in range(3)] == [None] * 3
    assert [faults.event("a.to_host", t) for t in (1.0, 2.0, 3.0, 4.0)] == [None, fault, fault, None]
    assert [t for t, _, _ in faults.strikes] == [2.0, 3.0]


def test_a_fault_that_a_world_has_no_place_for_is_refused():
    async def main(loop: VirtualLoop) -> None:
        await build_world("bench", lay="virtual", faults=FaultSchedule((Fault("drop", "bus7.to_host", at_chunk=1),)))

    with pytest.raises(WorldError, match=r"no point 'bus7.to_host'"):
        run_virtual(main)


def test_a_fault_that_lasts_cannot_be_hung_on_a_count():
    by_count = FaultSchedule((Fault("heater_open", "motion.plate", at_event=3),))
    assert check_faults(by_count) == ["'heater_open' is anchored by at_s, at_layer or at_light, not by at_event."]
    assert check_faults(FaultSchedule((Fault("heater_open", "motion.plate", at_s=3, for_s=1),))) == []
