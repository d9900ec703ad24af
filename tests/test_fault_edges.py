"""Are faults that change a state carried out where their window begins, and mended where it ends?"""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from job_helpers import write_small_job
from print_helpers import print_virtual

from control.cli import cli
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import build_world
from hil_sim.world.fault_edges import FaultEdges
from hil_sim.world.faults import Fault, Faults, FaultSchedule
from hil_sim.world.faults.camera import CAMERA
from hil_sim.world.machine_spec import BedSettings, fault_points, load_machine_spec
from hil_sim.world.plant.recoater import FEED_POINT


def test_each_window_begins_and_ends_once_and_other_points_hear_nothing() -> None:
    async def main(loop: VirtualLoop) -> list[tuple[float, str]]:
        await asyncio.sleep(5.0)
        heard: list[tuple[float, str]] = []
        faults = Faults(
            FaultSchedule(
                (
                    Fault("auger_jam", "a", at_s=1.0, for_s=2.0),  # over before
                    Fault("auger_jam", "a", at_s=4.0, for_s=3.0),  # under way
                    Fault("shade", "a", at_s=10.0, for_s=1.5),
                    Fault("auger_jam", "b", at_s=10.0, for_s=1.5),
                    Fault("auger_jam", "a", at_s=50.0, for_s=1.0),
                    Fault("shade", "a", at_layer=1, after_s=2.0, for_s=1.0),
                    Fault("shade", "a", at_light=1, after_s=0.5, for_s=0.5),
                )
            )
        )
        edges = FaultEdges(faults)
        edges.at("a", lambda t_s, fault: heard.append((t_s, fault.kind)), lambda t_s: heard.append((t_s, "end")))
        await asyncio.sleep(15.0)
        faults.begin_layer(1, loop.time())
        await asyncio.sleep(4.0)
        faults.begin_light(1, loop.time())
        await asyncio.sleep(6.0)
        edges.close()
        await asyncio.sleep(60.0)
        assert edges.points == ["a"]
        struck = [(t_s, point, fault.kind) for t_s, point, fault in faults.strikes]
        assert struck == [(5.0, "a", "auger_jam"), (10.0, "a", "shade"), (22.0, "a", "shade"), (24.5, "a", "shade")]
        return heard

    assert run_virtual(main) == [
        (5.0, "auger_jam"),
        (7.0, "end"),
        (10.0, "shade"),
        (11.5, "end"),
        (22.0, "shade"),
        (23.0, "end"),
        (24.5, "shade"),
        (25.0, "end"),
    ]


def test_a_short_window_at_a_layer_strikes_as_its_powder_is_spread(tmp_path: Path) -> None:
    """A world that hears of a layer only when its blade has come to rest would find the window over."""
    job = write_small_job(tmp_path / "small.kiln", 2)
    fault = {"kind": "ambient", "point": "bed.ambient", "at_layer": 1, "for_s": 0.1}
    end = print_virtual(job, tmp_path / "run", faults=(fault,))
    begun_s = next(laid.t_s for laid in end.record.powder if laid.plane_drop_mm > 0.75)
    assert [strike.t_s for strike in end.record.faults] == pytest.approx([begun_s], abs=1e-3)


@pytest.mark.parametrize("machine", ["bench", "bench_grbl", "bench_lab"])
def test_a_machine_has_a_place_for_each_point_that_it_says_it_has(machine: str) -> None:
    async def main(_: VirtualLoop) -> list[str]:
        world = await build_world(machine, settings=BedSettings(cell_xy_mm=10.0))
        networks = [name for name, wire in world.spec.wires.items() if wire.baud is None]
        wires = [f"{name}.{way}" for name in world.urls for way in ("to_device", "to_host")]
        wires += [f"{name}.{place}" for name in networks for place in ("connection", "listener")]
        world.close()
        return [*wires, FEED_POINT, CAMERA, *world._edges.points, *world.modbus_points, *world.sensors.points]

    assert sorted(run_virtual(main)) == sorted(fault_points(load_machine_spec(machine)))


@pytest.mark.parametrize(
    ("kind", "point", "before", "during"),
    [
        ("auger_jam", "conveyor.load", 0.5, 3.0),
        ("open_load", "supply.load", 10.0, math.inf),
        ("short_load", "supply.load", 10.0, 0.05),
        ("shade", "sun.light", 950, 95),
    ],
)
def test_what_a_laboratory_adds_fails_and_is_mended(kind: str, point: str, before: float, during: float) -> None:
    async def main(loop: VirtualLoop) -> list[float]:
        faults = FaultSchedule((Fault(kind, point, at_s=10.0, for_s=20.0),))
        world = await build_world("bench_lab", settings=BedSettings(cell_xy_mm=10.0), faults=faults)
        lab = world.lab
        assert lab.drive is not None and lab.supply is not None and lab.pyranometer is not None

        def now() -> float:
            if point == "conveyor.load":
                return lab.drive.motor.load
            if point == "supply.load":
                return lab.supply.stage.load.resistance_ohm
            return lab.pyranometer.read_holding(5, 1, loop.time())[0]

        seen = [now()]
        for _ in range(2):
            await asyncio.sleep(20.0)
            seen.append(now())
        world.close()
        return seen

    assert run_virtual(main) == [before, during, before]


def test_a_scenario_whose_fault_strikes_nowhere_is_refused_before_anything_runs(tmp_path: Path) -> None:
    job = write_small_job(tmp_path / "small.kiln", 1)
    scenario = tmp_path / "s.toml"
    scenario.write_text(
        'schema_version = 1\nname = "x"\nmachine = "bench"\n'
        '[[faults]]\nkind = "auger_jam"\npoint = "conveyor.load"\nat_s = 1.0\nfor_s = 2.0\n',
        encoding="utf-8",
    )
    words = ["sim", "print", str(job), "--scenario", str(scenario), "--runs", str(tmp_path / "runs")]
    result = CliRunner().invoke(cli, words, prog_name="moonkiln")
    assert result.exit_code == 2
    assert "this world has no point 'conveyor.load'" in result.stderr
