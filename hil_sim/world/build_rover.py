"""A rover's world: ground, soil, the rover's body and its electricity, the emulators that turn its motors, the wires.

    world = await build_rover_world("osr", ground, pose=(x_m, y_m, heading_rad), seed=7)
    ... a host drives against world.urls ...
    truth = world.finish()

The ground is the caller's: usually the map, made rougher below its resolution with craters and rocks of the seed, so
that what the host planned on is never all that is there.
"""

from __future__ import annotations

import asyncio
import functools
import math
import random
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil_sim.world.camera_faults import FaultyCamera, Shot
from hil_sim.world.emulators.camera import CameraEmulator
from hil_sim.world.emulators.imu import ACCEL_RANGE_M_S2, GYRO_RANGE_RAD_S, ImuEmulator
from hil_sim.world.emulators.leadshine_wheel import LeadshineWheel
from hil_sim.world.emulators.modbus_mishaps import Mishaps
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.emulators.roboclaw import RoboClawBoard, RoboClawLine
from hil_sim.world.emulators.roboclaw_motors import Unconnected
from hil_sim.world.emulators.rover_power import RoverPowerEmulator
from hil_sim.world.emulators.tracker import TrackerEmulator
from hil_sim.world.fault_edges import FaultEdges
from hil_sim.world.faults.camera import CAMERA
from hil_sim.world.faults.schedule import Faults, FaultSchedule
from hil_sim.world.faults.sensor import ACCEL, CURRENT, GYRO, TRACKER
from hil_sim.world.faulty_sensors import Sensors
from hil_sim.world.plant.battery import Battery, BatteryConfig
from hil_sim.world.plant.rover import BODIES, RoverPlant, RoverTrack
from hil_sim.world.plant.soil import NOMINAL, SoilParams
from hil_sim.world.plant.terrain import Ground
from hil_sim.world.rover_faults import hang_rover_faults, rover_points
from hil_sim.world.safety import RoverSafetySpec
from hil_sim.world.scene_rover import RoverCamera, RoverScene, SceneTag, jpeg
from hil_sim.world.toml_words import UNREADABLE, what_is_wrong
from hil_sim.world.wire import Tap, Wire
from hil_sim.world.wiring import MACHINES, DeviceLine, Lay, WireSpec, Wiring, WorldError, refuse_strange

Channel = tuple[int, int]
CURRENT_TOP_A = 327.67  # what a board's register of 10 mA has room for
TRACKER_TOP_M = 10_000.0  # what its line has digits for


class BoardsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="roboclaw", tag_field="emulator"):
    """Motor boards, and which motor hangs on which."""

    wire: str
    ticks_per_rad: float
    steer_ticks_per_rad: float
    drive: dict[str, Channel]
    steer: dict[str, Channel]


class DrivesSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="leadshine_wheel", tag_field="emulator"):
    """One Modbus drive for each motor."""

    wire: str
    wheel_rad_per_rev: float
    steer_rad_per_rev: float
    drive: dict[str, int]
    steer: dict[str, int]


class ImuSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inertial unit."""

    emulator: Literal["imu"]
    wire: str


class PowerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Battery, panel and heater behind one Modbus unit."""

    emulator: Literal["rover_power"]
    wire: str
    unit: int


class TrackerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The total station."""

    emulator: Literal["tracker"]
    wire: str
    sigma_m: Annotated[float, Meta(ge=0, le=5)]
    sigma_heading_rad: Annotated[float, Meta(ge=0, le=1)]


class CameraSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The camera that sees the site's tags; where it truly sits on the rover."""

    emulator: Literal["camera"]
    wire: str
    width_px: int
    height_px: int
    focal_px: Annotated[float, Meta(gt=0)]
    ahead_m: float
    left_m: float
    up_m: Annotated[float, Meta(gt=0)]
    down_deg: float


class RoverDeviceSpecs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every device of the rover, by the name under which the host knows it."""

    wheels: BoardsSpec | DrivesSpec
    imu: ImuSpec
    power: PowerSpec
    tracker: TrackerSpec
    camera: CameraSpec | None = None


class BodySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which body the plant carries."""

    kind: Literal["osr", "polar"]
    battery_cells: int = 4
    capacity_wh: float = 160.0


class RoverSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One world's rover, whole."""

    schema_version: int
    kind: Literal["rover"]
    name: str
    protocol_version: str
    wires: dict[str, WireSpec]
    devices: RoverDeviceSpecs
    body: BodySpec
    safety: RoverSafetySpec = RoverSafetySpec()


def load_rover_spec(machine: str | Path) -> RoverSpec:
    """Read a rover's machine file of the world, by name or path. Raises WorldError with what is wrong."""
    path = Path(machine)
    if path.suffix != ".toml":
        path = MACHINES / f"{machine}.toml"
    if not path.is_file():
        raise WorldError(f"there is no emulated rover {str(machine)!r}: give a shipped name or a .toml file")
    try:
        spec = _spec_of(path.read_text(encoding="utf-8"))
    except UNREADABLE as error:
        raise WorldError(f"emulated rover {path}: {what_is_wrong(error)}") from error
    for name, device in _devices(spec).items():
        if device.wire not in spec.wires:
            raise WorldError(f"emulated rover {path}: {name} hangs on wire {device.wire!r}, which it does not have")
    return spec


@functools.lru_cache(maxsize=16)
def _spec_of(text: str) -> RoverSpec:
    """A machine file's text, read once: a campaign builds the same rover for each of its drives."""
    return msgspec.convert(tomllib.loads(text), RoverSpec)


def is_rover(machine: str | Path) -> bool:
    """Whether a machine file of the world is a rover's."""
    path = Path(machine) if str(machine).endswith(".toml") else MACHINES / f"{machine}.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")).get("kind") == "rover"
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return False


@dataclass(frozen=True)
class RoverTruth:
    """What truly happened. Times in loop seconds."""

    track: RoverTrack
    strikes: list[tuple[float, str, str]]
    end_s: float
    energy_wh: float
    charge: float


class _Metered:
    """A motor port whose current is what a sensor shows; all else is the motor's."""

    def __init__(self, motor: Any, current_a: Callable[[float], float]) -> None:
        self._motor = motor
        self.current_a = current_a

    def __getattr__(self, name: str) -> Any:
        return getattr(self._motor, name)


