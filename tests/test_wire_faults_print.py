"""Does a whole print under each fault of a wire end exact, degraded, or stopped in time with a reason that names it?

Never SILENT, HANG or UNSAFE. The bound of a kind is the time between the strike and the host's first error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench_helpers import RECIPE
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from print_helpers import Printed, print_virtual

from control.config import load_envelope
from control.host import Status
from hil_sim.harness.oracle import Verdict
from hil_sim.virtual_time import RUN_START_EPOCH_NS
from hil_sim.world.faults import KINDS
from hil_sim.world.faults.comms import KINDS as COMMS_KINDS
from hil_sim.world.faults.stream import KINDS as STREAM_KINDS
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe

WARNING = 3  # foxglove.Log's levels: 3 is a warning, 4 an error
FRAME_S = 3.0  # the longest exchange, with all its retries: what "1 frame" is as a time
CUT = ("disconnect", "replug")
STOOD = re.compile(r"the beam stood at \(.*\) and gave (.*) J")
BEAM_W = 200.0


@dataclass(frozen=True)
class Place:
    """Where a wire is struck in the little print: a chunk and a moment of its busiest phase."""

    chunk: int
    at_s: float
    names: tuple[str, ...]
    """Of what the reason must name one."""


PLACES = {
    "motion": Place(60, 19.0, ("motion",)),
    "beam": Place(130, 19.0, ("beam",)),
    "bus0": Place(180, 19.0, ("bus0", "heater", "meter")),
    "bus1": Place(60, 6.5, ("bus1", "recoater", "piston")),
    "camera": Place(1, 9.5, ("camera",)),
}
HARD = {  # arguments at which a kind hurts
    "delay": {"delay_s": 1.5},
    "noise": {"rate": 0.02},
    "flip": {"byte": 5, "bit": 2},
    "split": {"gap_s": 0.05},
    "insert": {"hex": "0a4e31"},
    "truncate": {"bytes": 2},
    "non_utf8": {"byte": 4},
    "disconnect": {"back_after_s": 0.5},
    "replug": {"back_after_s": 0.5},
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finely hatched layer: more than the motion board holds."""
    folder = tmp_path_factory.mktemp("job")
    write_stl(rectangular(10.0, 20.0, 0.5), folder / "plate.stl")
    recipe = load_recipe(RECIPE, {"hatch_spacing_mm": "0.45"})
    plan_job(folder / "plate.stl", recipe, load_envelope("bench"), folder / "plate.kiln")
    return folder / "plate.kiln"


def bound_s(kind: str) -> float:
    """The catalogue's bound as a time."""
    number, _, unit = KINDS[kind].bound.partition(" ")
    return {"frame": FRAME_S, "s": float(number)}[unit]


def first_error_s(ended: Printed, since_s: float) -> float:
    """When the host first said, after `since_s`, that something is wrong: a picture asked for again is a warning."""
    with (ended.run_dir / "telemetry.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages():
            at_s = (message.log_time - RUN_START_EPOCH_NS) / 1e9
            if channel.topic != "/events" or at_s < since_s - 1e-6:
                continue
            if decoded.level > WARNING or decoded.message.endswith("Asking again."):
                return at_s
    raise AssertionError("the run stopped without an error in its telemetry")


def assert_mended_or_stopped(ended: Printed, fault: dict[str, Any]) -> None:
    """It struck, and the end is a good one: told in time, with the right name, and safe."""
    kind, wire = fault["kind"], fault["point"].split(".")[0]
    assert {(strike.point, strike.kind) for strike in ended.record.faults} == {(fault["point"], kind)}
    outcome = ended.outcome
    assert outcome is not None, ended.error
    if outcome.status is Status.DONE:
        assert ended.verdict in (Verdict.EXACT, Verdict.DEGRADED), ended.judgement
    else:
        assert ended.verdict is Verdict.DETECTED and outcome.exit_code in (3, 4), ended.judgement
        assert any(name in outcome.reason for name in PLACES[wire].names), outcome.reason
        struck_s = ended.record.faults[0].t_s
        if (ended.run_dir / "telemetry.mcap").exists():
            assert first_error_s(ended, struck_s) - struck_s <= bound_s(kind)
    ended.assert_safe(but=_left_to_themselves(fault, wire))


def _left_to_themselves(fault: dict[str, Any], wire: str) -> tuple[str, ...]:
    """What no host can reach any more: a board without its cable empties its planner, a controller heats on."""
    silent = fault["kind"] in CUT or fault.get("for_s", 0.0) > 1.0
    return {"motion": ("gantry",), "bus0": ("heater",), "bus1": ("blade", "piston")}.get(wire, ()) if silent else ()


def placed(kind: str, wire: str, way: str, for_s: float = 0.3) -> dict[str, Any]:
    """A fault at the wire's place: at its chunk, or as a window where the kind has no other anchor."""
    fault: dict[str, Any] = {"kind": kind, "point": f"{wire}.{way}", "args": HARD.get(kind, {})}
    if KINDS[kind].counted is None:
        return fault | {"at_s": PLACES[wire].at_s, "for_s": for_s}
    if kind == "echo":
        fault["count"] = 20
    chunk = 0 if wire == "camera" and way in ("to_device", "to_host") else PLACES[wire].chunk
    return fault | {KINDS[kind].counted: chunk}


OTHERS = [(wire, way) for way in ("to_host", "to_device") for wire in ("beam", "bus0", "bus1", "camera")]
STRUCK = [(kind, "motion", way) for kind in STREAM_KINDS for way in ("to_device", "to_host")] + [
    (kind, *OTHERS[n % len(OTHERS)]) for n, kind in enumerate(STREAM_KINDS)
]


@pytest.mark.parametrize(("kind", "wire", "way"), STRUCK)
def test_a_stream_fault_on_the_bench_is_mended_or_stops_the_run(
    job: Path, tmp_path: Path, kind: str, wire: str, way: str
) -> None:
    # A picture is taken once in seconds, and the window must not miss it.
    fault = placed(kind, wire, way, for_s=2.0 if wire == "camera" else 0.3)
    assert_mended_or_stopped(print_virtual(job, tmp_path, faults=(fault,)), fault)


@pytest.mark.parametrize("wire", PLACES)
@pytest.mark.parametrize("kind", ["stall", "overrun"])
def test_a_wire_that_is_silent_for_long_stops_the_run_or_is_declared(
    job: Path, tmp_path: Path, kind: str, wire: str
) -> None:
    fault = placed(kind, wire, "to_host", for_s=20.0 if wire == "camera" else 8.0)  # beyond a picture's three tries
    ended = print_virtual(job, tmp_path, faults=(fault,))
    assert_mended_or_stopped(ended, fault)
    assert ended.verdict is not Verdict.EXACT


NETWORK = [
    ({"kind": "half_open", "point": "beam.connection", "at_chunk": 260}, Verdict.DETECTED),
    ({"kind": "half_open", "point": "beam.connection", "at_s": 19.0, "for_s": 2.0}, Verdict.DETECTED),
    ({"kind": "half_open", "point": "camera.connection", "at_chunk": 2}, Verdict.EXACT),
    ({"kind": "half_open", "point": "camera.connection", "at_s": 10.0, "for_s": 20.0}, Verdict.DETECTED),
    ({"kind": "reset_connection", "point": "beam.connection", "at_chunk": 260}, Verdict.DETECTED),
    ({"kind": "reset_connection", "point": "camera.connection", "at_chunk": 2}, Verdict.EXACT),
    ({"kind": "reset_connection", "point": "camera.connection", "at_chunk": 2, "count": 9}, Verdict.DETECTED),
    ({"kind": "latency", "point": "beam.connection", "at_s": 12.0, "for_s": 5.0, "args": {"delay_s": 0.05}},
     Verdict.EXACT),
    ({"kind": "latency", "point": "beam.connection", "at_s": 19.0, "for_s": 60.0, "args": {"delay_s": 1.0}},
     Verdict.DETECTED),
    ({"kind": "latency", "point": "camera.connection", "at_s": 0.0, "for_s": 60.0, "args": {"delay_s": 1.0}},
     Verdict.EXACT),
    ({"kind": "refuse", "point": "beam.listener", "at_event": 0}, Verdict.DETECTED),
    ({"kind": "refuse", "point": "beam.listener", "at_event": 1}, Verdict.DETECTED),
    ({"kind": "refuse", "point": "camera.listener", "at_event": 0, "count": 9}, Verdict.DETECTED),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "verdict"), NETWORK)
