"""Do the two halves of each machine name the same things, and has each kind of device its four places?"""

from __future__ import annotations

import msgspec
import pytest

from control.assembly import KINDS
from control.config import MACHINES as HOST_MACHINES
from control.config import load_machine
from firmware_bridge.register_map import load_map
from hil_sim.world.build import MACHINES as WORLD_MACHINES
from hil_sim.world.build import load_machine_spec

NAMES = sorted(path.stem for path in HOST_MACHINES.glob("*.toml"))


def test_every_machine_has_its_twin() -> None:
    assert sorted(path.stem for path in WORLD_MACHINES.glob("*.toml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_twins_have_the_same_devices_on_the_same_wires(name: str) -> None:
    host, world = load_machine(name), load_machine_spec(name)
    of_host = {device: getattr(host.devices, device) for device in msgspec.structs.asdict(host.devices)}
    of_world = {device: getattr(world.devices, device) for device in msgspec.structs.asdict(world.devices)}
    assert list(of_host) == list(of_world)
    assert set(host.urls) == set(world.wires)
    for device, config in of_host.items():
        assert config.wire == of_world[device].wire, device
        assert getattr(config, "unit", None) == getattr(of_world[device], "unit", None), device


@pytest.mark.parametrize("name", NAMES)
def test_every_device_of_a_machine_has_a_kind_and_its_map(name: str) -> None:
    config = load_machine(name)
    for device in msgspec.structs.asdict(config.devices):
        row = getattr(config.devices, device)
        assert row.kind in KINDS, f"device {device}: kind {row.kind!r} has no row in control.assembly.KINDS"
        if hasattr(row, "map"):
            load_map(row.map)
