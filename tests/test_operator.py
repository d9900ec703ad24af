"""Does the operator's word arrive: intents in order, a stop before all of them, nothing without a bound?"""

from __future__ import annotations

import asyncio

from control.operator import INTENTS_MAX, Intent, Operator
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop


def test_intents_come_out_in_the_order_in_which_they_were_asked() -> None:
    async def main(_loop: VirtualLoop) -> list[Intent]:
        operator = Operator()
        for intent in (Intent.PAUSE, Intent.RESUME, Intent.CANCEL):
            assert operator.ask(intent)
        return [await operator.next() for _ in range(3)]

    assert run_virtual(main) == [Intent.PAUSE, Intent.RESUME, Intent.CANCEL]


def test_whoever_waits_is_woken_by_the_next_intent() -> None:
    async def main(loop: VirtualLoop) -> tuple[Intent, float]:
        operator = Operator()
        loop.call_later(3.0, operator.ask, Intent.RESUME)
        return await operator.next(), loop.time()

    assert run_virtual(main) == (Intent.RESUME, 3.0)


def test_the_queue_is_bounded_and_says_so_but_a_stop_is_never_refused() -> None:
    operator = Operator()
    assert all(operator.ask(Intent.RESUME) for _ in range(INTENTS_MAX))
    assert not operator.ask(Intent.PAUSE)
    assert not operator.wants_break, "a refused intent has no effect"
    assert operator.ask(Intent.STOP, "the red button") and operator.wants_break
    assert operator.stop_reason == "the red button"
    assert sum(operator.take() is not None for _ in range(INTENTS_MAX + 1)) == INTENTS_MAX


def test_a_stop_stands_before_a_pause_that_nobody_has_read() -> None:
    async def main(_loop: VirtualLoop) -> Intent:
        operator = Operator()
        operator.ask(Intent.PAUSE)
        operator.ask(Intent.STOP)
        return await asyncio.wait_for(operator.next(), 1.0)

    assert run_virtual(main) is Intent.STOP


def test_a_stop_is_told_at_once_and_only_once_and_keeps_its_first_reason() -> None:
    operator, heard = Operator(), []
    operator.when_stopped(heard.append)
    operator.ask(Intent.STOP, "first")
    operator.ask(Intent.STOP, "second")
    assert heard == ["first"] and operator.stop_reason == "first"
    late: list[str] = []
    operator.when_stopped(late.append)
    assert late == ["first"], "whoever comes after the stop must hear of it too"


def test_what_a_stream_must_break_off_for() -> None:
    for intent, breaks in [(Intent.PAUSE, True), (Intent.CANCEL, True), (Intent.STOP, True), (Intent.RESUME, False)]:
        operator = Operator()
        operator.ask(intent)
        assert operator.wants_break is breaks, intent
    operator = Operator()
    operator.ask(Intent.PAUSE)
    operator.take()
    assert not operator.wants_break
