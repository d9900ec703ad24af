"""What a printer's machine file contradicts itself in: between its values, its register maps and its buses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from control.config import BeamConfig, CameraConfig, DriveConfig, ExtraConfig, HeaterConfig, MachineConfig, MotionConfig
from control.lab_config import lab_flaws
from control.machine_file import baud_of
from slicer.words import did_you_mean

BUS_LOAD_MAX = 0.70  # beyond this a poll that must be repeated no longer finds its slot, and readings go stale


def flaws(config: MachineConfig) -> Iterator[str]:
    """Sentences, those to be mended first in front. May raise ConfigError: a URL's baud rate that no line has."""
    for check in _CHECKS:
        yield from check(config)


def bus_loads(config: MachineConfig) -> dict[str, tuple[float, list[str]]]:
    """For each RTU wire: the share of time its poll plan needs, and the arithmetic of each device in words."""
    from firmware_bridge.devices.poll_cost import poll_cost_s

    loads: dict[str, tuple[float, list[str]]] = {}
    for name, device in config.every_device().items():
        if isinstance(device, MotionConfig | CameraConfig | BeamConfig):
            continue  # each has a wire of its own, and TCP is not limited by a baud rate
        if isinstance(device, ExtraConfig) and (device.map is None or config.urls[device.wire].startswith("tcp:")):
            continue
        rate_hz = device.poll_moving_hz if isinstance(device, DriveConfig) else device.poll_hz
        cost_s = poll_cost_s(device.map, baud=baud_of(config.urls[device.wire]))
        if isinstance(device, HeaterConfig):
            cost_s += poll_cost_s(device.map, baud=baud_of(config.urls[device.wire]), writes=1, reads=False) * (
                device.refresh_hz / rate_hz
            )
        load, words = loads.get(device.wire, (0.0, []))
        words.append(f"{name} {rate_hz:g} Hz x {cost_s * 1e3:.1f} ms = {rate_hz * cost_s:.0%}")
        loads[device.wire] = (load + rate_hz * cost_s, words)
    return loads


def _check_bus_loads(config: MachineConfig) -> Iterator[str]:
    for wire, (load, words) in bus_loads(config).items():
        if load > BUS_LOAD_MAX:
            yield (
                f"the poll plan needs {load:.0%} of {wire} ({'; '.join(words)}), more than"
                f" {BUS_LOAD_MAX:.0%}: poll less often, raise the baud rate or use a second bus"
            )


def _check_names(config: MachineConfig) -> Iterator[str]:
    """A device's readings go by its name: each has one of its own, and a kind that somebody makes."""
    from control.plug_in_devices import extra_kinds

    for name, device in config.extra.items():
        if name in config.devices.__struct_fields__:
            yield f"extra.{name}: a printer's own device has this name; choose another, or use [devices.{name}]"
        if not re.fullmatch("[a-z][a-z0-9_]*", name):
            yield f"extra.{name}: a name has small letters, digits and _, and begins with a letter"
        kinds = extra_kinds()
        if device.kind not in kinds:
            yield (
                f"extra.{name}: no driver of kind {device.kind!r} is installed"
                f"{did_you_mean(device.kind, kinds)}; known are {', '.join(sorted(kinds))}"
            )


def _check_wires(config: MachineConfig) -> Iterator[str]:
    """Each device's wire has a URL, and no two devices of one wire answer to the same unit."""
    taken: dict[tuple[str, int], str] = {}
    for name, device in config.every_device().items():
        if device.wire not in config.urls:
            near = did_you_mean(device.wire, config.urls)
            yield f"device {name} hangs on wire {device.wire!r}, which [urls] does not name{near}"
        unit = getattr(device, "unit", None) or 0
        other = taken.setdefault((device.wire, unit), name)
        if other != name:
            share = f"are both unit {unit}" if unit else "cannot share"
            yield f"{other} and {name} {share} on {device.wire}: give each a {'unit' if unit else 'wire'} of its own"


def _check_maps(config: MachineConfig) -> Iterator[str]:
    """Each register map is there and can be read; what has no watchdog has a contactor."""
    from firmware_bridge.errors import BridgeError
    from firmware_bridge.register_map import load_map

    for name, device in config.every_device().items():
        try:
            if getattr(device, "map", None) is not None:
                table = load_map(device.map)
                if table.needs_contactor and not getattr(device, "contactor", "").strip():
                    yield (
                        f"devices.{name}: a {table.model} has no watchdog of its own ({table.watchdog_why}); wire a"
                        ' contactor that cuts its power, and name it: contactor = "..."'
                    )
        except BridgeError as error:
            yield f"{_table(config, name)}.{name}.map: {error}"


def _check_times(config: MachineConfig) -> Iterator[str]:
    """A reading must be able to stay fresh, and a watchdog to stay fed: one lost exchange is no reason to stop."""
    d = config.devices
    if 2 / d.beam.feed_hz > d.beam.watchdog_ms / 1000:
        yield (
            f"devices.beam: a watchdog_ms of {d.beam.watchdog_ms} is less than two feeds at feed_hz {d.beam.feed_hz:g}"
            f" ({2000 / d.beam.feed_hz:.0f} ms): the beam would trip whenever one is lost"
        )
    for name, device in config.every_device().items():
        if not isinstance(device, MotionConfig | CameraConfig) and device.stale_after_s < 2 / device.poll_hz:
            yield (
                f"{_table(config, name)}.{name}: stale_after_s {device.stale_after_s:g} is less than two polls at"
                f" poll_hz {device.poll_hz:g} ({2 / device.poll_hz:g} s): the machine would trip whenever one is lost"
            )


def _check_meter(config: MachineConfig) -> Iterator[str]:
    """What is drawn at rest lies between what may be, and what must be if its meter is to be believed."""
    meter = config.devices.meter
    if meter.idle_w_max is not None and meter.idle_w_min >= meter.idle_w_max:
        yield f"devices.meter: idle_w_min {meter.idle_w_min:g} must be less than idle_w_max {meter.idle_w_max:g}"


def _check_lengths(config: MachineConfig) -> Iterator[str]:
    """What a print will ask of the axes, they can do."""
    p, d = config.print, config.devices
    if p.recoat_park_mm >= p.recoat_far_mm:
        yield f"print: recoat_park_mm {p.recoat_park_mm:g} must be less than recoat_far_mm {p.recoat_far_mm:g}"
    if p.recoat_far_mm > d.recoater.travel_mm:
        yield f"print: recoat_far_mm {p.recoat_far_mm:g} is beyond the recoater's travel of {d.recoater.travel_mm:g} mm"
    if config.envelope.z_mm > d.piston.travel_mm:
        yield f"envelope: z_mm {config.envelope.z_mm:g} is beyond the piston's travel of {d.piston.travel_mm:g} mm"


def _check_motion(config: MachineConfig) -> Iterator[str]:
    """A place is checked only where the firmware stops at its end switches when told to, and tells them at rest;
    an emergency parser is Marlin's alone."""
    motion = config.devices.motion
    if motion.home_check_layers and motion.kind not in ("marlin", "reprap"):
        yield f"devices.motion: home_check_layers is for kind 'marlin' or 'reprap'; '{motion.kind}' takes 0"
    if not motion.emergency_parser and motion.kind != "marlin":
        yield f"devices.motion: emergency_parser = false is for kind 'marlin'; leave it out for '{motion.kind}'"


def _check_lab(config: MachineConfig) -> Iterator[str]:
    """What the devices that may be left out are asked to do, they can do."""
    yield from lab_flaws(config.devices.lab)


def _check_fiducials(config: MachineConfig) -> Iterator[str]:
    """Four markers or more, each with the number that is printed in it and a place on the plate."""
    fiducials = config.devices.camera.fiducials
    for marker, centre in fiducials.items():
        if not marker.isdecimal() or not all(map(math.isfinite, centre)):
            yield f"devices.camera.fiducials: {marker!r} = {list(centre)} is no marker number with its x_mm, y_mm"
    if len(fiducials) < 4:
        yield f"devices.camera.fiducials: four markers or more fix the picture, {len(fiducials)} do not"


_CHECKS = (
    _check_names, _check_wires, _check_maps, _check_times, _check_meter, _check_lengths, _check_motion, _check_lab,
    _check_fiducials,
    _check_bus_loads,
)  # fmt: skip


def _table(config: MachineConfig, device: str) -> str:
    """The table of the machine file that a device stands in."""
    return "extra" if device in config.extra else "devices"
