"""Does virtual time keep asyncio's promises, exactly, and does nothing go wrong quietly in it?"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import RUN_START_EPOCH_NS, SimDeadlock, SimError, SimLivelock, VirtualLoop

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_clock_jumps_exactly():
    async def main(loop):
        await asyncio.sleep(30 * 24 * 3600)
        assert loop.time() == 30 * 24 * 3600
        for _ in range(1000):
            await asyncio.sleep(0)
        assert loop.time() == 30 * 24 * 3600
        seen = []
        for n in range(1, 4):
            loop.call_at(3e6 + n / 3, lambda: seen.append(loop.time()))
        await asyncio.sleep(1e6)
        return seen

    assert run_virtual(main) == [3e6 + 1 / 3, 3e6 + 2 / 3, 3e6 + 1.0]


def test_start_epoch_and_mode_are_told():
    async def main(loop):
        return loop.time(), loop.epoch_ns, loop.is_virtual

    assert run_virtual(main, start_s=12.5) == (12.5, RUN_START_EPOCH_NS, True)
    assert RUN_START_EPOCH_NS == 1_856_736_000 * 10**9  # 2028-11-02T00:00:00Z


def test_timers_of_one_instant_keep_their_order_or_take_one_from_the_seed():
    def order(**options):
        async def main(loop):
            seen = []
            for n in range(6):
                loop.call_at(1.0, seen.append, n)
            await asyncio.sleep(2)
            return tuple(seen)

        return run_virtual(main, **options)

    assert order() == (0, 1, 2, 3, 4, 5)
    assert order(seed=1, tie_shuffle=True) == order(seed=1, tie_shuffle=True)
    assert len({order(seed=n, tie_shuffle=True) for n in range(20)}) > 10


def test_order_of_callbacks_is_asyncios_own():
    """The same program on a stock loop and in virtual time gives the same order of events."""

    async def program():
        seen = []
        loop = asyncio.get_running_loop()
        now = loop.time()

        def at(name, again=0):
            seen.append(name)
            if again:
                loop.call_soon(at, name + ".soon", again - 1)
                loop.call_at(now, at, name + ".past", again - 1)

        async def walk(name):
            for n in range(3):
                seen.append(f"{name}{n}")
                await asyncio.sleep(0)

        loop.call_soon(at, "a", 2)
        loop.call_at(now - 1, at, "b", 1)
        await asyncio.gather(walk("x"), walk("y"))
        await asyncio.sleep(0.01)
        return seen

    async def main(loop):
        return await program()

    assert run_virtual(main) == asyncio.run(program())


def test_cancelled_timers_never_fire_and_do_not_pile_up():
    async def main(loop):
        fired = []
        for n in range(10_000):
            loop.call_later(1000, fired.append, n).cancel()
        assert len(loop._timers) < 1000
        keep = [loop.call_later(1, fired.append, n) for n in range(500)]
        for timer in keep[::2]:
            timer.cancel()
        await asyncio.sleep(2000)
        return fired

    assert run_virtual(main) == list(range(1, 500, 2))


def test_named_random_streams_do_not_shift_each_other():
    async def main(loop):
        return loop.rng("wire").random(), loop.rng("marlin").random(), loop.rng("wire").random()

    first, other, again = run_virtual(main, seed=5)
    assert first == again != other and run_virtual(main, seed=6)[0] != first


def test_wait_for_timeout_and_locks_work_in_virtual_seconds():
    async def main(loop):
        queue = asyncio.Queue()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 7.5)
        async with asyncio.timeout(1):
            loop.call_later(0.5, queue.put_nowait, "word")
            assert await queue.get() == "word"
        return loop.time()

    assert run_virtual(main) == 8.0


def test_a_deadlock_is_named_by_task_and_line():
    async def waits_for_ever():
        await asyncio.Event().wait()  # the line that is named

    async def main(loop):
        await asyncio.sleep(3)
        await asyncio.gather(asyncio.create_task(waits_for_ever(), name="poll bus0"))

    with pytest.raises(SimDeadlock) as caught:
        run_virtual(main)
    text = str(caught.value)
    rows = Path(__file__).read_text().splitlines()
    line = next(n for n, row in enumerate(rows, 1) if "the line that is named" in row)
    assert "t = 3 s" in text and "task 'poll bus0'" in text and f"{__file__}:{line}" in text and "task 'main'" in text


def test_a_livelock_is_stopped_and_named():
    async def spin():
        while True:
            await asyncio.sleep(0)

    async def main(loop):
        await asyncio.sleep(1)
        task = asyncio.create_task(spin(), name="spinner")
        await task

    with pytest.raises(SimLivelock, match=r"(?s)still shows 1 s.*task 'spinner'.*spin"):
        run_virtual(main, passes_per_instant=1000)


def test_an_exception_in_a_callback_fails_the_run_at_once():
    reached = []

    async def main(loop):
        loop.call_at(2, lambda: 1 / 0)
        try:
            await asyncio.sleep(5)
            reached.append("after")
        finally:
            await asyncio.sleep(1)  # cleaning up still works, in virtual time
            reached.append(loop.time())

    with pytest.raises(ZeroDivisionError) as caught:
        run_virtual(main)
    assert "raised at t = 2 s" in caught.value.__notes__[0] and reached == [3.0]


def test_an_exception_in_a_forgotten_task_fails_the_run():
    async def breaks():
        raise LookupError("nobody waits for me")

    async def main(loop):
        loop.create_task(breaks())
        await asyncio.sleep(1)
        return "fine"

    with pytest.raises(LookupError, match="nobody waits"):
        run_virtual(main)


def test_an_exception_while_left_over_tasks_clean_up_fails_the_run():
    async def lingers():
        try:
            await asyncio.sleep(1e9)
        finally:
            raise LookupError("could not tidy up")

    async def main(loop):
        task = asyncio.create_task(lingers())
        await asyncio.sleep(1)
        return task.get_name()

    with pytest.raises(LookupError, match="tidy up"):
        run_virtual(main)


def test_left_over_tasks_are_cancelled_in_the_order_of_their_names():
    seen = []

    async def lingers(name):
        try:
            await asyncio.sleep(1e9)
        finally:
            await asyncio.sleep(0.1)
            seen.append(name)

    async def main(loop):
        tasks = [asyncio.create_task(lingers(n), name=f"t{n}") for n in (10, 2, 1)]
        await asyncio.sleep(1)
        return len(tasks)

    assert run_virtual(main) == 3 and seen == [1, 2, 10]


def test_functions_for_an_executor_run_inline_and_may_take_virtual_time():
    async def main(loop):
        assert await loop.run_in_executor(None, lambda a: a + 1, 1) == 2 and loop.time() == 0
        loop.inline_delay_s = 0.25
        assert await asyncio.to_thread(lambda: 7) == 7
        with pytest.raises(KeyError):
            await loop.run_in_executor(None, {}.__getitem__, "x")
        return loop.time()

    assert run_virtual(main) == 0.5


def test_file_descriptors_and_bad_timers_are_refused_with_a_sentence():
    async def main(loop):
        with pytest.raises(NotImplementedError, match="no file descriptors"):
            loop.add_reader(0, print)
        for when in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match="never fire"):
                loop.call_later(when, print)

    run_virtual(main)


@pytest.mark.parametrize("pace", [0, -1.0, float("nan"), float("inf")])
def test_a_pace_that_is_none_is_refused_with_a_sentence_and_nothing_else(pace):
    """A loop that was refused half made would print a traceback of its `__del__` behind the sentence."""
    gc.collect()  # what other tests left is not this one's
    unraised = []
    before, sys.unraisablehook = sys.unraisablehook, unraised.append
    try:
        with pytest.raises(ValueError, match=r"pace is .*: give the times of real time"):
            VirtualLoop(pace=pace)
        with pytest.raises(ValueError, match="start_s is"):
            VirtualLoop(start_s=float("nan"))
        gc.collect()
    finally:
        sys.unraisablehook = before
    assert [str(one.exc_value) for one in unraised] == []


def test_a_signal_reaches_the_handler_between_steps():
    async def main(loop):
        got = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, got.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await got.wait()
        assert loop.remove_signal_handler(signal.SIGUSR1) and not loop.remove_signal_handler(signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    run_virtual(main)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_ctrl_c_cancels_main_which_cleans_up_and_leaves_with_keyboard_interrupt():
    seen = []

    async def main(loop):
        loop.call_at(1, os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(1e6)
        except asyncio.CancelledError:
            await asyncio.sleep(50)  # going to the safe state takes its time
            seen.append(loop.time())
            raise

    with pytest.raises(KeyboardInterrupt):
        run_virtual(main)
    assert seen == [51.0] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_host_that_handles_ctrl_c_itself_hears_it():
    async def main(loop):
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGINT, stop.set)
        loop.call_at(1, os.kill, os.getpid(), signal.SIGINT)
        await stop.wait()
        return loop.time()

    assert run_virtual(main) == 1.0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


PACED = """
import asyncio
from hil_sim.virtual_run import run_virtual
async def main(loop):
    print("running", flush=True)
    try:
        await asyncio.sleep(1e6)
    finally:
        await asyncio.sleep(1000)
        print("safe at", round(loop.time()) >= 1000, flush=True)