class RoverWorld:
    """A built world: `urls` by wire, `devices` to announce, plant and emulators to look into."""

    def __init__(
        self,
        spec: RoverSpec,
        ground: Ground,
        soil: SoilParams,
        pose: tuple[float, float, float],
        faults: FaultSchedule,
        *,
        exact_timing: bool,
        seed: int,
        tags: tuple[SceneTag, ...] = (),
        tap: Tap | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self.spec = spec
        self.faults = Faults(faults)
        self._edges = FaultEdges(self.faults)
        self.sensors = Sensors(self.faults, seed)
        self.plant = RoverPlant(BODIES[spec.body.kind], ground, soil, pose, now_s)
        config = BatteryConfig(cells=spec.body.battery_cells, capacity_wh=spec.body.capacity_wh)
        self.battery = Battery(config, self._drawn_j, t_s=now_s)
        d = spec.devices
        hang_rover_faults(self.plant, self.battery, self._edges)
        self.boards: dict[int, RoboClawBoard] = {}
        baud = spec.wires[d.wheels.wire].baud or 115200
        self.imu = ImuEmulator(
            self._imu(), _rng(seed, "imu"), gyro_bias_rad_s=_drawn(seed, 0.003), accel_bias_m_s2=_drawn(seed, 0.01)
        )
        self.power = RoverPowerEmulator(self.battery, loop, keep_alive_w=0.0)
        self.tracker = TrackerEmulator(
            self._tracked(),
            _rng(seed, "tracker"),
            sigma_m=d.tracker.sigma_m,
            sigma_heading_rad=d.tracker.sigma_heading_rad,
        )
        self.emulators: dict[str, Any] = {
            d.wheels.wire: self._wheels(d.wheels, baud, exact_timing),
            d.imu.wire: self.imu,
            d.power.wire: RtuBus(
                {d.power.unit: self.power},
                baud=spec.wires[d.power.wire].baud or 9600,
                exact_timing=exact_timing,
                mishaps=Mishaps(self.faults, {d.power.unit: "power"}),
            ),
            d.tracker.wire: self.tracker,
        }
        if d.camera is not None:
            self._scene: RoverScene | None = None  # made when somebody looks: its textures take a while
            self._camera, self._site_tags, self._seed, self._pictures = d.camera, tags, seed, 0
            self._faulty_camera = FaultyCamera(self.faults, seed)
            self.emulators[d.camera.wire] = CameraEmulator(self._shoot)
        self._wiring = Wiring(spec.wires, self.faults, tap)

    def _wheels(self, spec: BoardsSpec | DrivesSpec, baud: int, exact_timing: bool) -> Any:
        plant = self.plant
        if isinstance(spec, DrivesSpec):
            units: dict[int, LeadshineWheel] = {}
            for name, unit in spec.drive.items():
                units[unit] = LeadshineWheel(plant.motor(name), rad_per_rev=spec.wheel_rad_per_rev, baud=baud)
            for name, unit in spec.steer.items():
                units[unit] = LeadshineWheel(plant.steer(name), rad_per_rev=spec.steer_rad_per_rev, baud=baud)
            return RtuBus(units, baud=baud, exact_timing=exact_timing)
        ports: dict[int, dict[int, tuple[Any, float]]] = {}
        for name, (address, channel) in spec.drive.items():
            ports.setdefault(address, {})[channel] = (self._metered(name), spec.ticks_per_rad)
        for name, (address, channel) in spec.steer.items():
            ports.setdefault(address, {})[channel] = (plant.steer(name), spec.steer_ticks_per_rad)
        for address, channels in ports.items():
            both = [channels.get(n, (Unconnected(), spec.ticks_per_rad)) for n in (1, 2)]
            self.boards[address] = RoboClawBoard(
                [port for port, _ in both], [ticks for _, ticks in both], volts=self.battery.battery_v
            )
        return RoboClawLine(self.boards, baud=baud)

    def _metered(self, name: str) -> Any:
        """A drive motor, its current seen through its board's sensor."""
        motor = self.plant.motor(name)
        truth = motor.current_a
        show = self.sensors.at(f"{CURRENT}.{name}", truth, full_scale=CURRENT_TOP_A)
        return motor if show is truth else _Metered(motor, show)

    @property
    def points(self) -> list[str]:
        """The places that faults can strike."""
        camera = [CAMERA] if self.spec.devices.camera is not None else []
        return [*self._wiring.points, *self.sensors.points, "power", *rover_points(self.plant), *camera]

    @property
    def models(self) -> dict[str, Any]:
        """The emulated firmware of each device, by the name under which the host knows it."""
        found = {name: self.emulators[device.wire] for name, device in _devices(self.spec).items()}
        return {**found, "power": self.power}

    @property
    def urls(self) -> dict[str, str]:
        """Where each wire is reached."""
        return self._wiring.urls

    @property
    def devices(self) -> list[DeviceLine]:
        """What `sim serve` announces."""
        return self._wiring.devices

    async def lay(self, how: Lay, directory: Path | None) -> None:
        """Lay every wire and note its URL."""
        await self._wiring.lay(self.emulators, _devices(self.spec), how, directory)

    def wire(self, name: str) -> Wire:
        """One of the laid wires: what passed on it, and a way to cut it."""
        return self._wiring.wire(name)

    def finish(self) -> RoverTruth:
        """The truth up to now."""
        now_s = asyncio.get_running_loop().time()
        self.plant.advance_to(now_s)
        self.battery.settle(now_s)
        return RoverTruth(
            self.plant.track(),
            [(t_s, point, fault.kind) for t_s, point, fault in self.faults.strikes],
            now_s,
            self.battery.taken_j / 3600.0,
            self.battery.soc(now_s),
        )

    def close(self) -> None:
        """Take every wire away."""
        self._edges.close()
        self._wiring.close()

    # -- inside

    def _shoot(self, t_s: float) -> Callable[[], bytes] | None:
        """Hold the moment fast; the picture is developed from it later. Heights are against the ground under it."""
        x, y, _, roll, pitch, yaw = self.plant.pose(t_s)
        low = self.plant.ground.height(x, y)
        self._pictures += 1
        if self._scene is None:
            self._scene = _scene(self._camera, self._site_tags, self._seed)
        scene, number = self._scene, self._pictures
        tags = tuple(replace(tag, z_m=tag.z_m - low) for tag in self._site_tags)

        def develop(how: Shot) -> bytes:
            scene.tags = tags
            picture = scene.picture(x, y, yaw, number, roll_rad=roll, pitch_rad=pitch)
            return how.pack(jpeg(how.spoil(how.through_the_lens(picture))))

        return self._faulty_camera.take(t_s, develop)

    def _imu(self) -> Callable[[float], tuple[Sequence[float], Sequence[float]]]:
        """What the inertial unit's six sensors show."""
        truth = self.plant.imu
        gyro = self.sensors.group(GYRO, lambda t_s: truth(t_s)[0], full_scale=GYRO_RANGE_RAD_S)
        accel = self.sensors.group(ACCEL, lambda t_s: truth(t_s)[1], full_scale=ACCEL_RANGE_M_S2)
        if not any(self.faults.touches(point) for point in (*GYRO, *ACCEL)):
            return truth
        return lambda t_s: (gyro(t_s), accel(t_s))

    def _tracked(self) -> Callable[[float], tuple[float, float, float, float]]:
        """Where the station sees the rover."""
        show = self.sensors.group(TRACKER, self._where, full_scale=TRACKER_TOP_M)

        def where(t_s: float) -> tuple[float, float, float, float]:
            x, y, z, yaw = show(t_s)
            return x, y, z, yaw

        return where

    def _where(self, t_s: float) -> tuple[float, float, float, float]:
        x, y, z, _, _, yaw = self.plant.pose(t_s)
        return x, y, z, yaw

    def _drawn_j(self, t_s: float) -> float:
        self.plant.advance_to(t_s)
        return self.plant.energy_j


async def build_rover_world(
    machine: str | Path,
    ground: Ground,
    *,
    pose: tuple[float, float, float],
    soil: SoilParams = NOMINAL,
    lay: Lay = "virtual",
    directory: Path | None = None,
    faults: FaultSchedule | None = None,
    seed: int = 0,
    tags: tuple[SceneTag, ...] = (),
    host_points: Iterable[str] = (),
    tap: Tap | None = None,
) -> RoverWorld:
    """Build a rover's world on the running loop and lay its wires.

    Args:
        machine: the name of a shipped rover, or a TOML file.
        pose: where it stands at first: x, y (m) and heading (rad) in the map's frame.
        lay: wires in memory, or real ptys under `directory`.
        seed: of everything random in the sensors.
        tags: AprilTags that truly stand at the site, for a rover with a camera; z_m in the map's heights.
        host_points, tap: as for `build_world`.

    Raises:
        WorldError: the machine file cannot be used, or the rover would stand off its ground.
        OSError: a pty cannot be made.
    """
    spec = load_rover_spec(machine)
    try:
        world = RoverWorld(
            spec,
            ground,
            soil,
            pose,
            faults or FaultSchedule(),
            exact_timing=lay == "virtual",
            seed=seed,
            tags=tags,
            tap=tap,
        )
    except ValueError as error:
        raise WorldError(f"emulated rover {spec.name}: {error}") from error
    try:
        refuse_strange(world.faults, [*world.points, *host_points], world.sensors.strange())
        await world.lay(lay, directory)
    except BaseException:
        world.close()
        raise
    return world


def _devices(spec: RoverSpec) -> dict[str, Any]:
    devices = {name: getattr(spec.devices, name) for name in RoverDeviceSpecs.__struct_fields__}
    return {name: device for name, device in devices.items() if device is not None}


def _scene(spec: CameraSpec, tags: tuple[SceneTag, ...], seed: int) -> RoverScene:
    camera = RoverCamera(
        spec.width_px, spec.height_px, spec.focal_px, spec.ahead_m, spec.left_m, spec.up_m, math.radians(spec.down_deg)
    )
    return RoverScene(seed, tags, camera)


def _rng(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed}:{name}")


def _drawn(seed: int, sigma: float) -> list[float]:
    rng = _rng(seed, f"bias {sigma}")
    return [rng.gauss(0.0, sigma) for _ in range(3)]
