"""Does every emulated Modbus device keep the rules that do not depend on its registers, in both framings?"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modbus_slave_helpers import Ear, mbap, rtu
from rover_modbus_helpers import Cells, ExactMotor

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.beam_head import BeamHead
from hil_sim.world.emulators.delta_ms300 import DeltaMs300
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.kipp_zonen_smp11 import KippZonenSmp11
from hil_sim.world.emulators.leadshine import LeadshineDrive
from hil_sim.world.emulators.leadshine_wheel import LeadshineWheel
from hil_sim.world.emulators.modbus_pdu import ModbusDevice, answer
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave
from hil_sim.world.emulators.omron_e5cc import OmronE5cc
from hil_sim.world.emulators.riden_rd6006 import RidenSupply
from hil_sim.world.emulators.rover_power import RoverPowerEmulator
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.emulators.watlow_pm import WatlowPm
from hil_sim.world.plant.dc_supply import DcLoad, DcSupply
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.plant.linear_axis import LinearAxis
from hil_sim.world.plant.motor import InductionMotor
from hil_sim.world.plant.power import Meter

BAUD = 9600
CHAR_S = 10 / BAUD


class NoTimers:
    """A loop on which no timer ever strikes: the devices strike by themselves when they are asked."""

    def time(self) -> float:
        return 0.0

    def call_at(self, when: float, callback: Callable[[], object]) -> Any:
        return _Never()


class _Never:
    def cancel(self) -> None:
        pass


DEVICES: dict[str, Callable[[], ModbusDevice]] = {
    "beam head": lambda: BeamHead(on_emission=lambda *_: None, emission_w=lambda _: 0.0, timers=NoTimers()),
    "delta": lambda: DeltaMs300(InductionMotor()),
    "eurotherm": lambda: Eurotherm3200(HeaterPlate()),
    "kipp": lambda: KippZonenSmp11(lambda _: 800.0),
    "leadshine": lambda: LeadshineDrive(LinearAxis("a", travel_mm=(-5.0, 300.0)), mm_per_rev=40.0),
    "leadshine wheel": lambda: LeadshineWheel(ExactMotor(), rad_per_rev=math.pi / 50),
    "omron": lambda: OmronE5cc(HeaterPlate()),
    "riden": lambda: RidenSupply(DcSupply(DcLoad(10.0))),
    "rover power": lambda: RoverPowerEmulator(Cells(), NoTimers(), keep_alive_w=20.0),
    "sdm120": lambda: Sdm120(Meter()),
    "watlow": lambda: WatlowPm(HeaterPlate()),
}


def rules(device: ModbusDevice) -> Iterator[tuple[str, str]]:
    """(request, reply) that hold for it whatever its registers are."""
    for function in {*range(1, 25), 43, 65, 100, 127} - device.functions:
        yield f"{function:02X} 0000 0001", f"{function | 0x80:02X} 01"
    for function, most in ((1, 2000), (2, 2000), (3, 125), (4, 125)):
        if function in device.functions:
            for count in (0, most + 1, 0xFFFF):
                yield f"{function:02X} 0000 {count:04X}", f"{function | 0x80:02X} 03"
            yield f"{function:02X} FFFF 0002", f"{function | 0x80:02X} 02"
            yield f"{function:02X} FFFC 0002", f"{function | 0x80:02X} 02"
            yield f"{function:02X} 0000", f"{function | 0x80:02X} 03"
    if 5 in device.functions:
        yield "05 0000 1234", "85 03"
        yield "05 FFFF FF00", "85 02"
    if 6 in device.functions:
        yield "06 FFFE 0000", "86 02"
        yield "06 0000", "86 03"
    if 16 in device.functions:
        yield "10 FFFE 0002 04 0000 0000", "90 02"
        yield "10 FFFF 0002 04 0000 0000", "90 02"
        yield "10 0000 0000 00", "90 03"
        yield "10 0000 0002 03 0000 0000", "90 03"
        yield "10 0000 0002 04 0000", "90 03"
        yield "10 0000 007C F8 0000", "90 03"


@pytest.mark.parametrize("name", DEVICES)
def test_it_keeps_the_rules_in_both_framings(name: str) -> None:
    device = DEVICES[name]()
    exchanges = [(bytes.fromhex(request), bytes.fromhex(reply)) for request, reply in rules(device)]
    assert len(exchanges) > 20

    async def main(loop: VirtualLoop) -> None:
        line, net = Ear(), Ear()
        on_line, on_net = RtuBus({7: device}, baud=BAUD).attach(line), TcpSlave({7: device}).attach(net)
        for number, (request, _) in enumerate(exchanges):
            on_line.received(rtu(7, request))
            await asyncio.sleep(0.5)
            on_net.received(mbap(number, 7, request))
            await asyncio.sleep(0.5)
        for (request, reply), frame in zip(exchanges, line.frames, strict=True):
            assert frame == rtu(7, reply), request.hex(" ")
        assert net.frames == [mbap(number, 7, reply) for number, (_, reply) in enumerate(exchanges)]
        on_line.closed()
        on_net.closed()

    run_virtual(main)


@pytest.mark.parametrize("name", DEVICES)
def test_it_is_silent_where_a_slave_must_be_and_as_slow_as_it_says(name: str) -> None:
    async def main(loop: VirtualLoop) -> None:
        device, ear = DEVICES[name](), Ear()
        bus = RtuBus({7: device}, baud=BAUD)
        session = bus.attach(ear)
        request = rtu(7, "7F 0000 0001")  # nobody serves it
        for data in (request[:-1] + bytes([request[-1] ^ 1]), rtu(8, "7F 0000 0001"), rtu(0, "03 0000 0001"), b"\x07"):
            session.received(data)
            await asyncio.sleep(0.5)
        assert ear.frames == []
        asked_s = loop.time()
        session.received(request)
        await asyncio.sleep(0.5)
        ((at_s, frame),) = ear.heard
        assert frame == rtu(7, "FF 01")
        assert device.reply_delay_s > 0.0
        assert at_s - asked_s == pytest.approx(max(device.reply_delay_s, bus.silence_s))
        session.closed()

    run_virtual(main)


def pdus() -> st.SearchStrategy[bytes]:
    """Requests that are nearly right: a known function, an address near where something is."""
    address = st.one_of(
        st.integers(0, 130), st.sampled_from([0x1003, 0x1801, 0x2000, 0x2100, 0x2103, 0x6002, 0x6200, 360, 1880, 2160])
    ).map(lambda value: value.to_bytes(2, "big"))
    count = st.integers(0, 10).map(lambda value: value.to_bytes(2, "big"))
    word = st.binary(min_size=2, max_size=2)
    return st.one_of(
        st.binary(min_size=1, max_size=40),
        st.builds(lambda f, a, n: bytes([f]) + a + n, st.integers(1, 4), address, count),
        st.builds(lambda f, a, w: bytes([f]) + a + w, st.sampled_from([5, 6]), address, word),
        st.builds(
            lambda a, data: b"\x10" + a + (len(data) // 2).to_bytes(2, "big") + bytes([len(data)]) + data,
            address,
            st.lists(word, min_size=1, max_size=8).map(b"".join),
        ),
    )


@pytest.mark.parametrize("name", DEVICES)
@settings(max_examples=60, deadline=None)
@given(script=st.lists(st.tuples(st.floats(0.0, 5.0), pdus()), max_size=12))
def test_whatever_it_is_told_it_answers_in_form(name: str, script: list[tuple[float, bytes]]) -> None:
    device, t_s = DEVICES[name](), 0.0
    for wait_s, request in script:
        t_s += wait_s
        reply = answer(device, request, t_s)
        if not reply:
            assert t_s < device.silent_until_s
        elif reply[0] != request[0]:
            assert reply[0] == request[0] | 0x80 and reply[1] in (1, 2, 3, 4) and len(reply) == 2
        else:
            assert len(reply) <= 253 and (request[0] > 4 or reply[1] == len(reply) - 2)
