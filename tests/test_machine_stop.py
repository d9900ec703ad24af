"""From the operator's stop to the first byte on each device's wire, whatever the others do: the whole machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_helpers import RECIPE
from print_helpers import Bystander, Script, print_virtual

from control.config import load_envelope
from control.operator import Intent
from hil_sim.world.faults.schedule import Fault, Faults, FaultSchedule
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe

FIRST = {"bench": b"M410", "bench_grbl": b"!", "bench_rrf": b"M112"}
"""What a board is told first."""

STOPS = {  # wire: what a device on it is told first, behind its unit's number where there are several
    "beam": ("beam", bytes.fromhex("0106 0008 0001")),
    "bus0": ("heater", bytes.fromhex("0106")),
    "bus1": ("drive", bytes.fromhex("06 6002 0040")),
}
SERIAL_S, RTU_S = 0.010, 0.150
NEVER_S = 1e9


@pytest.fixture(scope="module", params=list(FIRST))
def bench(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def job(bench: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_job(bench, tmp_path_factory.mktemp("job"))


def small_job(bench: str, folder: Path) -> Path:
    """One layer of a few dozen vectors, for the bench's own gantry."""
    write_stl(rectangular(10.0, 20.0, 0.5), folder / "plate.stl")
    recipe = load_recipe(RECIPE, {"hatch_spacing_mm": "0.45"})
    plan_job(folder / "plate.stl", recipe, load_envelope(bench), folder / "plate.kiln")
    return folder / "plate.kiln"


def told_after(job: Path, folder: Path, bench: str, break_it: Script) -> dict[str, float]:
    """Stop in the middle of a layer, behind `break_it`: seconds until each was told, by name."""
    heard: dict[str, float] = {}
    asked_s = [NEVER_S]

    def tap(t_s: float, point: str, data: bytes) -> None:
        wire = point.partition(".")[0]
        name, frame = ("motion", FIRST[bench]) if wire == "motion" else STOPS.get(wire, ("", b""))
        if t_s >= asked_s[0] and name and frame in data:
            unit = f" {data[data.index(frame) - 1]}" if name == "drive" else ""
            heard.setdefault(name + unit, t_s - asked_s[0])

    async def script(b: Bystander) -> None:
        await b.until_blocks(12)
        await break_it(b)
        for name in b.world.urls:
            b.world.wire(name).to_device.tap = tap
        asked_s[0] = b.loop.time()
        b.operator.ask(Intent.STOP, "the test")
        await b.until(lambda: len(heard) == 5 or b.loop.time() > asked_s[0] + 0.5)

    # faults that never strike, so that every wire is listened to
    wires = ("motion", "beam", "bus0", "bus1")
    faults = tuple({"kind": "drop", "point": f"{wire}.{way}", "at_s": NEVER_S, "for_s": 1.0}
                   for wire in wires for way in ("to_device", "to_host"))  # fmt: skip
    print_virtual(job, folder, script, faults=faults, bench=bench)
    return heard


async def nothing(_: Bystander) -> None:
    pass


async def silent_head(b: Bystander) -> None:
    lost = Fault("drop", "beam.to_host", at_s=b.loop.time(), for_s=NEVER_S)
    b.world.wire("beam").to_host.faults = Faults(FaultSchedule((lost,)))


async def dead_recoater(b: Bystander) -> None:
    b.world.emulators["bus1"].units.pop(1)


@pytest.mark.parametrize("broken", [nothing, silent_head], ids=["all well", "silent head"])
def test_motion_and_heat_do_not_wait_for_the_head(job: Path, tmp_path: Path, bench: str, broken: Script) -> None:
    told = told_after(job, tmp_path, bench, broken)
    assert told["beam"] <= SERIAL_S and told["motion"] <= SERIAL_S
    assert max(told["heater"], told["drive 1"], told["drive 2"]) <= RTU_S
    assert told["beam"] < min(told["motion"], told["heater"]), "the beam first"


def test_a_drive_does_not_wait_for_a_dead_neighbour(tmp_path: Path) -> None:
    told = told_after(small_job("bench", tmp_path), tmp_path / "run", "bench", dead_recoater)
    assert max(told["drive 1"], told["drive 2"]) <= RTU_S and told["motion"] <= SERIAL_S
