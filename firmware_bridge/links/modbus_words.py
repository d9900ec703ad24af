"""What a Modbus link says of an answer that did not come, or that was none."""

from __future__ import annotations

from firmware_bridge.errors import LinkError, LinkTainted, LinkTimeout, ModbusException
from firmware_bridge.links.modbus_frames import EXCEPTION_NAMES, Question
from firmware_bridge.links.modbus_quiet import DRAIN_LIMIT_S


def not_answered(url: str, question: Question, timeout_s: float) -> LinkTimeout:
    """Nothing came."""
    return LinkTimeout(
        f"unit {question.unit} on {url} did not answer {question.what} within {timeout_s:g} s: "
        "check its power, its unit number, wiring and baud rate."
    )


def gave_way(url: str, question: Question) -> LinkTimeout:
    """Nothing came in the short time that a stop leaves."""
    return LinkTimeout(f"unit {question.unit} on {url}: {question.what} gave way to a stop.")


def no_answer(kind: type[LinkError], url: str, question: Question, seen: str) -> LinkError:
    """Something else came."""
    return kind(f"unit {question.unit} on {url} was asked {question.what}; what came is {seen}, no answer.")


def refused(url: str, question: Question, code: int) -> ModbusException:
    """The unit has understood, and refuses."""
    meaning = EXCEPTION_NAMES.get(code, "no meaning known")
    return ModbusException(
        code, f"unit {question.unit} on {url} refuses {question.what}: exception {code:02d}, {meaning}."
    )


def too_much_owed(url: str, question: Question) -> LinkTainted:
    """No probe is left that could tell its answer from older ones."""
    return LinkTainted(
        f"unit {question.unit} on {url} has left so many kinds of requests unanswered that no answer to "
        f"{question.what} could be told from theirs: it is asked again later."
    )


def babbling(url: str) -> LinkTainted:
    """The line is never quiet."""
    return LinkTainted(
        f"{url} has not been quiet for {DRAIN_LIMIT_S:g} s: something sends on it without being asked. "
        "Nothing can be asked safely; look for a second master or a babbling device."
    )
