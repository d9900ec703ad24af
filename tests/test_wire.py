"""Do wires carry bytes as lines do: in order, at their pace, struck where the schedule says?"""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from wire_helpers import Echo, Listener

from firmware_bridge.errors import TransportError
from firmware_bridge.transport import open_transport
from hil_sim.virtual_run import run_virtual
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.wire import lay_tcp, lay_virtual


def test_bytes_take_the_time_of_the_line_both_ways():
    async def main(loop):
        echo, listener = Echo(), Listener()
        wire = await lay_virtual("bus", echo, baud=9600, latency_s=0.0)
        transport = await open_transport("sim:bus", listener)
        assert transport.url == wire.url and transport.byte_time_s == pytest.approx(10 / 9600)
        transport.write(b"x" * 96)
        await listener.until(lambda it: len(it.data) == 96)
        return echo.log[-1][0], listener.chunks[-1][0]

    heard_s, answered_s = run_virtual(main)
    assert heard_s == pytest.approx(0.1) and answered_s == pytest.approx(0.2)


def test_a_second_write_waits_for_the_first_to_leave_the_line():
    async def main(loop):
        echo, listener = Echo(), Listener()
        await lay_virtual("bus", echo, baud=10_000, latency_s=0.0)
        transport = await open_transport("sim:bus", listener)
        transport.write(b"a" * 10)
        transport.write(b"b" * 10)
        await asyncio.sleep(1)
        return [(round(t, 6), data) for t, what, data in echo.log if what == "received"]

    assert run_virtual(main) == [(0.01, b"a" * 10), (0.02, b"b" * 10)]


@pytest.mark.parametrize(("chunk_bytes", "lengths"), [(None, [256, 44]), (100, [100, 100, 100])])
def test_chunks_are_cut_as_the_device_asks_and_a_frame_comes_whole_by_default(chunk_bytes, lengths):
    async def main(loop):
        echo = Echo(chunk_bytes=chunk_bytes)
        await lay_virtual("bus", echo, baud=115200)
        transport = await open_transport("sim:bus", Listener())
        transport.write(bytes(300))
        await asyncio.sleep(1)
        return [len(data) for _, what, data in echo.log if what == "received"]

    assert run_virtual(main) == lengths


def test_latency_comes_on_top_and_bytes_written_before_a_close_still_arrive():
    async def main(loop):
        echo, listener = Echo(b"hello"), Listener()
        await lay_virtual("tcp-like", echo, latency_s=0.5)
        transport = await open_transport("sim:tcp-like", listener)
        opened_s = loop.time()
        transport.write(b"stop")
        transport.close()
        assert listener.lost == [None]
        await asyncio.sleep(2)
        return opened_s, echo.log, listener.data

    opened_s, log, data = run_virtual(main)
    assert opened_s == 0.5 and data == b""  # the greeting was under way when we closed
    assert [(t, what) for t, what, _ in log] == [(0.5, "attach"), (1.0, "received"), (1.0, "closed")]


def test_a_serial_line_serves_one_host_and_attaches_at_each_open():
    async def main(loop):
        echo = Echo(b"start\n")
        await lay_virtual("motion", echo, baud=115200)
        for _ in range(2):
            listener = Listener()
            transport = await open_transport("sim:motion", listener)
            with pytest.raises(TransportError, match="in use"):
                await open_transport("sim:motion", Listener())
            await listener.until(lambda it: it.data == b"start\n")
            transport.write(b"late words")
            transport.close()
        await asyncio.sleep(1)
        return echo.events

    # the second open came while the first host's last words were still on the line: they end with it
    assert run_virtual(main) == ["attach", "closed", "attach", "received", "closed"]


def test_without_a_baud_rate_several_hosts_are_served_apart():
    async def main(loop):
        echo = Echo()
        await lay_virtual("beam", echo)
        listeners = [Listener(), Listener()]
        transports = [await open_transport("sim:beam", listener) for listener in listeners]
        for word, transport in zip((b"one", b"two"), transports, strict=True):
            transport.write(word)
        await asyncio.sleep(1)
        return [listener.data for listener in listeners]

    assert run_virtual(main) == [b"ONE", b"TWO"]


