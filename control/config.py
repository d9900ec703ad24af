"""A machine file (TOML) -> frozen configuration, with every bound checked where the value is read.

A machine file says what the printer is made of: its envelope, one URL for each wire, its devices and how often each
is asked. `control/machines/bench.toml` is the worked example. Wires are named once, in `[urls]`; an overlay
(`--url NAME=URL`, a simulator, a served world) replaces only that table.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
import typing
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from control.bounds import Hz, NonNegative, Positive, Unit
from control.errors import MoonkilnError
from control.lab_config import ConveyorConfig, LabConfig, PyranometerConfig, SupplyConfig, lab_flaws
from slicer.envelope import Envelope
from slicer.words import did_you_mean

S = TypeVar("S", bound=msgspec.Struct)

MACHINES = Path(__file__).parent / "machines"
SCHEMA_VERSION = 1

BUS_LOAD_MAX = 0.70  # beyond this a poll that must be repeated no longer finds its slot, and readings go stale

BAUD_MIN, BAUD_MAX = 1200, 4_000_000


class ConfigError(MoonkilnError):
    """A machine file that cannot be used; the sentence names the file, the key and what is allowed there."""

    exit_code = 2


class EnvelopeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the machine can reach and bear; the planner's `slicer.envelope.Envelope` is made from it."""

    x_mm: Annotated[float, Meta(gt=0, le=5000)]
    y_mm: Annotated[float, Meta(gt=0, le=5000)]
    z_mm: Annotated[float, Meta(gt=0, le=2000)]
    beam_power_w_max: Annotated[float, Meta(gt=0, le=20_000)]
    speed_mm_s_max: Annotated[float, Meta(gt=0, le=2000)]
    acceleration_mm_s2: Annotated[float, Meta(gt=0, le=50_000)]
    junction_deviation_mm: Annotated[float, Meta(gt=0, le=1)] = 0.01
    s_max: Annotated[int, Meta(ge=1, le=65535)] = 1000


class MotionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The motion controller: a line protocol on a wire of its own."""

    kind: Literal["marlin", "grbl", "reprap"]
    wire: str
    stale_after_s: Positive = 10.0
    emergency_parser: bool = True  # false: a Marlin board built without is accepted, which hears a stop in its turn
    home_check_layers: Annotated[int, Meta(ge=0, le=1000)] = 0  # so often its end switches are looked at; 0: never
    home_check_mm: Annotated[float, Meta(gt=0, le=5)] = 0.5  # in front of them and behind; so much may be lost unseen


class BeamConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The beam head on Modbus TCP, with its own watchdog and a second connection reserved for stop."""

    kind: Literal["beam_head"]
    wire: str
    unit: Unit
    map: str
    poll_hz: Hz
    poll_arming_hz: Hz
    feed_hz: Annotated[float, Meta(ge=1, le=20)]
    watchdog_ms: Annotated[int, Meta(ge=100, le=5000)]
    stale_after_s: Positive
    energy_share_max: Annotated[float, Meta(gt=0, le=1)] = 0.005  # by which a layer's energy may differ from its plan


class HeaterModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The heated plate as a lump, for the second opinion on its thermocouple (`control.heater_model`).

    `uncertainty`: the share by which each number may be wrong.
    """

    power_w: Positive
    plate_j_k: Positive
    loss_w_k: Positive
    ambient_c: Annotated[float, Meta(ge=-250, le=200)] = 20.0
    uncertainty: Annotated[float, Meta(gt=0, le=0.5)] = 0.2


class HeaterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bed heater's controller on a shared RTU bus. `contactor`: what cuts its power when the host falls silent;
    controllers without a watchdog of their own are refused without one."""

    kind: Literal["bed_heater", "omron_heater", "watlow_heater"]
    wire: str
    unit: Unit
    map: str
    poll_hz: Hz
    refresh_hz: Annotated[float, Meta(ge=0.5, le=5)]  # the remote set-point times out after 5 s
    temp_c_max: Annotated[float, Meta(gt=0, le=1500)]
    tolerance_c: Annotated[float, Meta(gt=0, le=100)]
    warm_up_s_max: Positive
    stale_after_s: Positive
    contactor: str = ""
    temp_rate_c_s_max: Annotated[float, Meta(gt=0, le=100)] = 5.0  # faster is no bed, it is a sensor that fails
    no_rise_s_max: Positive = 120.0  # so long it may be heated without getting 1 degC warmer
    model: HeaterModelConfig | None = None


class MeterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The energy meter: only read. idle_w_max: what may be drawn at most once all is off; None: nobody asks.
    idle_w_min: what is drawn even then; a meter that shows less is not believed.
    """

    kind: Literal["meter"]
    wire: str
    unit: Unit
    map: str
    poll_hz: Hz
    stale_after_s: Positive
    idle_w_max: Positive | None = None
    idle_w_min: NonNegative = 0.0


class DriveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stepper drive that moves one axis by finite absolute moves."""

    kind: Literal["stepper"]
    wire: str
    unit: Unit
    map: str
    poll_hz: Hz
    poll_moving_hz: Hz
    mm_per_rev: Positive
    travel_mm: Positive
    speed_mm_s: Positive
    stale_after_s: Positive


class CameraConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The top camera: a JPEG on request, and where its four fiducials stand on the plate."""

    kind: Literal["http_snapshot"]
    wire: str
    timeout_s: Positive
    fiducial_size_mm: Positive
    fiducials: dict[str, tuple[float, float]]  # marker id -> centre x_mm, y_mm in the machine frame
    tries_max: Annotated[int, Meta(ge=1, le=10)] = 3  # of one picture, each within timeout_s


class DevicesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every device of a printer, by the name under which its readings appear; the last three may be left out."""

    motion: MotionConfig
    beam: BeamConfig
    heater: HeaterConfig
    meter: MeterConfig
    recoater: DriveConfig
    piston: DriveConfig
    camera: CameraConfig
    conveyor: ConveyorConfig | None = None
    supply: SupplyConfig | None = None
    pyranometer: PyranometerConfig | None = None

    @property
    def lab(self) -> LabConfig:
        """Those that may be left out."""
        return LabConfig(self.conveyor, self.supply, self.pyranometer)


class ExtraConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A device beside those that every printer has: an instrument by its map alone, or of a kind that a driver brings.

    It is identified, configured, polled and made safe with the others; one that falls silent, or a reading that is bad
    or in its alarm range, trips the machine. `settings` is the driver's own.
    """

    kind: str
    wire: str
    poll_hz: Hz
    stale_after_s: Positive
    unit: Unit | None = None
    map: str | None = None
    settings: dict[str, Any] = {}


class PrintConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a print is run on this machine."""

    recoat_park_mm: NonNegative  # blade position clear of the gantry and of the camera's view
    recoat_far_mm: Positive
    recoat_tries_max: Annotated[int, Meta(ge=1, le=10)]
    thin_area_mm2_max: NonNegative  # more thin powder than this in the layer's region is a short feed
    on_unknown_picture: Literal["stop", "go_on"]
    position_tolerance_mm: Annotated[float, Meta(gt=0, le=1)] = 0.05


class MachineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One printer, whole."""

    schema_version: Annotated[int, Meta(ge=1)]
    name: str
    kind: Literal["printer"] = "printer"
    envelope: EnvelopeConfig
    urls: dict[str, str]
    devices: DevicesConfig
    print: PrintConfig
    extra: dict[str, ExtraConfig] = {}

    def every_device(self) -> dict[str, Any]:
        """Each device's configuration by its name, those of `[extra]` as well."""
        rows = {name: getattr(self.devices, name) for name in self.devices.__struct_fields__}
        return {**{name: row for name, row in rows.items() if row is not None}, **self.extra}

    def with_urls(self, overlay: dict[str, str]) -> MachineConfig:
        """This machine with some wires elsewhere. Raises ConfigError for a wire that it does not have."""
        for name in overlay:
            if name not in self.urls:
                raise ConfigError(f"machine {self.name} has no wire named {name!r}{did_you_mean(name, self.urls)}")
        return msgspec.structs.replace(self, urls={**self.urls, **overlay})


def machine_path(machine: str | Path) -> Path:
    """A machine's file: a path that exists, or the name of one that is shipped.

    Raises:
        ConfigError: neither; the sentence lists the shipped machines.
    """
    path = Path(machine)
    if path.suffix == ".toml":
        if not path.is_file():
            raise ConfigError(f"machine file {path} does not exist")
        return path
    shipped = {p.stem: p for p in sorted(MACHINES.glob("*.toml"))}
    if str(machine) in shipped:
        return shipped[str(machine)]
    raise ConfigError(
        f"there is no machine named {str(machine)!r}{did_you_mean(str(machine), shipped)}; shipped are"
        f" {', '.join(shipped)}, or give a path that ends in .toml"
    )


