"""Can boards that answer wrongly, in any way and in any order, make a wrong value, and how soon is the link well?"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from roboclaw_helpers import crc
from roboclaw_hostile_helpers import CASES, FAULTS, READ_BYTES, FakeLine, Sent

from firmware_bridge.errors import FrameError, LinkTimeout
from firmware_bridge.links.roboclaw import RoboClawLink
from hil_sim.virtual_run import run_virtual

ADDRESSES = (0x80, 0x81, 0x85)
RECOVERY_REQUESTS = 2
LATEST_S = 0.25  # no fault sends anything later
BACKOFF_MAX_S = 2.1  # of a board that was silent for long


def hostile_line() -> tuple[RoboClawLink, FakeLine, list[str]]:
    """A link, its line, and the faults of the next answers ("" good)."""
    link = RoboClawLink()
    line = FakeLine(link)
    faults: list[str] = []

    def twist(request: bytes, reply: bytes) -> Sent | None:
        kind = "write" if reply == b"\xff" else "read"
        if not faults or not faults[0] or kind not in FAULTS[faults[0]][0]:
            return None
        return FAULTS[faults.pop(0)][2](request, reply)

    line.twist = twist
    return link, line, faults


async def ask(link: RoboClawLink, line: FakeLine, kind: str, address: int, command: int = 78, retries: int = 0) -> bool:
    """One question. False if it ended in an error that says so; a value that is not this question's is no such end."""
    try:
        if kind == "read":
            data = await link.read(address, command, READ_BYTES[command], retries=retries)
            assert data == line.answers[address, command], "an older answer, or none of ours"
        else:
            wanted = len(line.heard).to_bytes(8, "big")
            await link.write(address, 37, wanted, retries=retries)
            assert line.written[address, 37] == wanted
    except (LinkTimeout, FrameError) as error:
        assert f"board {address} on fake:wheels" in str(error)
        return False
    return True


async def asked_on_the_wire(link: RoboClawLink, line: FakeLine, address: int) -> bool:
    """A read that goes out: a board that was silent for long is asked at its times."""
    while True:
        before = len(line.heard)
        is_answered = await ask(link, line, "read", address)
        if len(line.heard) > before:
            return is_answered
        assert link.silent_since_s(address) is not None
        await asyncio.sleep(BACKOFF_MAX_S / 10)


async def soon_well(link: RoboClawLink, line: FakeLine, addresses: tuple[int, ...] = ADDRESSES) -> None:
    """Each board tells the truth within two requests, and all of them from then on."""
    await asyncio.sleep(LATEST_S)
    for address in addresses:
        after = [await asked_on_the_wire(link, line, address) for _ in range(6)]
        assert True in after[:RECOVERY_REQUESTS] and all(after[RECOVERY_REQUESTS:]), (address, after)
    for address in addresses:
        assert await ask(link, line, "write", address)


@pytest.mark.parametrize("kind, name", CASES)
@pytest.mark.parametrize("times", [1, 3, 6])
def test_no_wrong_answer_is_a_value_and_the_link_is_soon_well(kind: str, name: str, times: int) -> None:
    async def main(loop: Any) -> None:
        link, line, faults = hostile_line()
        assert await ask(link, line, kind, 0x80)
        for _ in range(times):
            faults[:] = [name]
            is_answered = await ask(link, line, kind, 0x80)
            if not faults:  # it struck the question itself, or the marker before it
                assert is_answered <= FAULTS[name][1], "an answer that never came was taken for one"
        faults.clear()
        await soon_well(link, line)

    run_virtual(main)


@pytest.mark.parametrize("kind, name", CASES)
def test_a_question_that_may_be_repeated_ends_in_the_truth(kind: str, name: str) -> None:
    async def main(loop: Any) -> None:
        link, line, faults = hostile_line()
        faults.append(name)
        assert await ask(link, line, kind, 0x80, retries=5)

    run_virtual(main)


@pytest.mark.parametrize("kind, name", CASES)
def test_each_fault_is_one_that_the_table_says(kind: str, name: str) -> None:
    """The table itself: what it sends is not the good answer alone (or the tests above would show nothing)."""
    request = b"\x80\x4e" if kind == "read" else b"\x80\x25" + bytes(8) + crc(b"\x80\x25" + bytes(8))
    good = bytes(range(8)) + crc(request + bytes(range(8))) if kind == "read" else b"\xff"
    sent = FAULTS[name][2](request, good)
    assert sent != [(0.0, good)] or (name, kind) == ("in single bytes", "write")
    whole = b"".join(raw for _, raw in sent)
    assert whole.startswith(good) or not FAULTS[name][1]


ONE = st.tuples(
    st.sampled_from(["", "", *FAULTS]),
    st.sampled_from(["read", "write"]),
    st.sampled_from(ADDRESSES),
    st.sampled_from([15, 24, 49, 78, 79, 90]),
    st.integers(0, 4),
    st.sampled_from([0.0, 0.0, 0.003, 0.02, 0.1]),
)


@given(steps=st.lists(ONE, min_size=1, max_size=25))
@settings(max_examples=300, deadline=None)
def test_any_faults_in_any_order_make_no_wrong_value(steps: list[Any]) -> None:
    async def main(loop: Any) -> None:
        link, line, faults = hostile_line()
        for name, kind, address, command, retries, pause_s in steps:
            faults[:] = [name]
            await ask(link, line, kind, address, command, retries)
            await asyncio.sleep(pause_s)
        faults.clear()
        await soon_well(link, line)

    run_virtual(main)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_bytes_at_random_make_no_wrong_value(seed: int) -> None:
    """Flipped, lost, doubled, inserted, cut and delayed bytes of answers to questions."""

    async def main(loop: Any) -> None:
        rng = random.Random(seed)
        link, line, _ = hostile_line()
        is_bad = True

        def damage(request: bytes, reply: bytes) -> Sent | None:
            if not is_bad or rng.random() < 0.3:
                return None
            raw, late_s = bytearray(reply), 0.0
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(raw)) if raw else 0
                kind = rng.choice(["flip", "lose", "double", "insert", "cut", "delay"])
                if kind == "flip" and raw:
                    raw[at] ^= 1 << rng.randrange(8)
                elif kind == "lose" and raw:
                    del raw[at]
                elif kind == "double" and raw:
                    raw.insert(at, raw[at])
                elif kind == "insert":
                    raw[at:at] = rng.randbytes(rng.randint(1, 6))
                elif kind == "cut":
                    del raw[at:]
                else:
                    late_s = rng.uniform(0.0, 0.2)
            size = len(reply) - 2
            if raw != reply and crc(request[:2] + bytes(raw[:size])) == bytes(raw[size : size + 2]):
                return []  # one damaged answer in 65,536 has a good CRC
            return [(late_s, bytes(raw))]

        line.twist = damage
        for _ in range(40):
            command = rng.choice([15, 24, 49, 78, 79, 90])
            await ask(link, line, "read", rng.choice(ADDRESSES), command, rng.randint(0, 3))
        is_bad = False
        await soon_well(link, line)

    run_virtual(main)