def test_loops_of_one_process_do_not_see_each_others_wires():
    async def lay(loop):
        await lay_virtual("motion", Echo())
        with pytest.raises(ValueError, match="laid already"):
            await lay_virtual("motion", Echo())

    async def look(loop):
        with pytest.raises(TransportError, match="no wire of that name"):
            await open_transport("sim:motion", Listener())

    run_virtual(lay)
    run_virtual(look)


def test_a_sim_url_may_tell_its_baud_rate_and_the_wire_keeps_its_own():
    async def main(loop):
        await lay_virtual("bus", Echo(), baud=9600)
        return (await open_transport("sim:bus?baud=115200", Listener())).byte_time_s

    assert run_virtual(main) == 10 / 9600


def test_too_many_waiting_bytes_are_refused_with_a_sentence():
    async def main(loop):
        echo = Echo()
        await lay_virtual("bus", echo, baud=9600)
        transport = await open_transport("sim:bus", Listener())
        transport.write(bytes(64 * 1024))
        with pytest.raises(TransportError, match="does not take bytes as fast"):
            transport.write(b"x")
        await asyncio.sleep(100)
        transport.write(b"x")
        await asyncio.sleep(1)
        assert len(echo.heard) == 64 * 1024 + 1

    run_virtual(main)


def test_a_device_that_floods_its_line_loses_bytes_and_they_are_counted(caplog):
    async def main(loop):
        echo, listener = Echo(), Listener()
        wire = await lay_virtual("bus", echo, baud=9600)
        await open_transport("sim:bus", listener)
        for _ in range(3):
            echo.sessions[0].send(bytes(30_000))
        await asyncio.sleep(200)
        assert len(listener.data) + wire.to_host.lost_bytes == 90_000 and wire.to_host.lost_bytes == 90_000 - 65536

    run_virtual(main)
    assert "bytes are lost" in caplog.text


def strike(kind, n_chunks=3, **args):
    """Three chunks to the device with the middle one struck; what it heard, with times."""

    async def main(loop):
        echo, listener = Echo(), Listener()
        schedule = FaultSchedule((Fault(kind, "bus.to_device", at_chunk=1, args=args),))
        wire = await lay_virtual("bus", echo, latency_s=0.0, faults=schedule)
        transport = await open_transport("sim:bus", listener)
        for n in range(n_chunks):
            if transport.is_open:
                transport.write(b"abc" if n == 1 else b"-")
            await asyncio.sleep(0.01)
        await asyncio.sleep(2)
        assert [(point, fault.kind) for _, point, fault in wire.strikes] == [("bus.to_device", kind)]
        return [(round(t, 3), data) for t, what, data in echo.log if what == "received"], listener, echo.events

    return run_virtual(main)


@pytest.mark.parametrize(
    ("kind", "args", "heard"),
    [
        ("drop", {}, [(0.0, b"-"), (0.02, b"-")]),
        ("flip", {"byte": 1, "bit": 0}, [(0.0, b"-"), (0.01, b"acc"), (0.02, b"-")]),
        ("duplicate", {}, [(0.0, b"-"), (0.01, b"abcabc"), (0.02, b"-")]),
        ("delay", {"delay_s": 0.5}, [(0.0, b"-"), (0.51, b"abc"), (0.51, b"-")]),
        ("insert", {"hex": "4e31"}, [(0.0, b"-"), (0.01, b"N1abc"), (0.02, b"-")]),
    ],
)
def test_each_stream_fault_does_what_it_says_to_the_chunk_it_is_anchored_at(kind, args, heard):
    assert strike(kind, **args)[0] == heard


def test_a_disconnect_is_told_to_both_ends_and_the_line_comes_back():
    heard, listener, events = strike("disconnect", back_after_s=1.0)
    assert heard == [(0.0, b"-")] and events == ["attach", "received", "closed"]
    assert len(listener.lost) == 1 and "hung up" in str(listener.lost[0])

    async def main(loop):
        wire = await lay_virtual("bus", Echo())
        wire.hang_up(back_after_s=1.0)
        with pytest.raises(TransportError, match="absent"):
            await open_transport("sim:bus", Listener())
        await asyncio.sleep(1)
        assert (await open_transport("sim:bus", Listener())).is_open

    run_virtual(main)


