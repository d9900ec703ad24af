"""One family of errors: what went wrong between the host and a machine, each a sentence fit for an operator.

A message says what happened, where, and what to do about it. `BridgeError` is what callers outside this package catch;
the three branches say which layer gave up: the byte stream (`TransportError`), the conversation (`LinkError`) or the
device itself (`DeviceError`).
"""

from __future__ import annotations


class BridgeError(Exception):
    """Anything that firmware_bridge can raise about the outside world."""


class TransportError(BridgeError):
    """The byte stream cannot be opened, was lost, or takes no more bytes."""


class BadAddress(TransportError):
    """The URL or path itself cannot be used: what was written is wrong, whatever is plugged in."""


class LinkError(BridgeError):
    """Bytes flow, but the conversation failed."""


class LinkTimeout(LinkError):
    """No (whole) reply came in time."""


class FrameError(LinkError):
    """A reply came whose checksum, length or shape is wrong."""


class Mismatch(LinkError):
    """A well-formed reply came that does not answer the question (other unit, function, count, echo)."""


class ModbusException(LinkError):
    """The device understood the request and refused it.

    `code` is the Modbus exception code (1 illegal function, 2 illegal address, 3 illegal value, 4 device failure, ...).
    """

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class LinkTainted(LinkError):
    """The bus may still carry an answer to an older question and has to fall silent before it is used again."""


class DeviceError(BridgeError):
    """The device answers, and what it says is not acceptable."""


class WrongModel(DeviceError):
    """Another device answers than the machine file names."""


class Rejected(DeviceError):
    """The device (or its map) refuses this value or command."""


class Unverified(DeviceError):
    """A value was written and reads back differently."""


class NotReady(DeviceError):
    """The device is not in the state that this command needs."""


class DeviceHalted(DeviceError):
    """The firmware has stopped itself and obeys nothing until it is reset."""


class DeviceReset(DeviceError):
    """The firmware has restarted in the middle of a conversation: what it was told before is gone."""
