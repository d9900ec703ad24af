"""What a rover's wires have to carry, and how long a software stop of its wheels may wait for theirs.

The boards of a line are told one after the other, and so are the drives of a bus. So the bound is that of the last one,
were all that are told before it dead. On top of each comes how long a callback may hold the loop; what a device then
takes to obey is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator

from control.machine_file import baud_of
from control.rover.config import ModbusWheelsDevice, RoverConfig
from control.rover.wheel_layouts import MODBUS_TIMEOUT_S, modbus_layout, roboclaw_layout
from control.stop_bounds import LOOP_HOLD_S, STOP_BYTES, StopBound

BOARD_THINKS_S = 0.001  # a motor board, before it answers
TRACKER_LINE_BYTES = 84  # a fix, tens of kilometres from where the map's numbers begin

_MODBUS_MOVE_BYTES = 9 + 16 + 8  # the longest exchange of a driving bus: a move, and its echo
_ROBOCLAW_STOP_BYTES = 2 + 12 + 2 + 1  # both duties with their ramps, and the acknowledgement


def wire_loads(config: RoverConfig) -> dict[str, tuple[float, list[str]]]:
    """For each serial wire: the share of time that driving needs of it, and the arithmetic of each device in words."""
    loads: dict[str, tuple[float, list[str]]] = {}
    for name, rate_hz, cost_s in _costs(config):
        wire = config.every_device()[name].wire
        load, words = loads.get(wire, (0.0, []))
        words.append(f"{name} {rate_hz:g} Hz x {cost_s * 1e3:.1f} ms = {rate_hz * cost_s:.0%}")
        loads[wire] = (load + rate_hz * cost_s, words)
    return loads


def _costs(config: RoverConfig) -> Iterator[tuple[str, float, float]]:
    """Device, how often its line is used (Hz), and for how long each time (s)."""
    from firmware_bridge.devices.poll_cost import poll_cost_s
    from firmware_bridge.links.imu_frames import LENGTHS, OVERHEAD, SAMPLE
    from firmware_bridge.register_map import load_map

    d = config.devices
    for name, device in config.every_device().items():
        url = config.urls[device.wire]
        if not url.startswith("serial:"):
            continue
        baud = baud_of(url)
        if name == "wheels":
            rate_hz = max(d.wheels.poll_hz, config.drive.command_hz)
            if isinstance(d.wheels, ModbusWheelsDevice):
                yield name, rate_hz, modbus_layout(config).cycle_s(load_map(d.wheels.map), baud)
            else:
                yield name, rate_hz, roboclaw_layout(config).cycle_s(baud, hz=rate_hz)
        elif name == "imu":
            yield name, d.imu.rate_hz, (LENGTHS[SAMPLE] + OVERHEAD) * 10.0 / baud
        elif name == "tracker":
            yield name, d.tracker.poll_hz, TRACKER_LINE_BYTES * 10.0 / baud
        elif name == "power":
            yield name, d.power.poll_hz, poll_cost_s(d.power.map, baud=baud)


def stop_bounds(config: RoverConfig) -> dict[str, StopBound]:
    """The bound of each device that a stop is told to, by name: the wheels. The others of a rover move nothing."""
    wheels = config.devices.wheels
    find = _modbus_bound if isinstance(wheels, ModbusWheelsDevice) else _roboclaw_bound
    return {"wheels": find(config, 10.0 / baud_of(config.urls[wheels.wire]))}


def _roboclaw_bound(config: RoverConfig, byte_s: float) -> StopBound:
    from firmware_bridge.devices.wheels_layout import FAST_READ_BYTES
    from firmware_bridge.links.roboclaw import ALONE_BYTES, ALONE_S, WAIT_MAX_S

    layout = roboclaw_layout(config)
    still = dict.fromkeys(layout.wheels, 0.0), dict.fromkeys(layout.steers, 0.0)
    orders = [len(data) + 4 + 1 for board in layout.boards() for _, data in layout.commands(board, *still)]
    longest_s = max([FAST_READ_BYTES, *orders]) * byte_s
    before = len(layout.boards()) - 1
    stop_s = _ROBOCLAW_STOP_BYTES * byte_s + WAIT_MAX_S
    well_s = longest_s + BOARD_THINKS_S + ALONE_BYTES * byte_s + ALONE_S
    words = (
        f"the exchange under way {1e3 * well_s:.1f} ms, {1e3 * (longest_s + WAIT_MAX_S):.0f} ms if its board is silent"
        f"{_told_before(before, 'board', before * stop_s)}, the loop {1e3 * LOOP_HOLD_S:.0f} ms; a board that hears"
        f" nothing for {config.devices.wheels.timeout_s:g} s stops by itself"
    )
    return StopBound(longest_s + WAIT_MAX_S + before * stop_s + LOOP_HOLD_S, words)


def _modbus_bound(config: RoverConfig, byte_s: float) -> StopBound:
    from firmware_bridge.links.modbus import STOPPED_PATIENCE_S, URGENT_PATIENCE_S
    from firmware_bridge.links.modbus_quiet import SILENCE_MIN_S

    layout = modbus_layout(config)
    silence_s = max(3.5 * byte_s, SILENCE_MIN_S)
    patience_s = min(URGENT_PATIENCE_S, MODBUS_TIMEOUT_S)
    ahead_s = _MODBUS_MOVE_BYTES * byte_s + patience_s + silence_s
    before = len(layout.drive) + len(layout.steer) - 1
    stop_s = STOP_BYTES * byte_s + min(STOPPED_PATIENCE_S, MODBUS_TIMEOUT_S) + silence_s
    words = (
        f"the longest question and answer {1e3 * _MODBUS_MOVE_BYTES * byte_s:.1f} ms, thinking"
        f" {1e3 * patience_s:.0f} ms, silence {1e3 * silence_s:.1f} ms{_told_before(before, 'drive', before * stop_s)},"
        f" the loop {1e3 * LOOP_HOLD_S:.0f} ms; a move ends by itself after {config.devices.wheels.timeout_s:g} s"
    )
    return StopBound(ahead_s + before * stop_s + LOOP_HOLD_S, words)


def _told_before(count: int, what: str, if_dead_s: float) -> str:
    return f", {count} {what}s told before the last one {1e3 * if_dead_s:.0f} ms if dead" if count else ""
