"""Does a picture come whole over HTTP, and does every way a server can fail end in a sentence, within its time?"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import itertools
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import FrameError, LinkError, LinkTimeout, TransportError
from firmware_bridge.links.http_snapshot import BODY_BYTES_MAX, HttpSnapshotLink, SnapshotReply
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.wire import lay_virtual

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40 + b"\xff\xd9"


def reply(body: bytes = JPEG, *fields: bytes, status: bytes = b"200 OK", length: int | None = None) -> bytes:
    lines = [b"HTTP/1.1 " + status, *fields, b"Content-Length: %d" % (len(body) if length is None else length)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


class ScriptedServer:
    """Answers every request by a script of (seconds after the request, bytes)."""

    def __init__(self, *script: tuple[float, bytes]) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.open = 0
        self.most_open = 0

    def attach(self, send: Callable[[bytes], None]) -> ScriptedSession:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        return ScriptedSession(self, send)


class ScriptedSession:
    def __init__(self, server: ScriptedServer, send: Callable[[bytes], None]) -> None:
        self.server, self.send = server, send

    def received(self, data: bytes) -> None:
        self.server.requests.append(data)
        for after_s, answer in self.server.script:
            asyncio.get_running_loop().call_later(after_s, self.send, answer)

    def closed(self) -> None:
        self.server.open -= 1


def snap(
    *script: tuple[float, bytes], timeout_s: float = 5.0, hang_up_after_s: float | None = None
) -> tuple[object, float]:
    """The picture or the error that a scripted server leads to, and the virtual seconds it took."""

    async def main(loop: VirtualLoop) -> tuple[object, float]:
        server = ScriptedServer(*script)
        wire = await lay_virtual("camera", server)
        if hang_up_after_s is not None:
            loop.call_later(hang_up_after_s, wire.hang_up)
        link = HttpSnapshotLink(wire.url, timeout_s=timeout_s)
        start_s = loop.time()
        try:
            result: object = await link.snapshot()
        except (LinkError, TransportError) as error:
            result = error
        took_s = loop.time() - start_s
        await asyncio.sleep(1.0)  # whatever still comes must not disturb anybody
        assert server.open == 0, "the connection was left open"
        assert all(r.startswith(b"GET /snapshot.jpg HTTP/1.1\r\n") and b"\r\nHost: " in r for r in server.requests)
        return result, took_s

    return run_virtual(main)


def test_a_picture_comes_whole_however_it_is_cut():
    whole = reply(JPEG, b"Content-Type: image/jpeg")
    assert snap((0.1, whole))[0] == JPEG
    drips = [(0.1 + 0.01 * i, whole[i * 500 : (i + 1) * 500]) for i in range(len(whole) // 500 + 1)]
    assert snap(*drips)[0] == JPEG


def test_a_digest_that_comes_with_a_picture_must_be_its_own():
    """RFC 1864's and RFC 9530's spellings; what is not known says nothing."""
    md5 = base64.b64encode(hashlib.md5(JPEG).digest())
    sha = base64.b64encode(hashlib.sha256(JPEG).digest())
    damaged = JPEG[:5000] + bytes([JPEG[5000] ^ 4]) + JPEG[5001:]
    for field in (
        b"Content-MD5: " + md5,
        b"Digest: unixsum=30637, SHA-256=" + sha,
        b"Content-Digest: sha-256=:" + sha + b":",
        b"Repr-Digest: md5=:" + md5 + b":, sha-256=:" + sha + b":",
    ):
        assert snap((0.1, reply(JPEG, field)))[0] == JPEG
        error = snap((0.1, reply(damaged, field)))[0]
        assert isinstance(error, FrameError) and "damaged on its way" in str(error), (field, error)
    assert snap((0.1, reply(JPEG, b"Digest: unixsum=30637, crc32c=:AAAA:")))[0] == JPEG
    broken = snap((0.1, reply(JPEG, b"Content-MD5: " + md5[:-1])))[0]
    assert isinstance(broken, FrameError) and "Content-MD5 is none" in str(broken)


HOSTILE: dict[str, tuple[Sequence[tuple[float, bytes]], type[LinkError], str]] = {
    "no length": ([(0, b"HTTP/1.1 200 OK\r\n\r\n" + JPEG)], FrameError, "Content-Length is required"),
    "too long": ([(0, reply(length=BODY_BYTES_MAX + 1))], FrameError, "announces a picture of"),
    "absurdly long": ([(0, reply(length=10**11))], FrameError, "announces a picture of"),
    "length zero": ([(0, reply(b""))], FrameError, "announces a picture of 0"),
    "negative length": ([(0, b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n")], FrameError, "no one number"),
    "two lengths": ([(0, reply(JPEG, b"Content-Length: 7"))], FrameError, "no one number"),
    "short body, silent": ([(0, reply(length=len(JPEG) + 1))], LinkTimeout, "of 10247 bytes"),
    "more than promised": ([(0, reply(length=100))], FrameError, "more than the 100 bytes"),
    "chunked": ([(0, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")], FrameError, "in chunks"),
    "compressed": ([(0, reply(JPEG, b"Content-Encoding: gzip"))], FrameError, "compresses"),
    "500": ([(0, reply(b"oops", status=b"500 Oh no"))], LinkError, "with 500 Oh no"),
    "404": ([(0, reply(b"oops", status=b"404 Not Found"))], LinkError, "no /snapshot.jpg"),
    "redirect": ([(0, reply(b"x", b"Location: /a", status=b"302 Found"))], LinkError, "redirects are not followed"),
    "busy": ([(0, reply(b"x", status=b"503 Busy"))], LinkError, "is busy"),
    "garbage": ([(0, b"\x00\xff\x13\x37" * 9)], FrameError, "does not speak HTTP"),
    "another protocol": ([(0, b"SSH-2.0-OpenSSH_9.2\r\n")], FrameError, "does not speak HTTP"),
    "HTTP/2": ([(0, reply().replace(b"HTTP/1.1", b"HTTP/2.0", 1))], FrameError, "not HTTP/1.1"),
    "status of letters": ([(0, b"HTTP/1.1 OK\r\n\r\n")], FrameError, "not HTTP/1.1"),
    "endless header": (
        [(0.01 * i, b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500) for i in range(9)],
        FrameError,
        "no end",
    ),
    "header without colon": ([(0, reply(JPEG, b"nonsense"))], FrameError, "header line that is none"),
    "folded header": ([(0, reply(JPEG, b"X: a", b" b: c"))], FrameError, "header line that is none"),
    "no JPEG": ([(0, reply(b"<html>login</html>"))], FrameError, "no whole JPEG"),
    "JPEG without its end": ([(0, reply(JPEG[:-200]))], FrameError, "no whole JPEG"),
    "silent": ([], LinkTimeout, "0 bytes of the header"),
    "too slow": ([(2.0 * i, bytes([b])) for i, b in enumerate(reply()[:40])], LinkTimeout, "bytes of the header"),
}


@pytest.mark.parametrize("way", HOSTILE)
def test_a_hostile_server_ends_in_a_sentence_within_the_bound(way):
    script, kind, words = HOSTILE[way]
    error, took_s = snap(*script, timeout_s=3.0)
    assert type(error) is kind, error
    assert words in str(error) and "camera at sim:camera" in str(error)
    assert took_s <= 3.0 + 1e-6
    assert len(str(error)) < 300


def test_a_server_that_hangs_up_in_the_middle_is_named():
    error, took_s = snap((0, reply(length=50_000)), hang_up_after_s=0.5)
    assert type(error) is LinkError and "10246 of 50000 bytes" in str(error)
    assert took_s < 1.0


def test_one_request_in_flight_and_the_second_waits_its_turn():
    async def main(loop: VirtualLoop) -> None:
        server = ScriptedServer((1.0, reply()))
        wire = await lay_virtual("camera", server)
        link = HttpSnapshotLink(wire.url, timeout_s=2.5)
        results = await asyncio.gather(*(link.snapshot() for _ in range(3)), return_exceptions=True)
        assert results[:2] == [JPEG, JPEG]
        assert isinstance(results[2], LinkTimeout)  # its 2.5 s were spent waiting for the other two
        assert (link.snapshots, link.failures) == (2, 1)
        await asyncio.sleep(0.1)
        assert server.most_open == 1 and server.open == 0

    run_virtual(main)


def test_cancelling_and_closing_leave_nothing_behind(caplog):
    async def main(loop: VirtualLoop) -> None:
        server = ScriptedServer((1.0, reply()))
        wire = await lay_virtual("camera", server)
        link = HttpSnapshotLink(wire.url)
        task = asyncio.ensure_future(link.snapshot())
        await asyncio.sleep(0.5)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
        assert await link.snapshot() == JPEG  # the late answer went to a connection that is gone
        task = asyncio.ensure_future(link.snapshot())
        await asyncio.sleep(0.5)
        link.close()
        link.close()
        with pytest.raises(LinkError, match="this side closed"):
            await task
        with pytest.raises(LinkError, match="was closed"):
            await link.snapshot()
        await asyncio.sleep(2.0)
        assert server.open == 0

    run_virtual(main)
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_an_absent_camera_is_a_transport_error():
    async def main(loop: VirtualLoop) -> None:
        with pytest.raises(TransportError):
            await HttpSnapshotLink.open("sim:nowhere")
        wire = await lay_virtual("camera", ScriptedServer((0.0, reply())))
        link = await HttpSnapshotLink.open(wire.url)
        assert await link.snapshot() == JPEG

    run_virtual(main)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_any_bytes_give_a_body_a_wish_for_more_or_a_link_error(noise, cuts):
    for stream in (noise, b"HTTP/1.1 200 OK\r\n" + noise, b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n" + noise):
        parser = SnapshotReply("the camera")
        edges = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
        body = None
        try:
            for a, b in itertools.pairwise(edges):
                body = parser.feed(stream[a:b]) or body
        except LinkError:
            continue
        assert body is None or len(body) > 0


@given(st.binary(min_size=1, max_size=300), st.integers(1, 80))
def test_the_cut_of_the_stream_does_not_matter(body, size):
    parser = SnapshotReply("the camera")
    stream = reply(body)
    pieces = [parser.feed(stream[i : i + size]) for i in range(0, len(stream), size)]
    assert pieces[-1] == body and not any(pieces[:-1])
