"""Do the two halves of each machine name the same things, and has each kind of device its four places?"""

from __future__ import annotations

import msgspec
import pytest

from control.assembly import KINDS
from control.config import MachineConfig, load_machine
from control.machine_file import MACHINES as HOST_MACHINES
from control.machine_file import ConfigError, read_document
from control.rover.config import RoverConfig, load_rover
from firmware_bridge.register_map import load_map
from hil_sim.world.build_rover import RoverSpec, is_rover, load_rover_spec
from hil_sim.world.machine_spec import MachineSpec, load_machine_spec
from hil_sim.world.wiring import MACHINES as WORLD_MACHINES

NAMES = sorted(path.stem for path in HOST_MACHINES.glob("*.toml"))
ROVERS = [name for name in NAMES if is_rover(name)]
PRINTERS = [name for name in NAMES if name not in ROVERS]


def host_of(name: str) -> MachineConfig | RoverConfig:
    return load_rover(name) if name in ROVERS else load_machine(name)


def world_of(name: str) -> MachineSpec | RoverSpec:
    return load_rover_spec(name) if name in ROVERS else load_machine_spec(name)


def test_every_machine_has_its_twin() -> None:
    assert sorted(path.stem for path in WORLD_MACHINES.glob("*.toml")) == NAMES
    assert PRINTERS and ROVERS


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_is_one_kind_of_machine_in_both_halves(name: str) -> None:
    kind = read_document(HOST_MACHINES / f"{name}.toml").get("kind", "printer")
    assert (kind == "rover") is is_rover(name)
    with pytest.raises(ConfigError, match="rover"):
        (load_machine if kind == "rover" else load_rover)(name)


@pytest.mark.parametrize("name", NAMES)
def test_twins_have_the_same_devices_on_the_same_wires(name: str) -> None:
    host, world = host_of(name), world_of(name)
    of_host = {device: row for device, row in msgspec.structs.asdict(host.devices).items() if row is not None}
    of_world = {device: row for device, row in msgspec.structs.asdict(world.devices).items() if row is not None}
    assert list(of_host) == list(of_world)
    assert set(host.urls) == set(world.wires)
    for device, config in of_host.items():
        assert config.wire == of_world[device].wire, device
        for table in ("drive", "steer"):  # of a rover's wheels: which motor is where
            assert getattr(config, table, None) == getattr(of_world[device], table, None), device
        assert getattr(config, "unit", None) == getattr(of_world[device], "unit", None), device


@pytest.mark.parametrize("name", NAMES)
def test_every_device_of_a_machine_has_a_kind_and_its_map(name: str) -> None:
    config = host_of(name)
    for device, row in msgspec.structs.asdict(config.devices).items():
        if row is None:  # a rover without a camera
            continue
        kind = getattr(row, "kind", None) or row.__struct_config__.tag
        assert kind in KINDS, f"device {device}: kind {kind!r} has no row in control.assembly.KINDS"
        if hasattr(row, "map"):
            load_map(row.map)
