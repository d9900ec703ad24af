"""A machine file (TOML) -> frozen configuration, with every bound checked where the value is read.

A machine file says what the printer is made of: its envelope, one URL for each wire, its devices and how often each
is asked. `control/machines/bench.toml` is the worked example. Wires are named once, in `[urls]`; an overlay
(`--url NAME=URL`, a simulator, a served world) replaces only that table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from control.bounds import Hz, NonNegative, Positive, Unit
from control.lab_config import ConveyorConfig, LabConfig, PyranometerConfig, SupplyConfig
from control.machine_file import ConfigError, converted, machine_path, read_document
from slicer.envelope import Envelope
from slicer.words import did_you_mean


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


def load_machine(machine: str | Path) -> MachineConfig:
    """Read and check a machine file.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key (the nearest known one is named), a value out of its
            range, a device on a wire that `[urls]` does not name, values that contradict each other, or a poll plan
            that overloads a bus.
    """
    from control.config_checks import flaws

    path = machine_path(machine)
    document = read_document(path)
    if document.get("kind", "printer") != "printer":
        raise ConfigError(
            f"machine file {path} is of a {document['kind']!r}, not of a printer: `moonkiln rover drive` takes rovers"
        )
    config = converted(document, MachineConfig, path)
    if sentence := next(flaws(config), None):
        raise ConfigError(f"machine file {path}: {sentence}")
    return config


def load_envelope(machine: str | Path) -> Envelope:
    """The planner's envelope of a machine, by name or file."""
    return envelope_from(load_machine(machine))


def envelope_from(config: MachineConfig) -> Envelope:
    """The planner's envelope of a machine."""
    return Envelope.from_dict(msgspec.to_builtins(config.envelope))
