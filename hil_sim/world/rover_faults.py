"""Where the faults of a rover's plant strike: its wheels, its steering joints, its battery."""

from __future__ import annotations

from hil_sim.world.fault_edges import FaultEdges
from hil_sim.world.faults.power import BATTERY
from hil_sim.world.faults.schedule import Fault
from hil_sim.world.plant.battery import Battery
from hil_sim.world.plant.rover import RoverPlant


def rover_points(plant: RoverPlant) -> list[str]:
    """The points of a rover's plant: `wheels.NAME`, `wheels.NAME.steer`, `power.battery`."""
    wheels = [f"wheels.{name}" for name in plant.wheel_names]
    return [*wheels, *(f"wheels.{name}.steer" for name in plant.body.steered), BATTERY]


def hang_rover_faults(plant: RoverPlant, battery: Battery, edges: FaultEdges) -> None:
    """Have every window at these points carried out."""
    for name in plant.wheel_names:
        _hang_wheel(plant, name, edges)
    for name in plant.body.steered:
        joint = plant.steer(name)
        edges.at(
            f"wheels.{name}.steer",
            lambda t_s, _fault, joint=joint: plant.hold(t_s, joint),  # type: ignore[misc]
            lambda t_s, joint=joint: plant.let_go(t_s, joint),  # type: ignore[misc]
        )
    edges.at(BATTERY, lambda t_s, fault: battery.lose_cells(t_s, _share(fault, 0.15)), lambda _t_s: None)


def _hang_wheel(plant: RoverPlant, name: str, edges: FaultEdges) -> None:
    motor = plant.motor(name)

    def strike(t_s: float, fault: Fault) -> None:
        if fault.kind == "wheel_stall":
            plant.hold(t_s, motor)
        else:
            plant.set_grip(t_s, motor, _share(fault, 0.2))

    def mend(t_s: float) -> None:
        plant.let_go(t_s, motor)
        plant.set_grip(t_s, motor, 1.0)

    edges.at(f"wheels.{name}", strike, mend)


def _share(fault: Fault, default: float) -> float:
    return min(max(float(fault.arg("fraction", default)), 0.0), 1.0)
