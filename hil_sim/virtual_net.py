"""TCP without a network: what `create_connection` and `create_server` of the virtual loop make.

Two transports, each holding the other, and a constant latency. Real flow control (`pause_writing`, `pause_reading`),
half-close and reset are there, so that asyncio streams and protocol classes run unmodified. No TLS, no sockets.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hil_sim.virtual_time import VirtualLoop

_HIGH_WATER = 64 * 1024
_BOUND = 64 * 1024 * 1024  # a writer that ignores pause_writing is stopped here
_ANY_HOST = {None, "", "0.0.0.0", "::", "*"}


class MemoryServer(asyncio.AbstractServer):
    """Listens at (host, port) of one loop. `sockets[0].getsockname()` tells the port, as on a real server."""

    @classmethod
    def listen(
        cls, loop: VirtualLoop, factory: Callable[[], Any], host: Any, port: int | None, options: dict[str, Any]
    ) -> MemoryServer:
        if options.get("sock") is not None or options.get("ssl"):
            raise NotImplementedError("virtual time has no sockets and no TLS: give host and port")
        if isinstance(host, (list, tuple)):
            host = host[0] if len(host) == 1 else None
        address = (_host_name(host), port or _free_port(loop))
        if _find(loop, *address) is not None:
            raise OSError(errno.EADDRINUSE, f"port {address[1]} of {address[0]} is in use in this virtual network")
        server = cls(loop, factory, address)
        loop.memory_servers[address] = server
        return server

    def __init__(self, loop: VirtualLoop, factory: Callable[[], Any], address: tuple[str, int]) -> None:
        self._loop = loop
        self.factory = factory
        self.address = address
        self.sockets: tuple[_SocketName, ...] = (_SocketName(address),)

    def get_loop(self) -> VirtualLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._loop.memory_servers.get(self.address) is self

    def close(self) -> None:
        if self.is_serving():
            del self._loop.memory_servers[self.address]
            self.sockets = ()

    async def start_serving(self) -> None:
        return

    async def serve_forever(self) -> None:
        try:
            await self._loop.create_future()
        finally:
            self.close()

    async def wait_closed(self) -> None:
        """Returns at once: connections outlive the server and belong to their protocols."""


class _SocketName:
    """As much of a socket as people ask a server for."""

    family = 2

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        return self._address


async def open_memory_connection(
    loop: VirtualLoop, factory: Callable[[], Any], host: Any, port: Any, options: dict[str, Any]
) -> tuple[MemoryTransport, Any]:
    """Connect to a MemoryServer of the same loop: (transport, protocol), or ConnectionRefusedError."""
    if options.get("sock") is not None or options.get("ssl"):
        raise NotImplementedError("virtual time has no sockets and no TLS: give host and port")
    await asyncio.sleep(2 * loop.net_latency_s)  # SYN there, SYN-ACK back
    server = _find(loop, _host_name(host), int(port))
    if server is None:
        raise ConnectionRefusedError(errno.ECONNREFUSED, f"nothing listens at {host}:{port} in this virtual network")
    here, there = ("127.0.0.1", _free_port(loop)), (_host_name(host), int(port))
    client_protocol, server_protocol = factory(), server.factory()
    client = MemoryTransport(loop, client_protocol, {"sockname": here, "peername": there})
    far = MemoryTransport(loop, server_protocol, {"sockname": there, "peername": here})
    client.peer, far.peer = far, client
    server_protocol.connection_made(far)
    client_protocol.connection_made(client)
    return client, client_protocol


def _host_name(host: Any) -> str:
    if host in _ANY_HOST:
        return "0.0.0.0"
    return "127.0.0.1" if host in ("localhost", "::1") else str(host)


def _find(loop: VirtualLoop, host: str, port: int) -> MemoryServer | None:
    return loop.memory_servers.get((host, port)) or loop.memory_servers.get(("0.0.0.0", port))


def _free_port(loop: VirtualLoop) -> int:
    port = loop.next_port
    loop.next_port = port + 1
    if port > 65535:
        raise OSError(errno.EADDRNOTAVAIL, "this virtual network has used up its ports")
    return port


class MemoryTransport(asyncio.Transport):
    """One end of an in-memory connection."""

    peer: MemoryTransport

    def __init__(self, loop: VirtualLoop, protocol: Any, extra: dict[str, Any]) -> None:
        if isinstance(protocol, asyncio.BufferedProtocol):
            raise NotImplementedError("the virtual network speaks to data_received(), not to BufferedProtocol")
        super().__init__(extra)
        self._loop = loop
        self._protocol = protocol
        self._closing = False
        self._told = False  # connection_lost is called once
        self._reading = True
        self._coming: deque[bytes] = deque()  # under way: a timer each, and whichever fires first brings the first
        self._held: deque[bytes] = deque()  # came while reading was paused; b"" is the end of the stream
        self._unread = 0  # bytes of ours that the peer's protocol has not seen
        self._wrote_eof = False
        self._writing_paused = False
        self._high = _HIGH_WATER
        self._low = _HIGH_WATER // 4

    # ---- sending ----------------------------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._wrote_eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        self._unread += len(data)
        if self._unread > _BOUND:
            raise BufferError(f"{self._unread} bytes wait in a virtual connection: the writer ignores pause_writing()")
        self._send(bytes(data))
        if self._unread > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def _send(self, data: bytes) -> None:
        self.peer._coming.append(data)
        self._loop.call_later(self._loop.net_latency_s, self.peer._arrive)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._closing and not self._wrote_eof:
            self._wrote_eof = True
            self._send(b"")

    def get_write_buffer_size(self) -> int:
        return self._unread

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = _HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def _seen(self, count: int) -> None:
        self._unread -= count
        if self._writing_paused and self._unread <= self._low:
            self._writing_paused = False
            if not self._told:
                self._protocol.resume_writing()

    # ---- receiving --------------------------------------------------------------------------------------------------

    def _arrive(self) -> None:
        data = self._coming.popleft()
        if self._closing:
            self.peer._seen(len(data))
            if data:  # bytes to a closed socket: the peer gets a reset
                self._loop.call_later(self._loop.net_latency_s, self.peer._reset)
        elif not self._reading or self._held:
            self._held.append(data)
        else:
            self._hand_over(data)

    def _hand_over(self, data: bytes) -> None:
        if data:
            self.peer._seen(len(data))
            self._protocol.data_received(data)
        elif not self._protocol.eof_received():
            self.close()

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._hand_over_held)

    def _hand_over_held(self) -> None:
        while self._held and self._reading and not self._closing:
            self._hand_over(self._held.popleft())

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    # ---- ending -----------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Everything written still arrives, then the end of the stream."""
        if not self._closing:
            self.write_eof()
            self._lose(None)

    def abort(self) -> None:
        """The peer gets a connection reset."""
        if not self._closing:
            self._loop.call_later(self._loop.net_latency_s, self.peer._reset)
            self._lose(None)

    def _reset(self) -> None:
        if not self._closing:
            self._lose(ConnectionResetError(errno.ECONNRESET, "the peer has reset the connection"))

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        self._held.clear()
        self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        if not self._told:
            self._told = True
            self._protocol.connection_lost(error)

    def get_protocol(self) -> Any:
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol
