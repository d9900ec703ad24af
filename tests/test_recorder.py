"""Does a tapped wire leave a record that others can read, and does a replay hold a host to it, byte by byte?"""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcap.reader import make_reader
from modbus_link_helpers import crc16
from wire_helpers import Echo, Listener

from firmware_bridge.devices.motion import MotionController
from firmware_bridge.devices.motion_reprap import RepRapMotionController
from firmware_bridge.errors import LinkTimeout, TransportError
from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.links.reprap import RepRapLink
from firmware_bridge.recorder import open_tapped
from firmware_bridge.recording import Connection, Ending, Piece, Recorder, RecordingError, Way, read_recording
from firmware_bridge.replay import Departure, Script, dialect_of
from firmware_bridge.transport import Transport, open_transport
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.emulators.reprap_machine import RepRapBuild
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual

TO_DEVICE, TO_HOST = Way.TO_DEVICE, Way.TO_HOST


def connection(
    *pieces: tuple[float, Way, bytes], ending: Ending = Ending.HOST_LEFT, ended_s: float = 99.0
) -> Connection:
    return Connection(1, 0.0, tuple(Piece(*piece) for piece in pieces), ending, ended_s, "pulled out")


async def conversation(path: Path, start_s: float = 0.0) -> list[tuple[float, bytes]]:
    """Record 'm105' and 'g28' said to an echo behind 9600 baud; what was heard, with times since the opening."""
    loop = asyncio.get_running_loop()
    wire = await lay_virtual("line", Echo(b"start\n"), baud=9600)
    recorder = Recorder(path, wire.url, 10 / 9600, start_ns=1_000_000_000)
    heard = await talk(lambda listener: open_tapped(wire.url, listener, recorder))
    recorder.close()
    assert loop.time() > start_s
    return heard


async def talk(opener) -> list[tuple[float, bytes]]:
    loop, listener = asyncio.get_running_loop(), Listener()
    transport = await opener(listener)
    opened_s = loop.time()
    await asyncio.sleep(0.5)
    transport.write(b"m105\n")
    await asyncio.sleep(0.5)
    transport.write(b"g28\n")
    await asyncio.sleep(0.5)
    transport.close()
    assert listener.lost == [None]
    return [(time_s - opened_s, data) for time_s, data in listener.chunks]


# ---- the file -------------------------------------------------------------------------------------------------------


def test_every_byte_of_both_directions_is_recorded_with_its_time(tmp_path):
    run_virtual(lambda loop: conversation(tmp_path / "wire.mcap"))
    recording = read_recording(tmp_path / "wire.mcap")
    (found,) = recording.connections
    assert (recording.url, recording.byte_time_s, recording.notes) == ("sim:line", 10 / 9600, ())
    assert found.sent(TO_DEVICE) == b"m105\ng28\n" and found.sent(TO_HOST) == b"start\nM105\nG28\n"
    sent = [piece for piece in found.pieces if piece.way is TO_DEVICE]
    assert [piece.time_s - found.opened_s for piece in sent] == pytest.approx([0.5, 1.0])
    answer = next(piece for piece in found.pieces if piece.data == b"M105\n")
    assert answer.time_s - sent[0].time_s == pytest.approx(10 * 10 / 9600 + 0.0004)  # there and back, two latencies
    assert found.ending is Ending.HOST_LEFT


def test_any_mcap_reader_reads_it(tmp_path):
    run_virtual(lambda loop: conversation(tmp_path / "wire.mcap"))
    with open(tmp_path / "wire.mcap", "rb") as file:
        rows = [(c.topic, m.log_time, m.data) for _, c, m in make_reader(file, validate_crcs=True).iter_messages()]
    assert [data for topic, _, data in rows if topic == "/wire/1/to_device"] == [b"m105\n", b"g28\n"]
    assert all(time_ns >= 1_000_000_000 for _, time_ns, _ in rows)
    assert [topic for topic, _, _ in rows if topic.endswith("events")] == ["/wire/1/events"] * 2


