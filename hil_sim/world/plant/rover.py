"""The rover in truth: body, motors and soil over the ground, advanced lazily in fixed steps.

    plant = RoverPlant(OSR, ground, NOMINAL, (x_m, y_m, yaw_rad), t_s=0.0)
    plant.motor("fl").set_speed(t_s, 1.3, 5.0)        # what an emulated motor board does
    plant.pose(t_s)                                   # whoever asks brings it up to that moment

Quasi-static (see `rover_kernels`). Frames: map x, y, z; the rover's x forward, y left; roll with the left side up and
pitch with the nose down are positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.plant.rover_kernels import (
    ACCEL,
    ANGLE,
    BLOCKED,
    CURRENT,
    ENERGY_J,
    GRIP,
    LIMIT,
    MODE,
    MOON_G,
    MOTOR,
    PITCH,
    PITCH_RATE,
    POSITION,
    POWER_W,
    RATE,
    ROLL,
    ROLL_RATE,
    SLIP,
    SPEED,
    SPEED_M_S,
    STALLED,
    STATE,
    TARGET,
    TIPPED_S,
    TRACE,
    YAW,
    YAW_RATE,
    X,
    Y,
    rover_steps,
)
from hil_sim.world.plant.soil import SLIPS, SoilParams, WheelShape, wheel_table
from hil_sim.world.plant.terrain import BUCKET_M, Ground

STEP_S = 0.02
TRACE_EVERY = 5  # steps: 10 rows a second
TRACE_ROWS_MAX = 4_000_000
STEPS_AT_ONCE = 50_000
STANDS_RAD_S2 = 1e3  # a motor that sticks stands within a step

HOUSING_C = 20.0  # a motor's housing weighs ten times its winding: within a drive of minutes it hardly warms

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RoverBody:
    """What the rover is. `wheels`: name -> (x, y) in m; `steered`: those with a steering motor. SI units; V, A.

    winding_j_k, winding_w_k: a drive motor's winding takes up so much heat, and loses so much to its housing.
    """

    wheels: dict[str, tuple[float, float]]
    steered: tuple[str, ...]
    wheel: WheelShape
    mass_kg: float
    height_of_mass_m: float
    free_speed_rad_s: float
    stall_nm: float
    idle_a: float = 0.15
    stall_a: float = 8.0
    supply_v: float = 14.4
    steer_speed_rad_s: float = 1.0
    steer_max_rad: float = 0.85
    hotel_w: float = 6.0
    winding_j_k: float = 4.0
    winding_w_k: float = 0.3


OSR = RoverBody(
    wheels={
        "fl": (0.267, 0.184), "ml": (0.0, 0.2556), "rl": (-0.267, 0.184),
        "fr": (0.267, -0.184), "mr": (0.0, -0.2556), "rr": (-0.267, -0.184),
    },
    steered=("fl", "rl", "fr", "rr"),
    wheel=WheelShape(0.075, 0.055, 0.012),
    mass_kg=12.0,
    height_of_mass_m=0.20,
    free_speed_rad_s=31.0 / 60.0 * math.tau,
    stall_nm=4.0,
)  # fmt: skip
"""The open-source rover: geometry, wheel radius and no-load speed from its parameters; width, lugs, torque assumed, and
the heat of a drive motor's winding, of the order of a brushed motor of 25 mm."""

POLAR = RoverBody(
    wheels={"fl": (0.45, 0.40), "rl": (-0.45, 0.40), "fr": (0.45, -0.40), "rr": (-0.45, -0.40)},
    steered=("fl", "rl", "fr", "rr"),
    wheel=WheelShape(0.15, 0.12, 0.015),
    mass_kg=50.0,
    height_of_mass_m=0.40,
    free_speed_rad_s=2.0,
    stall_nm=30.0,
    stall_a=15.0,
    supply_v=28.0,
    steer_max_rad=1.8,
    hotel_w=20.0,
    winding_j_k=30.0,
    winding_w_k=1.0,
)
"""A four-wheel crabbing rover for the pole; all of it assumed."""

BODIES = {"osr": OSR, "polar": POLAR}


