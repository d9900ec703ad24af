"""One open of an emulated board's serial port: bytes reach the board while this is the open that counts."""

from __future__ import annotations

from typing import Protocol


class Board(Protocol):
    """What a session needs of its board."""

    def received(self, session: LineSession, data: bytes) -> None:
        """Bytes from the host."""

    def hung_up(self, session: LineSession) -> None:
        """The host has left."""


class LineSession:
    """Handed to the wire by `attach`."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._open = True

    def received(self, data: bytes) -> None:
        """Bytes from the host."""
        if self._open:
            self._board.received(self, data)

    def closed(self) -> None:
        """The host has left; the board goes on with what it has."""
        self._open = False
        self._board.hung_up(self)
