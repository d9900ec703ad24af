"""The emulated devices of a run as a test sees them: what is true of each, and what can be done to it.

Each question is put on the run's loop at its present moment; `emulator` and `wire` give the objects themselves, for
what is not offered here (use `ask` or `do` for anything that concerns time).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from hil_sim.harness.live_run import LiveRun, LiveRunError
from hil_sim.world.build import World
from hil_sim.world.wire import Wire

T = TypeVar("T")


class Device:
    """Any emulated device, by its name in the machine files."""

    def __init__(self, name: str, run: Callable[[], LiveRun]) -> None:
        self.name = name
        self._run = run

    @property
    def emulator(self) -> Any:
        """The emulated firmware."""
        return self._look(lambda world, _now_s: self._model(world))

    @property
    def wire(self) -> Wire:
        """The wire that it hangs on, with what passed in each direction."""
        return self._look(lambda world, _now_s: world.wire(self._wire_name(world)))

    def ask(self, question: Callable[[Any, float], T]) -> T:
        """`question(emulator, now_s)` on the run's loop."""
        return self._look(lambda world, now_s: question(self._model(world), now_s))

    def do(self, deed: Callable[[Any, float], Any]) -> None:
        """The same for what is done to it."""
        self.ask(deed)

    def unplug(self, back_after_s: float = -1.0) -> None:
        """Cut its wire, for everybody who hangs on it; it can be opened again after that time, negative: never."""
        self._look(lambda world, _now_s: world.wire(self._wire_name(world)).hang_up(back_after_s))

    def _look(self, question: Callable[[World, float], T]) -> T:
        return self._run().ask(question)

    def _wire_name(self, world: World) -> str:
        self._model(world)
        return str(getattr(world.spec.devices, self.name).wire)

    def _model(self, world: World) -> Any:
        if self.name not in world.models:
            there = ", ".join(world.models)
            raise LiveRunError(f"the emulated machine {world.spec.name} has no device {self.name!r}; it has {there}")
        return world.models[self.name]


class Motion(Device):
    """The motion board and the gantry that it drives."""

    @property
    def position_mm(self) -> tuple[float, float, float]:
        """Where the gantry truly is."""
        return self._look(lambda world, now_s: world.gantry.position_at(now_s))

    @property
    def believed_mm(self) -> tuple[float, float, float]:
        """Where its board would say that it is."""
        return self._look(lambda world, now_s: world.gantry.controller_at(now_s))

    @property
    def crashes(self) -> int:
        """How often it ran into its frame."""
        return self._look(lambda world, _now_s: world.gantry.crashes)

    def reset(self) -> None:
        """The board's reset button: position, queue and temperatures are forgotten."""
        self.do(lambda board, _now_s: board.reset())


class Beam(Device):
    """The beam head."""

    @property
    def emission_w(self) -> float:
        """What leaves it now."""
        return self._look(lambda world, now_s: world.optics.emission_w(now_s))

    @property
    def capability_w(self) -> float:
        """What would leave it now at full S; 0 unless it is armed, open and firing."""
        return self.ask(lambda head, now_s: (head.settle(now_s), head.capability_w)[1])

    @property
    def is_armed(self) -> bool:
        """Whether a token holds."""
        return self.ask(lambda head, now_s: (head.settle(now_s), head.armed)[1])

    def door(self, *, closed: bool) -> None:
        """The door, as the head's own switch sees it."""
        self.do(lambda head, now_s: head.set_interlock(now_s, closed))

    def break_down(self) -> None:
        """A failure inside the head."""
        self.do(lambda head, now_s: head.set_fault(now_s, True))

    def mend(self) -> None:
        """The failure is gone."""
        self.do(lambda head, now_s: head.set_fault(now_s, False))


class Heater(Device):
    """The bed's heater: its controller and its plate."""

    @property
    def temp_c(self) -> float:
        """How warm the plate truly is."""
        return self._look(lambda world, now_s: (world.heater.advance_to(now_s), world.plate.temp_c(now_s))[1])

    def break_sensor(self) -> None:
        """The controller sees its sensor broken."""
        self.do(lambda controller, now_s: controller.set_sensor_break(now_s, True))

    def mend_sensor(self) -> None:
        """The sensor is whole again."""
        self.do(lambda controller, now_s: controller.set_sensor_break(now_s, False))


class Meter(Device):
    """The energy meter on the feeder."""

    @property
    def power_w(self) -> float:
        """What the machine truly draws."""
        return self._look(lambda world, now_s: world.meter.power_w(now_s))

    @property
    def energy_wh(self) -> float:
        """What it has drawn since the start."""
        return self._look(lambda world, now_s: world.meter.energy_wh(now_s))


class Drive(Device):
    """A stepper drive and its axis: the recoater's blade, the build piston."""

    @property
    def position_mm(self) -> float:
        """Where the axis truly is."""
        return self.ask(lambda drive, now_s: drive.axis.position_at(now_s))

    @property
    def is_moving(self) -> bool:
        """Whether the axis moves."""
        return self.ask(lambda drive, now_s: drive.axis.moving(now_s))

    def fail(self) -> None:
        """An alarm inside the drive: it brakes hard and lets go."""
        self.do(lambda drive, now_s: drive.fail(now_s))


class Camera(Device):
    """The top camera."""

    @property
    def served(self) -> int:
        """Pictures that it has sent."""
        return self.ask(lambda camera, _now_s: camera.served)


DEVICES: dict[str, type[Device]] = {
    "motion": Motion,
    "beam": Beam,
    "heater": Heater,
    "meter": Meter,
    "recoater": Drive,
    "piston": Drive,
    "camera": Camera,
}
"""What a printer always has; other devices of a machine are plain `Device`s."""