def test_a_record_is_never_written_over(tmp_path):
    (tmp_path / "wire.mcap").write_text("a field failure")

    async def story(loop):
        with pytest.raises(RecordingError, match="never written over"):
            Recorder(tmp_path / "wire.mcap", "sim:x", 0.0)
        with pytest.raises(RecordingError, match="no recording can be made"):
            Recorder(tmp_path / "absent" / "wire.mcap", "sim:x", 0.0)

    run_virtual(story)
    assert (tmp_path / "wire.mcap").read_text() == "a field failure"


def test_a_recorder_that_is_killed_leaves_what_passed_a_quarter_of_a_second_ago(tmp_path):
    async def story(loop):
        recorder = Recorder(tmp_path / "wire.mcap", "sim:x", 0.0)
        recorder.passed(recorder.opened(), TO_DEVICE, b"before")
        await asyncio.sleep(0.3)
        killed = (tmp_path / "wire.mcap").read_bytes()
        recorder.close()
        (tmp_path / "killed.mcap").write_bytes(killed)

    run_virtual(story)
    recording = read_recording(tmp_path / "killed.mcap")
    assert recording.connections[0].sent(TO_DEVICE) == b"before"
    assert recording.connections[0].ending is Ending.CUT and "was not closed" in recording.notes[0]


def test_a_full_disk_ends_the_record_and_not_the_wire(tmp_path):
    async def story(loop):
        wire = await lay_virtual("line", Echo())
        recorder = Recorder(tmp_path / "wire.mcap", wire.url, 0.0)
        listener = Listener()
        transport = await open_tapped(wire.url, listener, recorder)

        class Full:
            def __getattr__(self, name):
                def refuse(*_):
                    raise OSError(errno.ENOSPC, "No space left on device")

                return refuse

        recorder._writer = Full()
        transport.write(b"m105\n")
        await asyncio.sleep(0.1)
        assert listener.data == b"M105\n" and "No space left" in recorder.failure
        transport.close()
        recorder.close()

    run_virtual(story)


def test_a_record_ends_at_its_bound_and_is_whole(tmp_path):
    async def story(loop):
        recorder = Recorder(tmp_path / "wire.mcap", "sim:x", 0.0, bytes_max=100)
        number = recorder.opened()
        for _ in range(20):
            recorder.passed(number, TO_HOST, bytes(10))
        assert "reached its bound" in recorder.failure and recorder.bytes_passed[TO_HOST] == 200
        recorder.close()

    run_virtual(story)
    recording = read_recording(tmp_path / "wire.mcap")
    assert not recording.notes and 0 < len(recording.connections[0].sent(TO_HOST)) <= 100


@pytest.mark.parametrize("data", [b"", b"\x89MCAP0\r\n", b"G21\nG90\n", b"\x89MCAP0\r\n" + bytes(100)])
def test_what_is_no_recording_gets_a_sentence(tmp_path, data):
    (tmp_path / "wire.mcap").write_bytes(data)
    with pytest.raises(RecordingError, match=r"wire\.mcap"):
        read_recording(tmp_path / "wire.mcap")
    with pytest.raises(RecordingError, match="cannot be read"):
        read_recording(tmp_path / "absent.mcap")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("wire") / "wire.mcap"
    run_virtual(lambda loop: conversation(path))
    return path.read_bytes()


@given(st.data())
def test_a_damaged_or_cut_recording_is_read_as_far_as_it_goes_or_refused(tmp_path_factory, whole, data):
    spoilt = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if spoilt:
            spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "spoilt.mcap"
    path.write_bytes(spoilt)
    try:
        recording = read_recording(path)
    except RecordingError as error:
        assert "spoilt.mcap" in str(error)
        return
    for found in recording.connections:
        times = [piece.time_s for piece in found.pieces]
        assert times == sorted(times)
        script = Script(found)
        script.begin(0.0)
        script.hear(found.sent(TO_DEVICE), 1.0)
        assert script.is_over


# ---- the script -----------------------------------------------------------------------------------------------------