@dataclass
class MotorPort:
    """One motor, as an emulated board turns it. Angles in rad at the wheel or the steering axis; loop time first."""

    plant: RoverPlant
    index: int
    free_speed_rad_s: float

    def set_speed(self, t_s: float, rad_s: float, accel_rad_s2: float) -> None:
        """Hold this speed, reached at that acceleration; no faster than the motor turns without load."""
        limit = self.free_speed_rad_s
        self.plant.command(t_s, self.index, SPEED, min(max(rad_s, -limit), limit), limit, accel_rad_s2)

    def set_duty(self, t_s: float, duty: float) -> None:
        """A share of the supply, -1 to 1; 0 brakes."""
        self.set_speed(t_s, min(max(duty, -1.0), 1.0) * self.free_speed_rad_s, 20.0)

    def set_position(self, t_s: float, angle_rad: float, speed_rad_s: float, accel_rad_s2: float) -> None:
        """Go to this angle and hold it."""
        speed = min(abs(speed_rad_s), self.free_speed_rad_s)
        self.plant.command(t_s, self.index, POSITION, angle_rad, speed, accel_rad_s2)

    def angle_rad(self, t_s: float) -> float:
        """Where it stands, cumulative."""
        return self.plant.motor_value(t_s, self.index, ANGLE)

    def speed_rad_s(self, t_s: float) -> float:
        """How fast it turns."""
        return self.plant.motor_value(t_s, self.index, RATE)

    def current_a(self, t_s: float) -> float:
        """What it draws."""
        return self.plant.motor_value(t_s, self.index, CURRENT)


@dataclass(frozen=True)
class RoverTrack:
    """The true track, 10 rows a second: (n,) f8 each; s, m, rad, 1, W; winding_c: of the warmest drive motor."""

    t_s: Floats
    x_m: Floats
    y_m: Floats
    z_m: Floats
    roll_rad: Floats
    pitch_rad: Floats
    yaw_rad: Floats
    slip: Floats
    power_w: Floats
    winding_c: Floats
    tipped_at_s: float | None