def test_a_timed_fault_strikes_its_window_in_its_direction_only():
    async def main(loop):
        echo, listener = Echo(), Listener()
        faults = FaultSchedule((Fault("drop", "bus.to_host", at_s=1.0, for_s=2.0),))
        await lay_virtual("bus", echo, latency_s=0.0, faults=faults)
        transport = await open_transport("sim:bus", listener)
        for n in range(5):
            transport.write(b"%d" % n)
            await asyncio.sleep(1)
        return echo.heard, listener.data

    assert run_virtual(main) == (b"01234", b"034")


def test_the_tap_hears_what_is_delivered_after_the_faults():
    async def main(loop):
        rows = []
        faults = FaultSchedule((Fault("flip", "bus.to_device", at_chunk=0),))
        await lay_virtual("bus", Echo(), faults=faults, latency_s=0.25, tap=lambda *row: rows.append(row))
        transport = await open_transport("sim:bus", Listener())
        transport.write(b"a")
        await asyncio.sleep(1)
        return rows

    assert run_virtual(main) == [(0.5, "bus.to_device", b"`"), (0.75, "bus.to_host", b"`")]


def tcp_story(lay):
    async def main(loop=None):
        echo = Echo(b"hi ")
        wire = await lay("beam", echo)
        first, second = Listener(), Listener()
        one, two = await open_transport(wire.url, first), await open_transport(wire.url, second)
        one.write(b"abc")
        two.write(b"def")
        await first.until(lambda it: it.data == b"hi ABC")
        await second.until(lambda it: it.data == b"hi DEF")
        two.close()
        assert second.lost == [None]
        wire.hang_up(back_after_s=0.0)
        await first.until(lambda it: it.lost)
        assert isinstance(first.lost[0], TransportError)
        third = Listener()
        back = await open_transport(wire.url, third)
        back.write(b"x")
        await third.until(lambda it: it.data == b"hi X")
        wire.close()
        await third.until(lambda it: it.lost)
        with pytest.raises(TransportError, match="refuses"):
            await open_transport(wire.url, Listener())
        assert sorted(echo.events) == ["attach"] * 3 + ["closed"] * 3 + ["received"] * 3
        assert not one.is_open and len(first.lost) == len(second.lost) == len(third.lost) == 1

    return main


@pytest.mark.real_time
def test_tcp_serves_several_hosts_on_a_real_loop_and_in_memory():
    asyncio.run(tcp_story(lay_tcp)())
    run_virtual(tcp_story(lay_tcp))


def test_a_virtual_run_repeats_byte_for_byte():
    def once(seed):
        async def main(loop):
            rows = []
            echo = Echo()
            random = loop.rng("host")
            await lay_virtual("bus", echo, baud=19200, tap=lambda *row: rows.append(row))
            transport = await open_transport("sim:bus", Listener())
            for _ in range(50):
                transport.write(random.randbytes(random.randrange(1, 40)))
                await asyncio.sleep(random.random() * 0.02)
            await asyncio.sleep(1)
            return rows

        return run_virtual(main, seed=seed)

    assert once(3) == once(3) != once(4)


def test_a_device_that_takes_no_more_connections_refuses_them_in_virtual_time() -> None:
    class Full:
        def attach(self, send: object) -> None:
            raise ConnectionRefusedError("full")

    async def main(_loop: object) -> None:
        await lay_virtual("full", Full())  # type: ignore[arg-type]
        with pytest.raises(TransportError, match="no more connections"):
            await open_transport("sim:full", Listener())

    run_virtual(main)


@pytest.mark.real_time
def test_a_device_that_takes_no_more_connections_refuses_them_on_tcp() -> None:
    class Full:
        def attach(self, send: object) -> None:
            raise ConnectionRefusedError("full")

    async def main() -> None:
        wire = await lay_tcp("full", Full())  # type: ignore[arg-type]
        try:
            reader, writer = await asyncio.open_connection(*wire.url.split(":")[1:])
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), 5.0)
            writer.close()
        finally:
            wire.close()

    asyncio.run(main())


def test_wires_that_nobody_closed_are_gone_with_their_loop() -> None:
    """Else a campaign of 200,000 seeds keeps 200,000 worlds."""

    async def main(loop):
        echo = Echo()
        await lay_virtual("bus", echo, baud=9600)
        await open_transport("sim:bus", Listener())
        return weakref.ref(echo)

    echo = run_virtual(main)
    gc.collect()
    assert echo() is None