def load_machine(machine: str | Path) -> MachineConfig:
    """Read and check a machine file.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key (the nearest known one is named), a value out of its
            range, a device on a wire that `[urls]` does not name, values that contradict each other, or a poll plan
            that overloads a bus.
    """
    path = machine_path(machine)
    document = read_document(path)
    if document.get("kind", "printer") != "printer":
        raise ConfigError(
            f"machine file {path} is of a {document['kind']!r}, not of a printer: `moonkiln rover drive` takes rovers"
        )
    config = converted(document, MachineConfig, path)
    for check in _CHECKS:
        if sentence := next(check(config), None):
            raise ConfigError(f"machine file {path}: {sentence}")
    return config


def read_document(path: Path) -> dict[str, Any]:
    """A machine file as plain data. Raises ConfigError: unreadable, not TOML, or of a newer schema."""
    try:
        document = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"machine file {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"machine file {path} is not valid TOML: {error}") from error
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ConfigError(
            f"machine file {path} has schema version {version}, this moonkiln reads up to {SCHEMA_VERSION}: upgrade"
        )
    return document


@lru_cache(maxsize=16)
def _parsed(text: str) -> dict[str, Any]:
    """One text need be read once: a campaign's hosts all read the same. Nobody changes what is returned."""
    return tomllib.loads(text)


def converted(document: dict[str, Any], kind: type[S], path: Path) -> S:
    """The document as a frozen struct. Raises ConfigError with the place, and the nearest key where one is unknown."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"machine file {path}: {_sentence(error, kind)}") from error


def machine_text_with_urls(text: str, urls: dict[str, str]) -> str:
    """A machine file's text with its `[urls]` replaced; everything else, comments too, as it was."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(r"\s*\[\s*urls\s*\]\s*(#|$)", line)), None)
    if start is None:
        raise ConfigError("the machine file has no [urls] table to replace")
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    left = dict(urls)
    table, last = [], 0  # `last`: behind the table's last wire, where new ones go
    for line in lines[start + 1 : end]:
        found = _URL_LINE.match(line)
        if found is None:
            table.append(line)
            continue
        name = found["key"].strip("\"'")
        if name in left:
            table.append(f"{name} = {json.dumps(left.pop(name))}{found['comment']}")  # JSON's strings are TOML's
            last = len(table)
    table[last:last] = [f"{name} = {json.dumps(url)}" for name, url in left.items()]
    result = "\n".join([*lines[: start + 1], *table, *lines[end:]]) + "\n"
    if tomllib.loads(result)["urls"] != urls:
        raise ConfigError('the [urls] table is written in a way that cannot be replaced: one NAME = "URL" a line')
    return result


_URL_LINE = re.compile(
    r"""\s*(?P<key>[\w-]+|"[^"]*"|'[^']*')\s*=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*')(?P<comment>\s*(?:\#.*)?)$"""
)


def load_envelope(machine: str | Path) -> Envelope:
    """The planner's envelope of a machine, by name or file."""
    return envelope_from(load_machine(machine))


def envelope_from(config: MachineConfig) -> Envelope:
    """The planner's envelope of a machine."""
    return Envelope.from_dict(msgspec.to_builtins(config.envelope))


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


def baud_of(url: str) -> int:
    """The baud rate that a URL names; a wire that names none is counted as 9600, the slowest in use."""
    found = re.search(r"[?&]baud=(\d*)", url)
    if not found:
        return 9600
    baud = int(found.group(1) or 0)
    if not BAUD_MIN <= baud <= BAUD_MAX:
        raise ConfigError(f"the URL {url} asks for {baud} baud; serial lines run at {BAUD_MIN} to {BAUD_MAX}")
    return baud


def _sentence(error: msgspec.ValidationError, root: type) -> str:
    """msgspec's message with the place in front and, for an unknown key, the nearest known one."""
    text = str(error)
    message, _, place = text.partition(" - at ")
    place = place.strip("`$").lstrip(".") or "top level"
    unknown = re.search(r"unknown field `(\w+)`", message)
    if unknown:
        node: Any = root
        for part in [] if place == "top level" else place.split("."):
            node = next((f.type for f in msgspec.structs.fields(node) if f.encode_name == part), node)
            node = next((kind for kind in typing.get_args(node) if isinstance(kind, type(msgspec.Struct))), node)
        known = [f.encode_name for f in msgspec.structs.fields(node)]
        return f"[{place}] has an unknown key {unknown.group(1)!r}{did_you_mean(unknown.group(1), known)}"
    missing = re.search(r"missing required field `(\w+)`", message)
    if missing:
        return f"[{place}] lacks the key {missing.group(1)!r}"
    return f"{place}: {message[0].lower()}{message[1:]}"
