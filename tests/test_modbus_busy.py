"""Is a unit that says that it is busy asked again, whatever the request was, and not for ever?"""

from __future__ import annotations

import pytest
from modbus_slave_helpers import Tables

from firmware_bridge.errors import ModbusException
from firmware_bridge.links.modbus import BUSY_PAUSE_S, BUSY_TRIES, ModbusLink
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.modbus_mishaps import Mishaps
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.faults import Fault, Faults, FaultSchedule
from hil_sim.world.wire import lay_virtual


def asked(times: int, *, writes: bool) -> tuple[Tables, float, BaseException | None]:
    """The unit behind a link that wrote or read once, `times` requests refused as busy; how long it took."""

    async def main(loop: VirtualLoop) -> tuple[Tables, float, BaseException | None]:
        unit, busy = Tables(), Fault("busy", "heater", at_request=0, args={"times": times})
        mishaps = Mishaps(Faults(FaultSchedule((busy,))), {1: "heater"})
        await lay_virtual("bus", RtuBus({1: unit}, baud=115200, mishaps=mishaps), baud=115200)
        link = await ModbusLink.open("sim:bus?baud=115200", framing="rtu")
        error: BaseException | None = None
        try:
            if writes:
                await link.write(1, 5, [0x1234])
            else:
                assert await link.read(1, 3, 5, 1) == [0]
        except ModbusException as raised:
            error = raised
        link.close()
        return unit, loop.time(), error

    return run_virtual(main)


@pytest.mark.parametrize("writes", [False, True])
def test_a_request_that_a_busy_unit_refused_is_sent_again_without_being_allowed_twice(writes: bool) -> None:
    unit, took_s, error = asked(BUSY_TRIES, writes=writes)
    assert error is None and took_s > BUSY_TRIES * BUSY_PAUSE_S
    assert unit.holding[5] == (0x1234 if writes else 0)


@pytest.mark.parametrize("writes", [False, True])
def test_one_that_stays_busy_is_told_of(writes: bool) -> None:
    unit, took_s, error = asked(BUSY_TRIES + 1, writes=writes)
    assert isinstance(error, ModbusException) and error.code == 6 and "busy" in str(error)
    assert unit.holding[5] == 0 and took_s < 0.5
