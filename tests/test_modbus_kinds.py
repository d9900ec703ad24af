"""Does a machine file get the heater that it names, over the wire that it names, and none that nothing cuts off?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from modbus_link_helpers import FakeSlave

from control.assembly import KINDS, Wires
from control.config import MachineConfig, load_machine
from control.machine_file import MACHINES, ConfigError
from firmware_bridge.devices.bed_heater import BedHeater
from firmware_bridge.devices.omron_heater import OmronHeater
from firmware_bridge.devices.watlow_heater import WatlowHeater
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.transport import Receiver, Transport, register_scheme
from hil_sim.virtual_run import run_virtual

BENCH = (MACHINES / "bench.toml").read_text(encoding="utf-8")
HEATERS = {
    "bed_heater": ("eurotherm_3200", BedHeater),
    "omron_heater": ("omron_e5cc", OmronHeater),
    "watlow_heater": ("watlow_pm", WatlowHeater),
}


def machine(tmp_path: Path, kind: str, contactor: str = "K1") -> MachineConfig:
    """The bench with another heater, polled at a rate that its bus bears."""
    text = BENCH.replace('kind = "bed_heater"', f'kind = "{kind}"\ncontactor = "{contactor}"')
    text = text.replace('map = "eurotherm_3200"\npoll_hz = 2.0', f'map = "{HEATERS[kind][0]}"\npoll_hz = 1.0')
    path = tmp_path / "m.toml"
    path.write_text(re.sub(r'bus0 = "[^"]*"', 'bus0 = "fakebus:0"', text))
    return load_machine(path)


async def open_fake(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    assert isinstance(receiver, ModbusLink)
    return FakeSlave(receiver)


@pytest.mark.parametrize("kind", HEATERS)
def test_the_heater_is_of_the_kind_that_the_machine_file_names(tmp_path: Path, kind: str) -> None:
    register_scheme("fakebus", open_fake)

    async def main(loop: Any) -> None:
        config = machine(tmp_path, kind)
        wires = Wires(config)
        heater = await KINDS[config.devices.heater.kind](wires, config)
        assert type(heater) is HEATERS[kind][1] and heater.temp_c_max == config.devices.heater.temp_c_max
        assert {"bed_temp_c", "working_setpoint_c", "output_percent"} <= {s.name for s in heater.poll_signals}
        for verb in ("identify", "configure", "poll", "set_temp_c", "safe"):
            assert callable(getattr(heater, verb))
        wires.close()

    run_virtual(main)


@pytest.mark.parametrize("kind", ["omron_heater", "watlow_heater"])
def test_a_heater_that_nothing_would_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=r"devices\.heater: a .* has no watchdog of its own .*contactor = "):
        machine(tmp_path, kind, contactor=" ")


@pytest.mark.parametrize("scheme, is_rtu", [("fakebus", True), ("tls", False)])
def test_a_tls_wire_carries_tcp_frames_whatever_hangs_on_it(tmp_path: Path, scheme: str, is_rtu: bool) -> None:
    from firmware_bridge import transport

    before = transport._OPENERS["tls"]
    register_scheme("fakebus", open_fake)
    register_scheme("tls", open_fake)

    async def main(loop: Any) -> None:
        config = machine(tmp_path, "bed_heater")
        wires = Wires(config.with_urls({"bus0": f"{scheme}:10.0.0.9:802"}))
        link = await wires.modbus("bus0", "rtu")
        assert link.is_rtu is is_rtu
        wires.close()

    try:
        run_virtual(main)
    finally:
        register_scheme("tls", before)
