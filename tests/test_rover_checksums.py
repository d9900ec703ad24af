"""Are the drive's short cuts the long way's equals: checksums bit by bit, and one number of a table?"""

from __future__ import annotations

import random

import numpy as np
import pytest

from firmware_bridge.links import imu_frames, roboclaw_frames
from hil_sim.world.emulators import imu, tracker
from hil_sim.world.emulators import roboclaw_frames as board_frames
from hil_sim.world.plant.battery import CELL_V, CHARGE, between


def crc_bit_by_bit(data: bytes, register: int) -> int:
    """x^16 + x^12 + x^5 + 1, most significant bit first, as the protocols' documents write it out."""
    for byte in data:
        for place in range(7, -1, -1):
            top = register >> 15 ^ (byte >> place & 1)
            register = register << 1 & 0xFFFF
            if top:
                register ^= 0x1021
    return register


@pytest.mark.parametrize(
    ("crc", "begun_with"),
    [
        (imu.checksum, 0xFFFF),
        (imu_frames.crc16, 0xFFFF),
        (tracker.crc16, 0xFFFF),
        (board_frames.crc, 0),
        (roboclaw_frames.crc16, 0),
    ],
)
def test_a_checksum_is_that_of_its_polynomial(crc, begun_with: int) -> None:
    rng = random.Random("crc")
    for size in (*range(40), 200):
        data = rng.randbytes(size)
        assert crc(data) == crc_bit_by_bit(data, begun_with)


def test_one_number_of_a_table_is_numpys_to_the_last_bit() -> None:
    rng = random.Random("table")
    for x in (*CHARGE, -0.5, 1.5, *(rng.uniform(-0.1, 1.1) for _ in range(5000))):
        assert between(x, CHARGE, CELL_V) == float(np.interp(x, CHARGE, CELL_V))