DIALOGUE = connection(
    (0.2, TO_HOST, b"start\n"), (1.0, TO_DEVICE, b"abc"), (1.5, TO_HOST, b"x"), (2.0, TO_DEVICE, b"de"),
    (2.1, TO_HOST, b"y"), (4.0, TO_HOST, b"z"),
)  # fmt: skip


def test_answers_wait_for_their_byte_and_then_as_long_as_they_did():
    script = Script(DIALOGUE)
    assert [(a.due_s, a.data) for a in script.begin(100.0)] == [(100.2, b"start\n")]
    assert script.hear(b"ab", 200.0) == []
    assert [(a.due_s, a.data) for a in script.hear(b"c", 201.0)] == [(201.5, b"x")]
    assert [(a.due_s, a.data) for a in script.hear(b"de", 201.1)] == [(201.5, b"y"), (203.1, b"z")]
    assert script.is_over


def test_a_departure_names_the_byte_and_what_was_recorded_there():
    script = Script(DIALOGUE)
    script.hear(b"abc", 0.0)
    with pytest.raises(Departure, match=r"at its byte 4: sent was b'X'; recorded is b'e', 2\.000 s after") as caught:
        script.hear(b"dX", 0.0)
    assert caught.value.at_byte == 4


def test_a_host_that_goes_on_beyond_the_record_has_departed():
    script = Script(DIALOGUE)
    with pytest.raises(Departure, match="at its byte 5: sent was b'fg'; the record ends there"):
        script.hear(b"abcdefg", 0.0)


@given(
    st.lists(st.tuples(st.sampled_from(Way), st.binary(min_size=1, max_size=5), st.floats(0.0, 3.0))),
    st.lists(st.integers(1, 7), min_size=1),
)
def test_however_the_hosts_bytes_are_cut_each_answer_comes_once_and_in_order(steps, cuts):
    time_s, pieces = 0.0, []
    for way, data, wait_s in steps:
        time_s += wait_s
        pieces.append((time_s, way, data))
    recorded = connection(*pieces)
    script, now_s = Script(recorded), 0.0
    answers = script.begin(now_s)
    rest, n = recorded.sent(TO_DEVICE), 0
    while rest:
        size, n, now_s = cuts[n % len(cuts)], n + 1, now_s + 1.0
        answers += script.hear(rest[:size], now_s)
        rest = rest[size:]
    assert script.is_over and b"".join(a.data for a in answers) == recorded.sent(TO_HOST)
    assert [a.due_s for a in answers] == sorted(a.due_s for a in answers)


def test_a_lost_device_is_lost_again_at_its_time():
    script = Script(connection((1.0, TO_DEVICE, b"a"), ending=Ending.DEVICE_LOST, ended_s=3.5))
    assert [(a.due_s, a.data) for a in script.hear(b"a", 10.0)] == [(12.5, None)]


HELLO = connection(
    (1.0, TO_DEVICE, b"N1 M118 k77*5\nN2 M1"), (1.1, TO_HOST, b"echo:k7"), (1.2, TO_HOST, b"7\nok\n"),
    (1.3, TO_DEVICE, b"05*9\n"), (1.4, TO_HOST, b"ok T:77\n"),
)  # fmt: skip


def test_lines_of_g_code_may_carry_another_token_and_so_another_checksum():
    script = Script(HELLO, "reprap")
    answers = script.hear(b"N1 M118 k123*61\nN2 M105*9\n", 10.0)
    assert [a.data for a in answers] == [b"echo:k123\nok\n", b"ok T:77\n"]
    assert [a.due_s for a in answers] == pytest.approx([10.2, 10.2])  # never before what was said before it
    assert script.is_over


def test_tokens_that_others_had_in_the_record_are_carried_over_once():
    """Today's host counts on from where the record's was: its first token was the second one then."""
    pieces = [(0.1, TO_DEVICE, b"M118 k1\nM118 k2\n"), (0.2, TO_HOST, b"k1\necho:k2\n")]
    script = Script(connection(*pieces), "reprap")
    said = script.hear(b"M118 k2\nM118 k3\n", 1.0)
    assert b"".join(answer.data or b"" for answer in said) == b"k2\necho:k3\n"


