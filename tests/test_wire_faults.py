"""Does every fault of a wire do to its bytes what its catalogue says: in memory, on a pty, on TCP?"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_helpers import Echo, Listener, settle

from firmware_bridge.errors import TransportError
from firmware_bridge.transport import open_transport
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import build_world
from hil_sim.world.faults import KINDS, Fault, Faults, FaultSchedule, check_faults
from hil_sim.world.faults.garble import noisy, resampled
from hil_sim.world.faults.stream import CARRIED_BY_WIRE, strike_chunk
from hil_sim.world.faults.stream import KINDS as STREAM_KINDS
from hil_sim.world.wire import lay_pty, lay_tcp, lay_virtual
from hil_sim.world.wiring import WorldError

# ---- one chunk


def struck(kind: str, chunk: bytes, n: int = 0, **args: Any) -> bytes:
    delay_s, made = strike_chunk(Fault(kind, "a.to_host", at_chunk=0, args=args), chunk, n)
    assert delay_s == 0.0
    return made


@pytest.mark.parametrize(
    ("kind", "args", "chunk", "made"),
    [
        ("drop", {}, b"abc", b""),
        ("truncate", {}, b"abc", b"ab"),
        ("truncate", {"bytes": 9}, b"abc", b""),
        ("strip_eol", {}, b"a\nb\n", b"a\nb"),
        ("strip_eol", {}, b"a\r\nb", b"ab"),
        ("strip_eol", {}, b"ab", b"ab"),
        ("merge", {}, b"a\r\nb\n", b"ab"),
        ("non_utf8", {"byte": 4}, b"abc", b"a\xffc"),
        ("insert", {"hex": "0a4e"}, b"abc", b"\nNabc"),
        ("noise", {"rate": 1.0}, b"\x0f\xff", b"\xf0\x00"),
        ("noise", {"rate": 0.0}, b"\x0f\xff", b"\x0f\xff"),
        ("baud", {"factor": 1.0}, b"M105\n", b"M105\n"),
    ],
)  # fmt: skip
def test_a_chunk_is_struck_as_its_kind_says(kind: str, args: dict[str, Any], chunk: bytes, made: bytes) -> None:
    assert struck(kind, chunk, **args) == made


def test_garbage_is_another_for_every_chunk_and_the_same_in_every_run() -> None:
    first, second = (struck("garbage", b"ok\n", n, bytes=6) for n in (0, 1))
    assert len(first) == 9 and first.endswith(b"ok\n") and first != second
    assert first == struck("garbage", b"ok\n", 0, bytes=6) != struck("garbage", b"ok\n", 0, bytes=6, seed=1)


def test_noise_inverts_about_as_many_bits_as_its_rate_says() -> None:
    flipped = sum(byte.bit_count() for byte in noisy(bytes(20_000), 0.01, "a seed"))
    assert 1400 < flipped < 1800
    with pytest.raises(ValueError, match="from 0 to 1"):
        noisy(b"abc", 1.5, "a seed")


@given(st.binary(min_size=1, max_size=40), st.floats(0.05, 20.0))
def test_another_baud_rate_gives_as_many_bytes_as_its_clock_allows(data: bytes, factor: float) -> None:
    heard = resampled(data, factor)
    assert len(heard) <= 10 * len(data) * factor / 9.5 + 1


def test_a_listener_at_half_the_baud_rate_hears_what_its_own_samples_say() -> None:
    """One byte 0x0F at the sender's rate: low, 4 high, 4 low, high. At half the rate the samples fall on bits 3, 5, ..:
    high, then bits 5 to 8 low, then idle: 1 0 0 1 1 1 1 1 from the lowest."""
    assert resampled(b"\x0f", 0.5) == bytes((0b11111001,))
    assert resampled(b"\xff", 2.0) == b"\xfe"  # the start bit is two bits long: one start, and one low data bit


@pytest.mark.parametrize("kind", sorted(STREAM_KINDS))
def test_every_kind_of_the_stream_catalogue_is_carried_out(kind: str) -> None:
    fault = Fault(kind, "a.to_host", at_chunk=0)
    if kind in CARRIED_BY_WIRE:
        with pytest.raises(ValueError, match="the wire carries it out"):
            strike_chunk(fault, b"ab\nc")
    else:
        assert strike_chunk(fault, b"ab\nc") != (0.0, b"ab\nc") or kind == "noise"


# ---- a wire in memory


def heard_under(
    *faults: Fault, sent: tuple[tuple[float, bytes], ...], baud: int | None = None, **settings: Any
) -> tuple[list[tuple[float, bytes]], Listener, Echo]:
    """What the device heard, and when, of chunks that a host wrote at those times."""

    async def main(loop: VirtualLoop) -> tuple[list[tuple[float, bytes]], Listener, Echo]:
        echo, listener = Echo(), Listener()
        await lay_virtual("bus", echo, latency_s=0.0, baud=baud, faults=FaultSchedule(faults))
        transport = await open_transport("sim:bus", listener)
        for at_s, chunk in sent:
            await asyncio.sleep(at_s - loop.time())
            if transport.is_open:
                transport.write(chunk)
        await asyncio.sleep(20)
        return [(round(t, 3), data) for t, what, data in echo.log if what == "received"], listener, echo

    return run_virtual(main, **settings)


def to_device(kind: str, **settings: Any) -> Fault:
    return Fault(kind, "bus.to_device", **settings)


THREE = ((0.0, b"-"), (1.0, b"abcd"), (1.1, b"+"))


@pytest.mark.parametrize(
    ("fault", "heard"),
    [
        (to_device("split", at_chunk=1), [(0.0, b"-"), (1.0, b"ab"), (1.02, b"cd"), (1.1, b"+")]),
        (
            to_device("split", at_chunk=1, args={"byte": 1, "gap_s": 0.5}),
            [(0.0, b"-"), (1.0, b"a"), (1.5, b"bcd"), (1.5, b"+")],
        ),
        (to_device("split", at_chunk=0), [(0.0, b"-"), (1.0, b"abcd"), (1.1, b"+")]),
        (to_device("swap", at_chunk=1), [(0.0, b"-"), (1.1, b"+"), (1.1, b"abcd")]),
        (to_device("swap", at_chunk=1, count=2), [(0.0, b"-"), (1.1, b"+"), (1.1, b"abcd")]),
        (to_device("swap", at_chunk=2), [(0.0, b"-"), (1.0, b"abcd"), (1.35, b"+")]),
        (to_device("stall", at_s=0.9, for_s=4.1), [(0.0, b"-"), (5.0, b"abcd"), (5.0, b"+")]),
        (
            to_device("overrun", at_s=0.9, for_s=4.1, args={"bytes": 3}),
            [(0.0, b"-"), (5.0, b"abc")],
        ),
        (to_device("delay", at_chunk=1, args={"delay_s": 0.05}), [(0.0, b"-"), (1.05, b"abcd"), (1.1, b"+")]),
    ],
)  # fmt: skip
def test_a_fault_that_takes_time_keeps_to_it_and_to_the_order(fault: Fault, heard: list[tuple[float, bytes]]) -> None:
    assert heard_under(fault, sent=THREE)[0] == heard


def test_two_windows_of_overrun_have_a_ring_each_and_what_is_lost_is_counted() -> None:
    async def main(loop: VirtualLoop) -> tuple[bytes, int]:
        echo = Echo()
        windows = [to_device("overrun", at_s=t, for_s=1.0, args={"bytes": 2}) for t in (0.0, 2.0)]
        wire = await lay_virtual("bus", echo, latency_s=0.0, faults=FaultSchedule(tuple(windows)))
        transport = await open_transport("sim:bus", Listener())
        for _ in range(2):
            transport.write(b"abcd")
            await asyncio.sleep(2.0)
        return echo.heard, wire.to_device.lost_bytes

    assert run_virtual(main) == (b"abab", 4)


# ---- what a wire knows of its faults


def shown_by(*faults: Fault) -> tuple[set[Fault], list[Any]]:
    """The faults that the wire says had something heard otherwise, and all that was heard on it."""

    async def main(loop: VirtualLoop) -> tuple[set[Fault], list[Any]]:
        heard: list[Any] = []
        running = Faults(FaultSchedule(faults))
        tapped = lambda t_s, point, data: heard.append((t_s, point, data))  # noqa: E731
        await lay_virtual("bus", Echo(), latency_s=0.001, baud=19200, faults=running, tap=tapped)
        transport = await open_transport("sim:bus", Listener())
        for at_s, chunk in THREE:
            await asyncio.sleep(at_s - loop.time())
            if transport.is_open:
                transport.write(chunk)
        await asyncio.sleep(20)
        return running.shown, heard

    return run_virtual(main)


PASSING = sorted({kind for kind, row in STREAM_KINDS.items() if row.counted} - {"disconnect", "replug"})


@given(
    st.lists(
        st.builds(
            Fault,
            st.sampled_from(PASSING),
            st.sampled_from(["bus.to_device", "bus.to_host"]),
            at_chunk=st.integers(0, 2),
            count=st.integers(1, 2),
        ),
        min_size=1,
        max_size=3,
        unique=True,
    )
)
def test_a_wire_that_says_that_a_fault_showed_carries_something_else_without_it(faults: list[Fault]) -> None:
    shown, heard = shown_by(*faults)
    for fault in shown:
        assert shown_by(*(other for other in faults if other != fault))[1] != heard


@pytest.mark.parametrize(
    ("faults", "is_shown"),
    [
        ([to_device("truncate", at_chunk=1)], True),
        ([to_device("delay", at_chunk=1)], True),
        ([to_device("swap", at_chunk=1)], True),
        ([to_device("stall", at_s=0.9, for_s=1.0)], True),
        ([to_device("strip_eol", at_chunk=1)], False),  # it has none
        ([to_device("split", at_chunk=0)], False),  # a chunk of one byte
        ([to_device("overrun", at_s=5.0, for_s=1.0)], False),  # nothing passes then
        ([to_device("drop", at_chunk=1), to_device("truncate", at_chunk=1)], False),  # the other would have struck
    ],
)
def test_a_wire_says_which_faults_showed(faults: list[Fault], is_shown: bool) -> None:
    assert bool(shown_by(*faults)[0]) == is_shown


class Mute(Echo):
    """Takes down what it hears and says nothing of its own accord."""

    def attach(self, send: Any) -> Any:
        session = super().attach(send)
        self.say, session.send = send, lambda data: None
        return session


def test_an_echo_comes_back_to_its_sender_once_whichever_ways_it_strikes() -> None:
    async def main(loop: VirtualLoop) -> None:
        device, listener = Mute(), Listener()
        faults = tuple(Fault("echo", f"bus.{way}", at_s=0.0, for_s=100.0) for way in ("to_device", "to_host"))
        await lay_virtual("bus", device, faults=FaultSchedule(faults))
        (await open_transport("sim:bus", listener)).write(b"ask")
        await asyncio.sleep(1.0)
        assert (device.heard, listener.data) == (b"ask", b"ask")
        device.say(b"tell")
        await asyncio.sleep(1.0)
        assert (device.heard, listener.data) == (b"asktell", b"asktell")

    run_virtual(main)


def test_a_stall_behind_a_close_is_still_heard() -> None:
    async def main(loop: VirtualLoop) -> list[tuple[float, str]]:
        echo = Echo()
        faults = FaultSchedule((to_device("stall", at_s=0.0, for_s=3.0),))
        await lay_virtual("bus", echo, latency_s=0.0, faults=faults)
        transport = await open_transport("sim:bus", Listener())
        transport.write(b"stop")
        transport.close()
        await asyncio.sleep(5)
        return [(t, what) for t, what, _ in echo.log if what != "attach"]

    log = run_virtual(main)
    assert [(round(t, 3), what) for t, what in log] == [(3.0, "received"), (3.0, "closed")]


def test_a_layers_stall_ends_with_its_window() -> None:
    async def main(loop: VirtualLoop) -> list[float]:
        echo = Echo()
        faults = Faults(FaultSchedule((to_device("stall", at_layer=1, after_s=1.0, for_s=2.0),)))
        await lay_virtual("bus", echo, latency_s=0.0, faults=faults)
        transport = await open_transport("sim:bus", Listener())
        faults.begin_layer(1, loop.time())
        for _ in range(3):
            transport.write(b"-")
            await asyncio.sleep(1.5)
        return [round(t, 3) for t, what, _ in echo.log if what == "received"]

    assert run_virtual(main) == [0.0, 3.0, 3.0]


@pytest.mark.parametrize("baud", [None, 115200])
@pytest.mark.parametrize("seed", range(5))
def test_a_line_never_reorders_whatever_the_order_of_timers(seed: int, baud: int | None) -> None:
    sent = tuple((0.0, b"%d" % n) for n in range(8))
    heard, listener, _ = heard_under(sent=sent, baud=baud, seed=seed, tie_shuffle=True)
    assert b"".join(data for _, data in heard) == listener.data == b"01234567"


@pytest.mark.parametrize("seed", range(5))
def test_a_network_never_reorders_whatever_the_order_of_timers(seed: int) -> None:
    async def main(loop: VirtualLoop) -> None:
        echo, listener = Echo(), Listener()
        wire = await lay_tcp("beam", echo)
        transport = await open_transport(wire.url, listener)
        for n in range(8):
            transport.write(b"%d" % n)
        await asyncio.sleep(1)
        assert echo.heard == listener.data == b"01234567"

    run_virtual(main, seed=seed, tie_shuffle=True)


def test_a_plug_that_is_pushed_in_elsewhere_is_found_by_name_and_not_by_number() -> None:
    async def main(loop: VirtualLoop) -> None:
        echo, listener = Echo(), Listener()
        fault = to_device("replug", at_chunk=1, args={"back_after_s": 2.0})
        wire = await lay_virtual("bus", echo, baud=115200, faults=FaultSchedule((fault,)))
        before = wire.port
        transport = await open_transport(before, listener)
        for _ in range(2):
            transport.write(b"x")
            await asyncio.sleep(0.1)
        assert len(listener.lost) == 1 and echo.events == ["attach", "received", "closed"]
        with pytest.raises(TransportError, match="absent"):
            await open_transport(wire.url, Listener())
        await asyncio.sleep(2.0)
        assert wire.port != before
        with pytest.raises(TransportError, match="there is no port"):
            await open_transport(before, Listener())
        assert (await open_transport(f"{wire.url}?baud=115200", Listener())).is_open

    run_virtual(main)


# ---- networks


LAYS = {
    "sim": lambda echo, faults: lay_virtual("bus", echo, latency_s=0.0, faults=faults),
    "tcp": lambda echo, faults: lay_tcp("bus", echo, faults=faults),
}
lays = pytest.mark.parametrize("lay", LAYS)


def on_network(lay: str, story: Any, *faults: Fault) -> None:
    async def main(loop: VirtualLoop) -> None:
        echo = Echo()
        wire = await LAYS[lay](echo, FaultSchedule(faults))
        await story(loop, wire, echo)

    run_virtual(main)


@lays
def test_a_half_open_connection_stays_and_carries_nothing_any_more(lay: str) -> None:
    async def story(loop: VirtualLoop, wire: Any, echo: Echo) -> None:
        old, new = Listener(), Listener()
        transport = await open_transport(wire.url, old)
        transport.write(b"a")
        await asyncio.sleep(5.0)  # chunks 0 and 1; the window begins
        transport.write(b"b")
        echo.sessions[0].send(b"c")
        await asyncio.sleep(1.0)
        assert (echo.heard, old.data, old.lost) == (b"a", b"A", []) and transport.is_open
        await asyncio.sleep(10.0)
        echo.sessions[0].send(b"d")
        await asyncio.sleep(1.0)
        assert old.data == b"A" and not old.lost
        transport.write(b"e")  # the far end knows no such connection
        await asyncio.sleep(1.0)
        assert len(old.lost) == 1 and echo.heard == b"a"
        (await open_transport(wire.url, new)).write(b"f")
        await asyncio.sleep(1.0)
        assert new.data == b"F" and echo.events.count("closed") == 1

    on_network(lay, story, Fault("half_open", "bus.connection", at_s=4.0, for_s=10.0))


@lays
def test_a_connection_that_is_half_open_from_a_chunk_on_never_comes_back_but_others_do(lay: str) -> None:
    async def story(loop: VirtualLoop, wire: Any, echo: Echo) -> None:
        old, new = Listener(), Listener()
        transport = await open_transport(wire.url, old)
        for _ in range(3):
            transport.write(b"a")
            await asyncio.sleep(1.0)
        assert (echo.heard, old.data, old.lost) == (b"a", b"A", [])
        (await open_transport(wire.url, new)).write(b"f")
        await asyncio.sleep(1.0)
        assert new.data == b"F"

    on_network(lay, story, Fault("half_open", "bus.connection", at_chunk=2))


@lays
def test_a_reset_connection_is_told_to_both_ends_and_another_can_be_made_at_once(lay: str) -> None:
    async def story(loop: VirtualLoop, wire: Any, echo: Echo) -> None:
        first, other = Listener(), Listener()
        transport, bystander = await open_transport(wire.url, first), await open_transport(wire.url, other)
        transport.write(b"a")
        await asyncio.sleep(1.0)
        transport.write(b"b")
        await asyncio.sleep(1.0)
        assert len(first.lost) == 1 and "reset" in str(first.lost[0]) and echo.heard == b"a"
        bystander.write(b"c")
        await asyncio.sleep(1.0)
        assert other.data == b"C" and echo.events.count("closed") == 1
        assert (await open_transport(wire.url, Listener())).is_open

    on_network(lay, story, Fault("reset_connection", "bus.connection", at_chunk=2))


@lays
def test_latency_makes_every_chunk_late_and_none_overtake(lay: str) -> None:
    async def story(loop: VirtualLoop, wire: Any, echo: Echo) -> None:
        listener = Listener()
        transport = await open_transport(wire.url, listener)
        began_s = loop.time()
        for n in range(4):
            transport.write(b"%d" % n)
            await asyncio.sleep(0.4)
        await asyncio.sleep(5.0)
        assert [round(t - began_s, 1) for t, what, _ in echo.log if what == "received"] == [1.0, 1.4, 1.4, 1.4]
        assert listener.data == b"0123"

    on_network(lay, story, Fault("latency", "bus.connection", at_s=0.0, for_s=0.6, args={"delay_s": 1.0}))


@lays
def test_a_listener_that_refuses_lets_those_that_stand_go_on(lay: str) -> None:
    async def story(loop: VirtualLoop, wire: Any, echo: Echo) -> None:
        listener, refused = Listener(), Listener()
        transport = await open_transport(wire.url, listener)
        try:
            await open_transport(wire.url, refused)
            await asyncio.sleep(1.0)
            assert len(refused.lost) == 1  # TCP takes it first and resets it then
        except TransportError as error:
            assert "refuses" in str(error)
        transport.write(b"a")
        await asyncio.sleep(1.0)
        assert listener.data == b"A" and echo.events.count("attach") == 1
        assert (await open_transport(wire.url, Listener())).is_open

    on_network(lay, story, Fault("refuse", "bus.listener", at_event=1))


@pytest.mark.real_time
def test_a_reset_on_a_real_socket_is_a_reset() -> None:
    async def main() -> None:
        fault = Fault("reset_connection", "beam.connection", at_chunk=1)
        wire = await lay_tcp("beam", Echo(), faults=FaultSchedule((fault,)))
        try:
            listener = Listener()
            (await open_transport(wire.url, listener)).write(b"a")  # its answer is chunk 1
            await listener.until(lambda it: it.lost)
            assert "reset" in str(listener.lost[0]).lower() and not listener.data
        finally:
            wire.close()

    asyncio.run(main())


def test_network_faults_have_no_place_on_a_serial_line() -> None:
    async def main(loop: VirtualLoop) -> None:
        await build_world("bench", faults=FaultSchedule((Fault("half_open", "motion.connection", at_chunk=1),)))

    with pytest.raises(WorldError, match=r"no point 'motion.connection'"):
        run_virtual(main)
    here = ["beam.connection", "beam.listener"]
    refuse, reset = (
        Fault("refuse", "beam.listener", at_event=0),
        Fault("reset_connection", "beam.connection", at_chunk=0),
    )
    assert check_faults(FaultSchedule((refuse, reset)), here) == []


# ---- ptys


def on_pty(folder: Any, story: Any, *faults: Fault, echo: Echo | None = None) -> None:
    async def main() -> None:
        device = echo or Echo()
        wire = await lay_pty(folder, "motion", device, baud=115200, faults=FaultSchedule(faults))
        try:
            await story(wire, device)
        finally:
            wire.close()

    asyncio.run(main())


@pytest.mark.real_time
def test_a_pty_that_is_plugged_in_elsewhere_has_another_number_under_its_old_name(tmp_path: Any) -> None:
    async def story(wire: Any, echo: Echo) -> None:
        before, listener = wire.port, Listener()
        transport = await open_transport(wire.url, listener)
        await settle(lambda: echo.events == ["attach"])
        transport.write(b"pull")
        await listener.until(lambda it: it.lost)
        assert not echo.heard and not os.path.lexists(wire.path)
        await settle(lambda: os.path.lexists(wire.path))
        assert wire.port != before == str(before) and os.readlink(wire.path) == wire.port
        again = Listener()
        back = await open_transport(wire.url, again)
        back.write(b"x")
        await again.until(lambda it: it.data == b"X")
        back.close()

    fault = Fault("replug", "motion.to_device", at_chunk=0, args={"back_after_s": 0.2})
    on_pty(tmp_path, story, fault)


@pytest.mark.real_time
def test_a_pty_that_never_comes_back_leaves_nothing_open(tmp_path: Any) -> None:
    before = len(os.listdir("/proc/self/fd"))

    async def story(wire: Any, echo: Echo) -> None:
        listener = Listener()
        (await open_transport(wire.url, listener)).write(b"pull")
        await listener.until(lambda it: it.lost)

    on_pty(tmp_path, story, Fault("replug", "motion.to_device", at_chunk=0, args={"back_after_s": -1.0}))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        (Fault("truncate", "motion.to_device", at_chunk=0, args={"bytes": 2}), b"M1"),
        (Fault("echo", "motion.to_device", at_chunk=0), b"m105M105"),
        (Fault("split", "motion.to_device", at_chunk=0, args={"byte": 1}), b"M105"),
        (Fault("non_utf8", "motion.to_host", at_chunk=0), b"\xff105"),
        (Fault("stall", "motion.to_host", at_s=0.0, for_s=1e6), b""),
    ],
)
def test_a_pty_is_struck_as_a_wire_in_memory_is(tmp_path: Any, fault: Fault, answer: bytes) -> None:
    async def story(wire: Any, echo: Echo) -> None:
        listener = Listener()
        transport = await open_transport(wire.url, listener)
        await settle(lambda: echo.events == ["attach"])
        transport.write(b"m105")
        await settle(lambda: len(listener.data) >= len(answer) and bool(wire.strikes))
        assert listener.data == answer

    on_pty(tmp_path, story, fault)


def test_every_point_that_a_wire_has_is_one_that_some_kind_strikes() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        world = await build_world("bench")
        points = [point for name in world.urls for point in world.wire(name).points]
        known = set(world.points)
        world.close()
        assert known >= set(points), "what a wire can suffer, its world refuses"
        return points

    points = run_virtual(main)
    assert {"motion.to_host", "beam.connection", "camera.listener"} <= set(points)
    assert "motion.connection" not in points
    for point in points:
        name = point.split(".")[1]
        assert any(f"*.{name}" in kind.points for kind in KINDS.values()), point