run_virtual(main, pace=1.0)
"""


def test_ctrl_c_ends_a_paced_run_promptly_and_cleanly():
    with subprocess.Popen(
        [sys.executable, "-c", PACED], cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert out == "safe at True\n" and err.rstrip().endswith("KeyboardInterrupt") and process.returncode != 0


def test_a_paced_run_is_no_faster_than_its_pace_and_otherwise_the_same():
    async def main(loop):
        for _ in range(5):
            await asyncio.sleep(1)
        return loop.time()

    began_s = time.monotonic()
    assert run_virtual(main, pace=50.0) == run_virtual(main) == 5.0
    assert time.monotonic() - began_s >= 0.1


def test_one_run_gives_the_same_bytes_whatever_the_hash_seed():
    program = (
        "import asyncio\nfrom hil_sim.virtual_run import run_virtual\n"
        "async def main(loop):\n"
        "    rows = []\n"
        "    async def walk(name):\n"
        "        for _ in range(5):\n"
        "            await asyncio.sleep(loop.rng(name).random())\n"
        "            rows.append((name, loop.time()))\n"
        "    await asyncio.gather(*(walk(name) for name in {'a', 'b', 'c'} | set('xyz')))\n"
        "    return sorted(rows)\n"
        "print(run_virtual(main, seed=9))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert len(outputs) == 1


def test_what_the_loop_reports_without_an_exception_fails_the_run_too():
    async def main(loop):
        loop.call_exception_handler({"message": "something odd", "future": 1})
        await asyncio.sleep(1)

    with pytest.raises(SimError, match="something odd"):
        run_virtual(main)


def test_a_run_gives_the_collector_back_as_it_was():
    before, seen = gc.get_threshold(), []

    async def main(loop):
        seen.append((gc.get_threshold()[0] > before[0], gc.get_freeze_count() > 0))
        raise RuntimeError("the run fails")

    with pytest.raises(RuntimeError):
        run_virtual(main)
    assert seen == [(True, True)]
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)