def test_who_is_held_to_bytes_and_would_pass_by_lines_is_told_of_it():
    for sent, is_told in [(b'N1 G28 M118 S"k7A"*12345\n', True), (b"m105\n", False), (b"\x01M118 \xff", False)]:
        recorded = connection((0.1, TO_DEVICE, sent))
        assert dialect_of(recorded) == ("reprap" if is_told else "bytes")
        with pytest.raises(Departure) as caught:
            Script(recorded, "bytes").hear(b"G0", 1.0)
        assert ("--dialect reprap" in str(caught.value)) is is_told


def test_a_departure_in_a_line_with_a_crc_names_its_byte():
    recorded = connection((0.1, TO_DEVICE, b'N7 G28 M118 S"k7A"*12345\n'))
    Script(recorded, "reprap").hear(b'N1234 G28 M118 S"k1234C"*54321\n', 1.0)
    with pytest.raises(Departure, match="at its byte 5: sent was b'9 M118") as caught:
        Script(recorded, "reprap").hear(b'N1234 G29 M118 S"k1234C"*54321\n', 1.0)
    assert caught.value.at_byte == 5


def test_an_answer_that_came_within_a_line_waits_for_the_lines_before_it_only():
    recorded = connection(
        (1.0, TO_DEVICE, b"N1 G28*1\nN2 M1"), (1.2, TO_HOST, b"ok\n"), (1.3, TO_DEVICE, b"05*2\n"),
        (1.4, TO_HOST, b"ok T:2\n"),
    )  # fmt: skip
    script = Script(recorded, "reprap")
    assert [(a.due_s, a.data) for a in script.hear(b"N1 G28*1\n", 5.0)] == [(pytest.approx(5.2), b"ok\n")]
    assert [a.data for a in script.hear(b"N2 M105*2\n", 6.0)] == [b"ok T:2\n"] and script.is_over


def test_other_words_of_a_line_of_g_code_are_a_departure():
    for line in (b"N1 M118 k123*61\nN2 M106*9\n", b"N1 M118 k123*61\nN3 M105*9\n", b"N1 M118 k123 x*61\n"):
        with pytest.raises(Departure, match="departs from the record"):
            Script(HELLO, "reprap").hear(line, 0.0)
    with pytest.raises(Departure, match="the record ends there"):
        Script(HELLO, "reprap").hear(b"N1 M118 k123*61\nN2 M105*9\nN3 M105*8\n", 0.0)


# ---- as a transport -------------------------------------------------------------------------------------------------


def test_a_replayed_device_answers_with_the_recorded_delays_in_virtual_time(tmp_path):
    heard = run_virtual(lambda loop: conversation(tmp_path / "wire.mcap"))
    again = run_virtual(
        lambda loop: talk(lambda listener: open_transport(f"replay:{tmp_path}/wire.mcap", listener)), start_s=500.0
    )
    assert [data for _, data in again] == [data for _, data in heard]
    assert [time_s for time_s, _ in again] == pytest.approx([time_s for time_s, _ in heard], abs=1e-6)


def test_a_host_that_departs_loses_the_connection_with_the_byte_named(tmp_path):
    run_virtual(lambda loop: conversation(tmp_path / "wire.mcap"))

    async def story(loop):
        listener = Listener()
        transport = await open_transport(f"replay:{tmp_path}/wire.mcap", listener)
        assert transport.byte_time_s == 10 / 9600
        transport.write(b"m104\n")
        assert transport.is_open, "never lost from inside write()"
        await asyncio.sleep(1.0)
        (error,) = listener.lost
        assert isinstance(error, TransportError) and "at its byte 3" in str(error) and not transport.is_open
        assert listener.data == b""

    run_virtual(story)


