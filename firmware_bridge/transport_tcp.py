"""`tcp:HOST:PORT`: no delay, keep-alive, and a sentence for each way in which a connection fails."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any

from firmware_bridge.errors import BadAddress, TransportError
from firmware_bridge.transport import Receiver, Transport, split_options

_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}  # a dead peer is known after about 11 s


async def open_tcp(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    """Connect. Raises TransportError: refused, unreachable, unknown name, no answer within `timeout_s`."""
    host, port = parse_address(url)
    connection = TcpTransport(url, receiver)
    await connect(connection, host, port, timeout_s)
    return connection


async def connect(connection: TcpTransport, host: str, port: int, timeout_s: float, **tls: Any) -> None:
    """Connect `connection`; `tls`: what asyncio takes for TLS, whose errors pass through. TransportError otherwise."""
    url = connection.url
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().create_connection(lambda: _Protocol(connection), host, port, **tls)
    except TimeoutError:
        raise TransportError(
            f"{url}: no answer within {timeout_s:g} s. Is {host} switched on and on this network? Does a firewall drop "
            f"port {port}?"
        ) from None
    except OSError as error:
        if tls and isinstance(error, ssl.SSLError | ConnectionResetError | ConnectionAbortedError):
            raise
        raise TransportError(f"{url}: {_reason(error, host, port)}") from error
    except ValueError as error:  # a name that no name can be: too long a part, an empty one, a NUL
        raise BadAddress(f"{url}: '{host}' cannot be a name ({error}). Give the device's name or address.") from error


def parse_address(url: str) -> tuple[str, int]:
    """Host and port of a `tcp:` URL. Raises BadAddress for what is none."""
    return split_address(url, split_options(url, {})[0])


def split_address(url: str, target: str, *, default_port: int = 0) -> tuple[str, int]:
    """HOST:PORT, or HOST where there is a default port; IPv6 addresses in brackets. Else BadAddress."""
    host, colon, port = target.rpartition(":")
    if default_port and (not colon or target.endswith("]")):
        host, port = target, str(default_port)
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        scheme = url.partition(":")[0]
        raise BadAddress(f"{url}: give HOST:PORT with a port from 1 to 65535, for instance {scheme}:10.0.0.5:502.")
    return host, int(port)


def _reason(error: OSError, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name '{host}' is not known here ({error.strerror}). Check its spelling, or give the IP address."
    text = str(error)  # several addresses were tried: asyncio then gives only text
    if error.errno == errno.ECONNREFUSED or "[Errno 111]" in text or "refused" in text:
        return f"{host} refuses port {port}: nothing serves it there. Is the device (or `sim serve`) running?"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN):
        return f"{host} cannot be reached ({error.strerror}). Check the cable, the address and the network mask."
    return f"the connection failed ({text}). Check the address and the device."


class TcpTransport(Transport):
    def __init__(self, url: str, receiver: Receiver) -> None:
        super().__init__(url, receiver, 0.0)
        self._stream: Any = None

    def made(self, stream: Any) -> None:
        self._stream = stream
        endpoint = stream.get_extra_info("socket")
        if endpoint is not None:  # none in virtual time
            endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):
                    endpoint.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def got(self, data: bytes) -> None:
        self._receiver.data_received(data)  # asyncio reads nothing more after close()

    def lost(self, error: Exception | None) -> None:
        if error is None:
            why = "the device has closed the connection"
        else:
            why = f"the connection broke ({error})"
        self._finish(TransportError(f"{self.url}: {why}. Is it switched off, restarting, or serving somebody else?"))

    def _send(self, data: bytes) -> None:
        self._stream.write(data)

    def _waiting_bytes(self) -> int:
        return self._stream.get_write_buffer_size()

    def _release(self) -> None:
        if not self._stream.is_closing():
            self._stream.close()


class _Protocol(asyncio.Protocol):
    """What asyncio calls."""

    def __init__(self, connection: TcpTransport) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.made(transport)

    def data_received(self, data: bytes) -> None:
        self._connection.got(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.lost(exc)
