"""Can a run be led from outside: stretches, conditions, a host that hangs, breaks or is left alone?"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_helpers import write_small_job

from control.host import Outcome, Status
from control.outcome import Totals
from hil_sim.harness import blocked
from hil_sim.harness.fault_builder import FaultBuilder, FaultError
from hil_sim.harness.hil_case import CaseSettings, HilCase
from hil_sim.harness.live_run import LiveRunError
from hil_sim.harness.live_views import Frame
from hil_sim.harness.time_span import seconds_of
from hil_sim.harness.user_host import HostContractError, user_host
from hil_sim.harness.wire_loop import WireLoop
from hil_sim.world.faults import Fault

Make = Callable[..., HilCase]

pytestmark = pytest.mark.timeout(400)  # the first print of a fresh checkout waits for its kernels to be compiled


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """`make(host, ...)`: a case on a coarse bench with a small job."""
    made: list[HilCase] = []
    write_small_job(tmp_path / "part.kiln", 1)

    def make(host: Any = None, **settings: Any) -> HilCase:
        number = len(made)
        case = HilCase(
            CaseSettings(
                tmp_path / f"run{number}", job="part.kiln", host=host, cell_xy_mm=20.0, folders=(tmp_path,), **settings
            )
        )
        made.append(case)
        return case

    yield make
    for case in made:
        case.close()


def stopped(reason: str = "so it says") -> Outcome:
    totals = Totals(layers=0, blocks_claimed=0, energy_j=0.0, lines_sent=0, polls=0, duration_s=0.0, sessions=1)
    return Outcome(
        status=Status.STOPPED, reason=reason, exit_code=4, declared=[], layers=[], totals=totals, position_mm=None
    )


async def sleeper(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
    """A host that takes an hour."""
    await asyncio.sleep(3600.0)
    return stopped("an hour has passed")


# ---- stretches


def test_time_stands_still_between_stretches_and_a_host_begins_when_it_was_told_to(make: Make) -> None:
    case = make(sleeper)
    case.clock.advance("10 s")
    case.host.print()
    assert case.clock.now_s == 10.0 == case.clock.now_s
    case.run(until=lambda: case.clock.now_s >= 100.0)
    assert case.clock.now_s == pytest.approx(100.0, abs=0.02)
    result = case.run()
    assert result is not None and result.sim_s == pytest.approx(3610.0, abs=0.1)
    assert case.verdict == "detected" and case.host.outcome is not None


def test_a_host_that_was_told_to_print_does_so_while_time_passes(make: Make) -> None:
    case = make()
    case.host.print()
    assert case.trace.to_device_count == 0
    case.clock.advance("3 s")
    assert case.trace.to_device_count > 10 and case.was_left
    case.run()
    assert case.verdict == "exact" and not case.was_left


@pytest.mark.timeout(120, method="thread")  # the other method has the signal, and then nobody watches
def test_a_test_may_take_its_time_between_stretches(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "BLOCKED_S_MAX", 0.05)
    case = make(sleeper)
    case.host.print()
    case.run(until=lambda: case.clock.now_s >= 10.0)
    time.sleep(0.3)
    case.run()
    assert case.verdict == "detected"


def test_looking_changes_nothing(make: Make) -> None:
    plain, watched = make(seed=3), make(seed=3)
    for case in (plain, watched):
        case.host.print()
    plain.run()
    watched.run(until=lambda: watched.truth.blocks_executed > 2)
    assert watched.truth.energy_j > 0 and watched.devices["motion"].wire.to_device.chunks > 10
    watched.run()
    executed = [(b.t0_s, b.start_mm, b.energy_j) for b in plain.truth.blocks]
    assert executed == [(b.t0_s, b.start_mm, b.energy_j) for b in watched.truth.blocks] and len(executed) == 7
    assert plain.trace.digest == watched.trace.digest


def test_another_seed_is_another_run(make: Make) -> None:
    digests = set()
    for seed in (1, 2):
        case = make(sleeper, seed=seed)
        digests.add((case.rng.random(), case.seed))
    assert len(digests) == 2


def test_what_does_not_come_is_said(make: Make) -> None:
    case = make(sleeper)
    case.host.print()
    with pytest.raises(LiveRunError, match=r"had not come within 5 s"):
        case.run(until=lambda: False, within="5 s")
    with pytest.raises(LiveRunError, match=r"the run ended after 3600 s .*detected, the host says stopped: an hour"):
        case.run(until=lambda: False)
    assert case.verdict == "detected"


def test_after_the_end_the_world_is_gone_and_the_truth_stays(make: Make) -> None:
    case = make(sleeper)
    case.host.print()
    with pytest.raises(LiveRunError, match="has not ended"):
        _ = case.verdict
    with pytest.raises(LiveRunError, match="has not ended"):
        _ = case.truth.record
    case.run()
    with pytest.raises(LiveRunError, match="its world is gone"):
        _ = case.devices["motion"].position_mm  # type: ignore[attr-defined]
    assert case.truth.layers_lost == 1 and case.truth.blocks_missing == 7 and case.truth.strays == 0


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda case: case.run(), "nothing is being printed"),
        (lambda case: (case.host.print(), case.host.print()), "a test has one run"),
        (lambda case: (case.clock.advance(1), case.host.print("part.kiln")), "the world stands already"),
        (lambda case: (case.host.print(), case.run(until="ready")), "give 'idle' or a condition"),
        (lambda case: case.host.print("absent.kiln"), "there is no job absent.kiln"),
        (lambda case: case.device("laser").emulator, "has no device 'laser'; it has motion, beam, camera, heater"),
        (lambda case: case.host.pause(), "this host is your own"),
    ],
)
def test_a_mistake_is_a_sentence(make: Make, wrong: Callable[[HilCase], object], sentence: str) -> None:
    with pytest.raises(LiveRunError, match=sentence):
        wrong(make(sleeper))


def test_without_a_job_there_is_no_world(tmp_path: Path) -> None:
    case = HilCase(CaseSettings(tmp_path / "run"))
    with pytest.raises(LiveRunError, match=r"call host\.print"):
        case.clock.advance(1)


# ---- hosts that fail


def test_a_host_that_does_not_end_is_a_hang(make: Make) -> None:
    case = make(sleeper)
    case.host.print()
    case.run(within="10 min")
    assert case.verdict == "HANG"
    told = case.judgement.reasons[0]
    assert re.match(r"the host had not ended within 600 s; it waited at sleeper \(\S+test_live_run\.py:\d+\)$", told), (
        told
    )
    late = make(sleeper, limit="30 min")
    late.host.print()
    late.run(until=lambda: late.clock.now_s > 60)
    late.run(within="1 d")
    assert late.verdict == "HANG" and "1800 simulated seconds" in late.judgement.reasons[0]


def test_a_run_may_end_while_time_is_let_pass(make: Make) -> None:
    case = make(sleeper)
    case.host.print()
    case.run(until=lambda: case.clock.now_s > 1)
    case.clock.advance("2 h")
    assert case.truth.blocks_missing == 7 and case.verdict == "detected" and case.run() is case.result


def test_what_a_host_raises_is_raised_to_the_test_once(make: Make) -> None:
    async def broken(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
        await asyncio.sleep(1.0)
        raise RuntimeError("out of powder")

    case = make(broken)
    case.host.print()
    with pytest.raises(RuntimeError, match="out of powder"):
        case.run()
    case.close()


@pytest.mark.parametrize("mode", ["virtual", "wire"])
def test_an_exception_in_a_callback_fails_the_run(make: Make, mode: str) -> None:
    async def careless(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
        asyncio.get_running_loop().call_later(0.05, lambda: 1 / 0)
        await asyncio.sleep(0.2)
        return stopped()

    case = make(careless, mode=mode)
    case.host.print()
    with pytest.raises(ZeroDivisionError):
        case.run()
    case.close()


def test_what_breaks_while_a_run_is_closed_is_not_lost(make: Make) -> None:
    async def stubborn(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
        try:
            await asyncio.sleep(3600.0)
        finally:
            raise RuntimeError("cannot be made safe")

    case = make(stubborn)
    case.host.print()
    case.run(until=lambda: case.clock.now_s > 1)
    with pytest.raises(RuntimeError, match="cannot be made safe"):
        case.close()
    case.close()


def test_a_host_that_waits_for_nothing_is_a_hang(make: Make) -> None:
    async def waits_for_nothing(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
        await asyncio.get_running_loop().create_future()
        return stopped()

    case = make(waits_for_nothing)
    case.host.print()
    case.run(within="1 h")
    assert case.verdict == "HANG"


async def polls_for_ever(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
    """A host that never ends and never lets the machine do anything."""
    while True:
        await asyncio.sleep(60.0)


def test_a_host_under_which_nothing_happens_for_a_day_is_given_up(make: Make) -> None:
    case = make(polls_for_ever)
    case.host.print()
    case.run()
    assert case.verdict == "HANG" and case.clock.now_s < 1.2 * 86400.0
    told = case.judgement.reasons[0]
    assert re.match(
        r"the printer had neither moved nor taken a picture for 86400 s, .* it waited at polls_for_ever \(", told
    ), told


def test_a_machine_may_stand_still_as_long_as_its_test_lets_it(make: Make) -> None:
    case = make(sleeper)
    case.clock.advance("3 d")
    case.host.print()
    assert case.run() is not None and case.verdict == "detected"


def test_the_operator_of_our_host_is_heard(make: Make, tmp_path: Path) -> None:
    case = make()
    case.host.print(write_small_job(tmp_path / "two.kiln", 2))
    case.run(until=lambda: case.truth.blocks_executed > 1)
    case.host.pause()
    case.clock.advance("60 s")
    held = case.truth.blocks_executed
    case.clock.advance("60 s")
    assert case.truth.blocks_executed == held < 14 and case.host.said[-1] == "layer 1 committed"
    case.host.resume()
    case.run(until=lambda: case.truth.blocks_executed > held)
    case.host.stop()
    case.run()
    assert case.verdict == "detected" and case.host.outcome is not None
    assert case.host.outcome.status is Status.STOPPED


# ---- hosts of others


def test_a_command_that_is_told_to_end_ends_or_is_killed(make: Make, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("hil_sim.harness.user_host.END_S", 0.2)
    program = tmp_path / "deaf.py"
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    program.write_text(f"import signal, time\n{deaf}\nprint('deaf', flush=True)\ntime.sleep(600)\n")
    case = make([sys.executable, str(program)])
    case.host.print()
    log = case.run_dir / "host.log"
    case.run(until=lambda: log.is_file() and log.read_text() == "deaf\n", within=60)
    case.run(within=0.1)
    assert case.verdict == "HANG"


@pytest.mark.parametrize(
    ("given_host", "sentence"),
    [
        ("", "is no host"),
        (["print", 3], "is no host"),
        ("no_such_package:host", "cannot be imported: No module named 'no_such_package'"),
        ("control.host:no_such_thing", "cannot be imported"),
        ("control.host:JOB_NAME", "which cannot be called"),
    ],
)
def test_what_is_no_host_is_a_sentence(given_host: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(HostContractError, match=sentence):
        user_host(given_host, tmp_path)


def test_a_host_may_be_named_called_or_commanded(tmp_path: Path) -> None:
    assert user_host("control.host:print_host", tmp_path).name == "control.host:print_host"
    assert user_host(sleeper, tmp_path).name == "sleeper" and not user_host(sleeper, tmp_path).is_command
    command = user_host("mine --fast", tmp_path)
    assert command.is_command and command.name == "mine --fast '{job}' '{machine}' '{run_dir}'"
    assert user_host("mine {job}", tmp_path).name == "mine '{job}'"


def a_host(left: Outcome | str | None, returned: Any) -> Any:
    """A host that leaves a file and returns something."""

    async def host(job: Path, machine_toml: Path, run_dir: Path) -> Any:
        await asyncio.sleep(1.0)
        if isinstance(left, str):
            (run_dir / "outcome.json").write_text(left)
        elif left is not None:
            left.write(run_dir)
        return returned

    return host


DONE = msgspec.structs.replace(stopped(), status=Status.DONE, exit_code=0)


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        (a_host(DONE, None), "SILENT"),
        (a_host(stopped(), None), "detected"),
        (a_host(DONE, DONE), "SILENT"),
        (a_host(None, DONE), "SILENT"),
        (a_host(None, msgspec.structs.replace(DONE, status="done", declared=())), "SILENT"),
    ],
)
def test_what_a_callable_leaves_is_its_word_as_much_as_what_it_returns(make: Make, host: Any, verdict: str) -> None:
    case = make(host)
    case.host.print()
    case.run()
    assert case.verdict == verdict and case.host.outcome is not None


def plain(job: Path, machine_toml: Path, run_dir: Path) -> Outcome:
    """Somebody forgot `async`."""
    return stopped()


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        (a_host(DONE, stopped()), 'with status "stopped", and its outcome.json says "done": they must be the same'),
        (a_host(stopped(), stopped("no powder")), 'with reason "no powder", and its outcome.json says "so it says"'),
        (a_host("{nonsense", None), "what the host left is no outcome: .*outcome.json cannot be read"),
        (a_host("{nonsense", DONE), "what the host left is no outcome"),
        (a_host(None, {"status": "done"}), "returned dict: it must be its Outcome, or None"),
        (a_host(None, msgspec.structs.replace(DONE, exit_code="none")), r"cannot be its outcome\.json: Expected `int`"),
        (
            plain,
            r"the host plain must be `async def host\(job, machine_toml, run_dir\)`: .*, Outcome, cannot be awaited",
        ),
    ],
)
def test_a_callable_that_breaks_the_contract_is_a_sentence(make: Make, host: Any, sentence: str) -> None:
    case = make(host)
    case.host.print()
    with pytest.raises(HostContractError, match=sentence):
        case.run()


def test_a_callable_that_cannot_take_the_three_is_refused_before_anything_runs(make: Make) -> None:
    async def argless() -> Outcome:
        return stopped()

    with pytest.raises(
        HostContractError, match=r"argless must be .* cannot be called so: too many positional arguments"
    ):
        make(argless)


def test_a_command_that_cannot_be_started_is_a_sentence(make: Make) -> None:
    case = make("/no/such/program")
    case.host.print()
    with pytest.raises(HostContractError, match=r"/no/such/program .* cannot be started"):
        case.run()


# ---- faults as they are written down


def test_every_anchor_makes_its_fault() -> None:
    faults = FaultBuilder()
    faults.at("1.5 min").open_circuit("heater.sensor", for_s="10 s")
    faults.at(layer=12, after=2.0).open_circuit("heater.sensor", 3)
    faults.at(chunk=4).insert("bus0.to_host", hex="00ff", count=2)
    faults.at(event=2).short_feed("recoater.feed", fraction=0.4)
    assert faults.laid == [
        Fault("open_circuit", "heater.sensor", at_s=90.0, for_s=10.0),
        Fault("open_circuit", "heater.sensor", at_layer=12, after_s=2.0, for_s=3.0),
        Fault("insert", "bus0.to_host", at_chunk=4, count=2, args={"hex": "00ff"}),  # type: ignore[arg-type]
        Fault("short_feed", "recoater.feed", at_event=2, args={"fraction": 0.4}),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    ("lay", "error", "sentence"),
    [
        (lambda f: f.at(chunk=1).flop("a.to_host"), AttributeError, r"did you mean flip\?"),
        (lambda f: f.at(), FaultError, "one anchor of a time, layer, light, chunk, line, request or event, not 0"),
        (lambda f: f.at(3.0, layer=1), FaultError, "not 2"),
        (lambda f: f.at(chunk=1, after=2.0), FaultError, "`after` belongs to a layer"),
        (lambda f: f.at(chunk=1).flip("bus0.to_host", 3), FaultError, "has a count and no for_s"),
        (lambda f: f.at(chunk=1).flip("bus0.to_host", count=0), FaultError, "with count 0 never comes"),
        (lambda f: f.at(3.0).flip("bus0.to_host"), FaultError, "give for_s"),
        (lambda f: f.at(chunk=-1).flip("bus0.to_host"), FaultError, "give 0 or more"),
        (lambda f: f.at(chunk=1).flip("bus0.to_host", bits=3), FaultError, "knows byte, bit, not bits"),
        (lambda f: f.at(chunk=1).flip("bus9.to_host"), FaultError, "no point 'bus9.to_host'"),
        (lambda f: f.at(layer=1).flip("recoater.feed", 3), FaultError, "strikes at"),
        (lambda f: f.at("soon").flip("bus0.to_host", 3), ValueError, "is no span of time"),
    ],
)
def test_a_fault_that_would_never_strike_is_refused_where_it_is_written(
    lay: Callable[[FaultBuilder], object], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        lay(FaultBuilder(points=["bus0.to_host", "bus0.to_device", "recoater.feed"]))


def test_when_the_run_has_begun_it_is_too_late_for_faults(make: Make) -> None:
    case = make(sleeper)
    case.clock.advance(1)
    with pytest.raises(FaultError, match="the run has begun"):
        case.faults.at(chunk=3).drop("motion.to_host")


def test_a_replay_keeps_to_its_own_faults(make: Make) -> None:
    kept = Fault("drop", "motion.to_host", at_chunk=3)
    case = make(sleeper, faults=(kept,))
    case.faults.at(chunk=9).drop("motion.to_host")
    assert case.faults.laid == [kept]
    with pytest.raises(FaultError):
        case.faults.at(chunk=9).drop("nowhere.to_host")


# ---- small parts


@given(st.floats(min_value=0, max_value=1e9), st.sampled_from(["ms", "s", "min", "h", "d"]))
def test_a_span_is_its_number_times_its_unit(number: float, unit: str) -> None:
    scale = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}[unit]
    assert seconds_of(f" {number:.6f} {unit} ") == pytest.approx(float(f"{number:.6f}") * scale)
    assert seconds_of(number) == number


@pytest.mark.parametrize("span", ["", "h", "-3 s", "3 m", "1e3", "nan", float("nan"), float("inf"), -1.0, "3 s 4"])
def test_what_is_no_span_is_refused(span: float | str) -> None:
    with pytest.raises(ValueError, match="is no span of time"):
        seconds_of(span)


def test_a_wire_loops_clock_begins_at_zero_and_its_timers_keep_to_it() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        fired: asyncio.Future[float] = loop.create_future()
        loop.call_at(0.05, lambda: fired.set_result(loop.time()))
        return loop.time(), await fired

    loop = WireLoop()
    try:
        first, fired = loop.run_until_complete(main())
    finally:
        loop.close()
    assert 0.0 <= first < 60.0 and fired >= 0.05 - 1e-3  # the base class fires within its clock's resolution


def test_a_frame_shows_text_as_text_and_bytes_as_bytes() -> None:
    assert str(Frame(1.5, "motion.to_device", b"N3 G1 X2*55\n")).endswith("motion.to_device   N3 G1 X2*55")
    assert str(Frame(1.5, "bus0.to_host", b"\x01\x03\xff")).endswith("bus0.to_host       01 03 ff")
    assert str(Frame(1.5, "camera.to_host", b"\xff" * 5000)).endswith("... 5000 bytes")