def test_each_opening_plays_the_next_connection(tmp_path):
    async def record(loop):
        recorder = Recorder(tmp_path / "wire.mcap", "tcp:beam:502", 0.0)
        for said in (b"one", b"two"):
            recorder.passed(number := recorder.opened(), TO_HOST, said)
            recorder.ended(number, Ending.HOST_LEFT)
        recorder.close()

    async def play(loop):
        url, heard = f"replay:{tmp_path}/wire.mcap", []
        for more in ("", "", "?connection=1"):
            listener = Listener()
            transport = await open_transport(url + more, listener)
            await asyncio.sleep(0.1)
            transport.close()
            heard.append(listener.data)
        assert heard == [b"one", b"two", b"one"]
        for more, words in (("", "no connection 3"), ("?connection=x", "no connection 0"), ("?dialect=x", "dialect=x")):
            with pytest.raises(RecordingError, match=words):
                await open_transport(url + more, Listener())

    run_virtual(record)
    run_virtual(play)


def test_a_field_failure_becomes_a_test(tmp_path):
    """A meter that answers the third question with a wrong CRC: the recorded wire brings the link to the same error."""
    path = tmp_path / "bus.mcap"
    good = bytes.fromhex("01 03 02 00 fa")
    replies = [good + crc16(good), good + crc16(good), good + b"\x00\x00"]

    class Flaky:
        def attach(self, send):
            class Session:
                def received(self, data):
                    send(replies.pop(0))

                def closed(self):
                    pass

            return Session()

    async def ask(link: ModbusLink) -> list[object]:
        found: list[object] = []
        for _ in range(3):
            try:
                found.append(await link.read(1, 3, 1, 1))
            except Exception as error:
                found.append(type(error).__name__)
            await asyncio.sleep(1.0)
        link.close()
        return found

    async def field(loop):
        wire = await lay_virtual("bus", Flaky(), baud=9600)
        recorder = Recorder(path, wire.url, 10 / 9600)
        link = ModbusLink("rtu")
        link.attach(await open_tapped(wire.url, link, recorder))
        try:
            return await ask(link)
        finally:
            recorder.close()

    async def bench(loop):
        return await ask(await ModbusLink.open(f"replay:{path}", framing="rtu"))

    seen = run_virtual(field)
    assert seen[:2] == [[250], [250]] and isinstance(seen[2], str)
    assert run_virtual(bench) == seen


@pytest.mark.parametrize("board", [MarlinEmulator, RepRapEmulator])
def test_a_recorded_motion_board_is_homed_again_at_another_time(tmp_path, board):
    """The hello's token is another one in every session, which is what the dialect is for. The record tells which."""
    path = tmp_path / "motion.mcap"
    is_marlin = board is MarlinEmulator

    async def home(transport_of) -> tuple[float, float, float]:
        link = MarlinLink() if is_marlin else RepRapLink()
        link.attach(await transport_of(link if is_marlin else link.receiver))
        await link.handshake(10.0)
        motion = MotionController(link) if is_marlin else RepRapMotionController(link)
        await motion.identify()
        await motion.home()
        place = await motion.position()
        link.close()
        return place

    async def field(loop):
        gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
        emulator = board(gantry, MarlinBuild() if is_marlin else RepRapBuild(needs_check=True, needs_crc=True))
        wire = await lay_virtual("motion", emulator, baud=115200)
        recorder = Recorder(path, wire.url, 10 / 115200)
        try:
            return await home(lambda receiver: open_tapped(wire.url, receiver, recorder))
        finally:
            recorder.close()

    async def bench(loop, more: str):
        async def replayed(receiver) -> Transport:
            return await open_transport(f"replay:{path}{more}", receiver)

        return await home(replayed)

    place = run_virtual(field)
    assert run_virtual(lambda loop: bench(loop, "?dialect=reprap"), start_s=1234.5) == place
    assert run_virtual(lambda loop: bench(loop, ""), start_s=1234.5) == place
    with pytest.raises((TransportError, LinkTimeout)) as caught:
        run_virtual(lambda loop: bench(loop, "?dialect=bytes"), start_s=1234.5)
    assert "--dialect reprap" in str(caught.value)