def test_a_network_fault_on_the_bench_is_mended_or_stops_the_run(
    job: Path, tmp_path: Path, fault: dict[str, Any], verdict: Verdict
) -> None:
    ended = print_virtual(job, tmp_path, faults=(fault,))
    assert_mended_or_stopped(ended, fault)
    assert ended.verdict is verdict, ended.outcome


@pytest.mark.parametrize("way", ["to_device", "to_host"])
@pytest.mark.parametrize("chunk", range(3))
def test_one_flipped_bit_on_the_way_of_a_picture_costs_another_try(
    job: Path, tmp_path: Path, way: str, chunk: int
) -> None:
    fault = {"kind": "flip", "point": f"camera.{way}", "at_chunk": chunk, "args": {"byte": 12, "bit": 2}}
    ended = print_virtual(job, tmp_path, faults=(fault,))
    assert [strike.kind for strike in ended.record.faults] == ["flip"]
    assert ended.verdict is Verdict.EXACT, ended.outcome


def test_every_kind_is_tried_on_the_bench() -> None:
    assert {kind for kind, _, _ in STRUCK} == set(STREAM_KINDS)
    assert {fault["kind"] for fault, _ in NETWORK} == set(COMMS_KINDS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("wire", PLACES)
@pytest.mark.parametrize("kind", STREAM_KINDS)
def test_a_stream_fault_anywhere_in_the_print_is_mended_or_stops_the_run(
    job: Path, tmp_path: Path, kind: str, wire: str
) -> None:
    """Every kind on every wire, both ways, early to late. Where a window meets no byte nothing was struck; most do."""
    windows = struck = 0
    for way in ("to_device", "to_host"):
        for n in range(1, 100, 9) if wire != "camera" else (0,):
            fault = placed(kind, wire, way)
            if KINDS[kind].counted is None:
                fault |= {"at_s": 0.25 * n, "for_s": 2.0}
            else:
                fault[KINDS[kind].counted] = n if wire in ("motion", "camera") else 2 * n
            ended = print_virtual(job, tmp_path / f"{way} {n}", faults=(fault,))
            if KINDS[kind].counted is None:
                windows, struck = windows + 1, struck + bool(ended.record.faults)
                if not ended.record.faults:
                    assert ended.verdict is Verdict.EXACT
                    continue
            if wire == "motion" and stood_unseen(ended):
                continue
            assert_mended_or_stopped(ended, fault)
    assert struck >= windows / 2


def stood_unseen(ended: Printed) -> bool:
    """What a host that waits for Marlin's lines cannot see (docs/reliability.md): a beam that stood under 0.02 s."""
    reasons = ended.judgement.reasons
    return ended.verdict is Verdict.SILENT and all(
        (found := STOOD.fullmatch(reason)) and float(found[1]) < 0.02 * BEAM_W for reason in reasons
    )