@dataclass(eq=False)
class RoverPlant:
    """The rover's truth. `pose0`: x, y (m) and yaw (rad) at `t_s`, where it stands still."""

    body: RoverBody
    ground: Ground
    soil: SoilParams
    pose0: tuple[float, float, float]
    t_s: float = 0.0

    def __post_init__(self) -> None:
        body = self.body
        names, steers = tuple(body.wheels), body.steered
        self._wheels = np.array([body.wheels[name] for name in names], dtype=np.float64)
        self._steer_of = np.array(
            [len(names) + steers.index(name) if name in steers else -1 for name in names], dtype=np.int64
        )
        self._ports = {name: k for k, name in enumerate(names)}
        self._steer_ports = {name: len(names) + k for k, name in enumerate(steers)}
        self._motors = np.zeros((len(names) + len(steers), MOTOR))
        self._motors[:, MODE], self._motors[:, ACCEL], self._motors[:, LIMIT] = SPEED, 5.0, 1.0
        self._motors[:, GRIP] = 1.0
        self._wanted: dict[int, tuple[int, float, float, float]] = {}  # of motors that stand still: their last command
        table = wheel_table(self.soil, body.wheel, 3.0 * body.mass_kg * MOON_G / len(names))
        self._table = (table.pull_n, table.torque_nm, table.loads_n)
        reach = np.abs(self._wheels).max(axis=0)
        side = math.tan(math.radians(self.soil.side_strength_deg))
        self._body = np.array(
            [body.mass_kg, body.wheel.radius_m, body.height_of_mass_m, body.stall_nm, body.free_speed_rad_s,
             body.idle_a, body.stall_a, body.supply_v, self.soil.side_slip, side, reach[0],
             np.abs(self._wheels)[:, 1].min(), body.winding_j_k, body.winding_w_k]
        )  # fmt: skip
        self._state = np.zeros(STATE)
        self._state[X], self._state[Y], self._state[YAW] = self.pose0
        self._state[TIPPED_S] = -1.0
        if not math.isfinite(self.ground.height(*self.pose0[:2])):
            raise ValueError(f"the rover would stand off its ground, at {self.pose0[0]:.1f}, {self.pose0[1]:.1f} m")
        self._start_s = self.t_s
        self._steps = 0
        self._asked_s = -math.inf  # it has been brought up to this time
        self._rows: list[Floats] = []
        self._rows_of_one = np.empty((1, TRACE))  # it is mostly asked step by step
        self._kept = 0
        self._run(1, np.empty((0, TRACE)))  # settle onto the ground, motors at rest
        self._state[ROLL_RATE] = self._state[PITCH_RATE] = self._state[ENERGY_J] = 0.0

    # -- commands and questions -------------------------------------------------------------------------------------

    def motor(self, wheel: str) -> MotorPort:
        """The motor that drives a wheel."""
        return MotorPort(self, self._ports[wheel], self.body.free_speed_rad_s)

    def steer(self, wheel: str) -> MotorPort:
        """The motor that steers a wheel."""
        return MotorPort(self, self._steer_ports[wheel], self.body.steer_speed_rad_s)

    def command(
        self, t_s: float, index: int, mode: int, target: float, limit_rad_s: float, accel_rad_s2: float
    ) -> None:
        """Another target for a motor from `t_s` on. ValueError for what is no number."""
        if not all(map(math.isfinite, (target, limit_rad_s, accel_rad_s2))):
            raise ValueError(f"motor {index} is told {target!r}, {limit_rad_s!r}, {accel_rad_s2!r}: no motion")
        self.advance_to(t_s)
        if index >= len(self._wheels) and mode == POSITION:
            target = min(max(target, -self.body.steer_max_rad), self.body.steer_max_rad)  # the end stops
        if index in self._wanted:
            self._wanted[index] = (mode, target, limit_rad_s, accel_rad_s2)
            self._motors[index, STALLED] = float(mode == SPEED and target != 0.0)
            return
        motors = self._motors  # number by number: an index list costs as much as the rest of the call
        motors[index, TARGET], motors[index, LIMIT] = target, limit_rad_s
        motors[index, ACCEL], motors[index, MODE] = max(accel_rad_s2, 0.5), mode

    @property
    def wheel_names(self) -> tuple[str, ...]:
        """Of the driven wheels."""
        return tuple(self._ports)

    def hold(self, t_s: float, port: MotorPort) -> None:
        """From `t_s` on a motor stands still, whatever it is told."""
        self.advance_to(t_s)
        row = self._motors[port.index]
        wanted = (int(row[MODE]), float(row[TARGET]), float(row[LIMIT]), float(row[ACCEL]))
        row[MODE], row[TARGET], row[ACCEL] = SPEED, 0.0, STANDS_RAD_S2
        self._wanted[port.index] = wanted
        row[STALLED] = float(wanted[0] == SPEED and wanted[1] != 0.0)

    def let_go(self, t_s: float, port: MotorPort) -> None:
        """It turns again, and does what it was told last."""
        self.advance_to(t_s)
        wanted = self._wanted.pop(port.index, None)
        self._motors[port.index, STALLED] = 0.0
        if wanted is not None:
            mode, target, limit_rad_s, accel_rad_s2 = wanted
            self.command(t_s, port.index, mode, target, limit_rad_s, accel_rad_s2)

    def set_grip(self, t_s: float, port: MotorPort, share: float) -> None:
        """From `t_s` on the ground gives back this share, 0 to 1, of a wheel's way."""
        self.advance_to(t_s)
        self._motors[port.index, GRIP] = share

    def motor_value(self, t_s: float, index: int, what: int) -> float:
        """One number of one motor at `t_s`; angles are carried on from the last step at the present speed."""
        self.advance_to(t_s)
        value = self._motors.item(index, what)
        return value + self._motors.item(index, RATE) * self._ahead_s(t_s) if what == ANGLE else value

    def pose(self, t_s: float) -> tuple[float, float, float, float, float, float]:
        """x, y, z (m), roll, pitch, yaw (rad)."""
        self.advance_to(t_s)
        x, y, z, roll, pitch, yaw = self._state[: YAW + 1].tolist()  # they lead the state
        return x, y, z, roll, pitch, yaw

    def imu(self, t_s: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Angular rate (rad/s) and specific force (m/s2) in the rover's frame."""
        self.advance_to(t_s)
        number = self._state.item
        roll, pitch = number(ROLL), number(PITCH)
        yaw_rate, roll_rate, pitch_rate = number(YAW_RATE), number(ROLL_RATE), number(PITCH_RATE)
        sin_roll, cos_roll, sin_pitch, cos_pitch = math.sin(roll), math.cos(roll), math.sin(pitch), math.cos(pitch)
        rates = (
            roll_rate - yaw_rate * sin_pitch,
            pitch_rate * cos_roll + yaw_rate * sin_roll * cos_pitch,
            yaw_rate * cos_roll * cos_pitch - pitch_rate * sin_roll,
        )
        force = (-MOON_G * sin_pitch, MOON_G * sin_roll * cos_pitch, MOON_G * cos_roll * cos_pitch)
        return rates, force

    def power_w(self, t_s: float) -> float:
        """What the motors and everything else draw."""
        self.advance_to(t_s)
        return float(self._state[POWER_W]) + self.body.hotel_w

    def slip(self, t_s: float) -> float:
        """The slip that all wheels share."""
        self.advance_to(t_s)
        return float(self._state[SLIP])

    @property
    def energy_j(self) -> float:
        """What the motors and everything else have taken since the beginning, up to the present."""
        return self._state.item(ENERGY_J) + self.body.hotel_w * self._steps * STEP_S

    @property
    def is_blocked(self) -> bool:
        """Whether a wheel stands against a step that it cannot climb."""
        return bool(self._state[BLOCKED])

    @property
    def speed_m_s(self) -> float:
        """Forward, over the ground."""
        return float(self._state[SPEED_M_S])

    @property
    def tipped_at_s(self) -> float | None:
        """When its weight left the ground between its wheels, or None."""
        tipped = float(self._state[TIPPED_S])
        return None if tipped < 0 else tipped

    def track(self) -> RoverTrack:
        """The true track up to now."""
        rows = np.concatenate(self._rows) if self._rows else np.empty((0, TRACE))
        t_s, x, y, z, roll, pitch, yaw, slip, power, warmer_k = rows.T.copy()
        return RoverTrack(t_s, x, y, z, roll, pitch, yaw, slip, power, HOUSING_C + warmer_k, self.tipped_at_s)

    # -- time -------------------------------------------------------------------------------------------------------

    def advance_to(self, t_s: float) -> None:
        """Bring it up to `t_s`, in whole steps; a time that is past already changes nothing."""
        if t_s == self._asked_s:
            return
        self._asked_s = t_s
        due = math.floor((t_s - self._start_s) / STEP_S + 1e-6) - self._steps
        while due > 0:
            count = min(due, STEPS_AT_ONCE)
            self._advance(count)
            due -= count

    def _ahead_s(self, t_s: float) -> float:
        return min(max(t_s - self._start_s - self._steps * STEP_S, 0.0), STEP_S)

    def _advance(self, count: int) -> None:
        """Take `count` steps and keep the rows of the track that fall due."""
        rows = self._rows_of_one if count == 1 else np.empty((count // TRACE_EVERY + 1, TRACE))
        written = self._run(count, rows)
        self._steps += count
        self.t_s = self._start_s + self._steps * STEP_S
        if written and self._kept < TRACE_ROWS_MAX:
            self._rows.append(rows[:written].copy())
            self._kept += written

    def _run(self, count: int, rows: Floats) -> int:
        a = self.ground.arrays
        pull, torque, loads = self._table
        return int(
            rover_steps(
                count, STEP_S, self._start_s, self._state, self._motors, self._wheels, self._steer_of, self._body,
                pull, torque, loads, SLIPS, a.heights_m, a.x_m, a.y_m, a.cell_m, a.features, a.bucket_start,
                a.bucket_items, a.buckets[0], a.buckets[1], BUCKET_M, rows, TRACE_EVERY, self._steps,
            )
        )  # fmt: skip
