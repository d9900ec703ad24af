"""Does the emulated beam head fire only when everything allows it, and stop by itself when nobody feeds it?"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_slave_helpers import read, write

from hil_sim.world.emulators.beam_head import BeamHead
from hil_sim.world.emulators.modbus_pdu import Refusal, answer

POWER, SHUTTER, TOKEN, FIRE, EMISSION, STATUS, WATCHDOG, STOP, ENERGY = range(1, 10)
INTERLOCK_OK, ARMED, FIRING, TRIPPED, FAULT = 1, 2, 4, 8, 16


class Bench:
    """A head on a hand-turned clock. `emitted`: what it told the optics; S is 1 while it emits."""

    class _Timer:
        def __init__(self, callback: Callable[[], object]) -> None:
            self.callback: Callable[[], object] | None = callback

        def cancel(self) -> None:
            self.callback = None

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, int, Bench._Timer]] = []
        self._order = itertools.count()
        self.emitted: list[tuple[float, float]] = []
        self.s_fraction = 1.0
        self.head = BeamHead(
            on_emission=lambda t_s, watts: self.emitted.append((t_s, watts)),
            emission_w=lambda t_s: self.head.capability_w * self.s_fraction,
            timers=self,
        )

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object], /) -> Bench._Timer:
        timer = self._Timer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            self.now, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                timer.callback()
        self.now = end

    def write(self, register: int, value: int | list[int]) -> None:
        write(self.head, register, value, self.now)

    def read(self, register: int) -> int:
        return read(self.head, register, 1, self.now)[0]

    def refuses(self, register: int, value: int | list[int]) -> int:
        with pytest.raises(Refusal) as refused:
            self.write(register, value)
        return refused.value.code

    def fire(self, watts: float = 100.0) -> None:
        self.write(POWER, round(watts * 10))
        self.write(SHUTTER, 1)
        self.write(TOKEN, 7)
        self.write(FIRE, 1)


def test_it_boots_safe() -> None:
    bench = Bench()
    assert read(bench.head, 0, 9, 0.0) == [0x4B48, 0, 0, 0, 0, 0, INTERLOCK_OK, 1000, 0]


def test_addresses_and_functions() -> None:
    bench = Bench()
    for register in (0, EMISSION, STATUS, 9, 10, 11):
        assert bench.refuses(register, 1) == 2
    assert bench.refuses(POWER, [1, 0, 0, 0, 0]) == 2  # runs into the read-only 5: nothing is changed
    assert bench.read(POWER) == 0
    assert answer(bench.head, bytes.fromhex("04 0000 0001"), 0.0) == b"\x84\x01"
    assert answer(bench.head, bytes.fromhex("03 000A 0002"), 0.0) == b"\x83\x02"


@pytest.mark.parametrize(
    ("register", "value"),
    [(POWER, 2001), (POWER, 65535), (SHUTTER, 2), (FIRE, 2), (WATCHDOG, 99), (WATCHDOG, 5001), (STOP, 2)],
)
def test_values_out_of_range_are_refused_and_change_nothing(register: int, value: int) -> None:
    bench = Bench()
    before = read(bench.head, 0, 9, 0.0)
    assert bench.refuses(register, value) == 4
    assert bench.refuses(POWER, [*[10, 1, 0, 0][: register - POWER], value]) in (2, 4)
    assert read(bench.head, 0, 9, 0.0) == before


def test_firing_needs_arm_shutter_interlock_and_no_fault() -> None:
    bench = Bench()
    bench.write(POWER, 1000)
    assert bench.refuses(FIRE, 1) == 4
    bench.write(TOKEN, 7)
    assert bench.refuses(FIRE, 1) == 4
    bench.write(SHUTTER, 1)
    bench.write(FIRE, 1)
    assert bench.read(STATUS) == INTERLOCK_OK | ARMED | FIRING
    assert bench.emitted == [(0.0, 100.0)]
    bench.write(FIRE, 0)
    assert bench.emitted[-1] == (0.0, 0.0)
    bench.head.set_fault(0.0, True)
    bench.write(SHUTTER, 1)
    assert bench.read(STATUS) == INTERLOCK_OK | FAULT
    bench.write(TOKEN, 7)
    assert bench.refuses(FIRE, 1) == 4


def test_emission_is_read_back_with_the_motion_controllers_fraction() -> None:
    bench = Bench()
    bench.fire(65.4)
    bench.s_fraction = 0.5
    assert bench.read(EMISSION) == 327
    bench.write(POWER, 2000)  # may change while firing
    assert bench.emitted == [(0.0, 65.4), (0.0, 200.0)]
    bench.write(SHUTTER, 0)
    assert (bench.read(EMISSION), bench.read(FIRE), bench.read(TOKEN)) == (0, 0, 7)


def test_silence_trips_the_watchdog_at_its_time_and_arming_needs_a_clean_zero() -> None:
    bench = Bench()
    bench.fire()
    bench.wait(0.9)
    bench.write(WATCHDOG, 1000)  # any valid write feeds
    bench.wait(5.0)
    assert bench.emitted == [(0.0, 100.0), (1.9, 0.0)]  # by itself: nobody asked
    assert read(bench.head, SHUTTER, 5, bench.now) == [0, 0, 0, 0, INTERLOCK_OK | TRIPPED]
    assert bench.refuses(TOKEN, 7) == 4  # a blind feeder cannot re-arm
    bench.write(TOKEN, 0)
    bench.write(TOKEN, 8)
    assert bench.read(STATUS) == INTERLOCK_OK | ARMED


def test_a_refused_write_and_a_read_do_not_feed() -> None:
    bench = Bench()
    bench.fire()
    for _ in range(4):
        bench.wait(0.3)
        bench.read(STATUS)
        bench.refuses(POWER, 3000)
    assert bench.emitted[-1] == (1.0, 0.0)


def test_a_shorter_watchdog_strikes_at_once_on_its_new_time() -> None:
    bench = Bench()
    bench.write(WATCHDOG, 5000)
    bench.fire()
    bench.wait(1.0)
    bench.write(WATCHDOG, 200)
    bench.wait(10.0)
    assert bench.emitted[-1] == (pytest.approx(1.2), 0.0)
    assert bench.head.watchdog_trips == 1


def test_the_watchdog_sleeps_while_disarmed() -> None:
    bench = Bench()
    bench.write(SHUTTER, 1)
    bench.wait(100.0)
    assert (bench.read(SHUTTER), bench.read(STATUS)) == (1, INTERLOCK_OK)


def test_the_token_lives_thirty_seconds_and_the_same_token_renews_it() -> None:
    bench = Bench()
    bench.fire()
    for _ in range(100):  # 25 s of feeding with another register
        bench.wait(0.25)
        bench.write(POWER, 1000)
    assert bench.refuses(TOKEN, 8) == 4
    bench.write(TOKEN, 7)
    for _ in range(200):
        bench.wait(0.25)
        bench.write(POWER, 1000)
    assert bench.emitted == [(0.0, 100.0), (55.0, 0.0)]
    assert bench.read(STATUS) == INTERLOCK_OK  # no latch
    assert bench.head.token_expiries == 1 and bench.head.watchdog_trips == 0


def test_stop_latches() -> None:
    bench = Bench()
    bench.fire()
    bench.wait(0.5)
    bench.write(STOP, 1)
    assert bench.emitted[-1] == (0.5, 0.0)
    assert read(bench.head, SHUTTER, 7, bench.now) == [0, 0, 0, 0, INTERLOCK_OK, 1000, 1]
    assert bench.refuses(TOKEN, 7) == 4
    bench.write(STOP, 0)
    assert bench.read(STOP) == 1
    bench.write(TOKEN, 0)
    assert bench.read(STOP) == 0
    bench.write(TOKEN, 7)


def test_an_open_interlock_disarms_and_refuses() -> None:
    bench = Bench()
    bench.fire()
    bench.head.set_interlock(0.0, False)
    assert bench.emitted[-1] == (0.0, 0.0)
    assert bench.read(STATUS) == 0
    assert bench.refuses(TOKEN, 7) == 4 and bench.refuses(SHUTTER, 1) == 4 and bench.read(SHUTTER) == 0
    bench.head.set_interlock(0.0, True)
    assert bench.read(FIRE) == 0  # closing it does not fire again
    bench.write(TOKEN, 7)


def open_the_door(bench: Bench) -> None:
    bench.head.set_interlock(bench.now, False)


def fail(bench: Bench) -> None:
    bench.head.set_fault(bench.now, True)


def outlive_the_token(bench: Bench) -> None:
    for _ in range(124):
        bench.wait(0.25)
        bench.write(POWER, 1000)


def fall_silent(bench: Bench) -> None:
    bench.wait(6.0)


@pytest.mark.parametrize("happen", [open_the_door, fail, outlive_the_token, fall_silent])
def test_whatever_disarms_it_by_itself_closes_it(happen: Callable[[Bench], None]) -> None:
    """Nobody watches a disarmed head: its watchdog sleeps, and a source that fails then would shine out."""
    bench = Bench()
    bench.fire()
    happen(bench)
    assert not bench.head.armed and bench.read(SHUTTER) == 0


def test_its_count_is_nothing_after_power_up() -> None:
    bench = Bench()
    counted_j = 0.0
    bench.head._energy_j = lambda _t_s: counted_j
    bench.fire()
    counted_j = 12.5
    assert read(bench.head, ENERGY, 2, bench.now) == [0, 125]
    bench.head.power_cycle(bench.now)
    assert read(bench.head, ENERGY, 2, bench.now) == [0, 0]


def test_a_block_that_is_refused_halfway_leaves_an_armed_head_under_its_watchdog() -> None:
    bench = Bench()
    assert bench.refuses(TOKEN, [9, 1]) == 4  # armed, but the shutter is closed
    assert bench.read(STATUS) == INTERLOCK_OK | ARMED
    bench.wait(2.0)
    assert bench.read(STATUS) == INTERLOCK_OK | TRIPPED


ACTIONS = st.one_of(
    st.tuples(st.integers(1, 8), st.sampled_from([0, 1, 7, 8, 100, 500, 1000, 5000])),
    st.tuples(st.just(-1), st.sampled_from([0.05, 0.3, 1.5, 6.0, 31.0])),
    st.tuples(st.just(-2), st.booleans()),
    st.tuples(st.just(-3), st.booleans()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_it_never_emits_unless_everything_allows_it(actions: list[tuple[int, float]]) -> None:
    bench = Bench()
    fed_s, watchdog_s, interlock = 0.0, 1.0, True
    for action, value in actions:
        if action == -1:
            bench.wait(value)
        elif action == -2:
            interlock = bool(value)
            bench.head.set_interlock(bench.now, interlock)
        elif action == -3:
            bench.head.set_fault(bench.now, bool(value))
        else:
            try:
                bench.write(action, int(value))
            except Refusal as refusal:
                assert refusal.code in (2, 4)
            else:
                fed_s = bench.now
        watchdog_s = bench.read(WATCHDOG) / 1000
        status = bench.read(STATUS)
        emitting = bench.head.capability_w > 0
        assert emitting == (bench.emitted[-1][1] > 0 if bench.emitted else False)
        if emitting:
            assert status & ARMED and status & FIRING and bench.read(SHUTTER) == 1
            assert interlock and not status & (FAULT | TRIPPED) and bench.read(STOP) == 0
            assert bench.now - fed_s < watchdog_s
        assert [t for t, _ in bench.emitted] == sorted(t for t, _ in bench.emitted)
