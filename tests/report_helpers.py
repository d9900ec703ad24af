"""A run folder made without a machine: the real job, journal, telemetry and outcome, with content made up here."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from job_helpers import write_small_job
from mcap.writer import Writer

from control.config import load_machine
from control.host import JOB_NAME, JOURNAL_NAME, MACHINE_NAME, TELEMETRY_NAME
from control.journal import Declaration, Journal
from control.machine_file import machine_path
from control.outcome import Declared, LayerOutcome, Outcome, Status, Totals
from control.run_teller import Progress
from control.telemetry import Telemetry
from firmware_bridge.signals import LimitState, Quality, Reading
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from slicer.job import Job
from vision.inspect_bed import LayerInspection

START_NS = 1_856_736_000_000_000_000  # 2028-11-02T00:00:00Z
LAYER_S = 60.0


def reading(name: str, value: float, unit: str, time_s: float) -> Reading:
    return Reading(name, value, unit, time_s, Quality.GOOD, LimitState.NORMAL)


def picture(shade: int) -> bytes:
    image = np.full((240, 400, 3), shade, np.uint8)
    cv2.circle(image, (200, 120), 60, (30, 60, 200), -1)
    return bytes(cv2.imencode(".jpg", image)[1])


def inspection(kind: str, thin_mm2: float = 0.0) -> LayerInspection:
    exposed = kind == "exposed"
    return LayerInspection(
        kind,
        "ok",
        "looks well",
        100.0,
        0.987,
        thin_mm2,
        iou=0.91 if exposed else None,
        missing_mm2=1.5 if exposed else None,
        excess_mm2=2.5 if exposed else None,
    )


def outcome(status: Status = Status.DONE, reason: str = "every layer is committed", **changes: Any) -> Outcome:
    fields: dict[str, Any] = {
        "status": status,
        "reason": reason,
        "exit_code": 0,
        "declared": [Declared("re_exposed", 1, 2, 4)],
        "layers": [LayerOutcome(0, True, 7, 99.0), LayerOutcome(1, True, 7, 99.0)],
        "totals": Totals(2, 14, 198.0, 31, 4321, 140.0, 1),
        "position_mm": (1.0, 2.0, 3.0),
    }
    return Outcome(**{**fields, **changes})


async def tell_layer(telemetry: Telemetry, journal: Journal, job: Job, index: int, began_s: float) -> None:
    """One layer of one session, with readings every second."""
    loop = asyncio.get_running_loop()
    path = job.layer(index).path
    await journal.prepare_layer(index, blocks=len(path))
    telemetry.progress(Progress(index, 2, index / 2, 60.0, 150.0, f"layer {index + 1}: recoating"))
    for thin_mm2 in (40.0, 0.0) if index else (0.0,):
        telemetry.picture(index, "powder", picture(120), inspection("powder", thin_mm2))
        await asyncio.sleep(5.0)
    await journal.expose_layer(index, blocks=len(path), base_block=0)
    telemetry.progress(Progress(index, 2, index / 2, 60.0, 150.0, f"layer {index + 1}: exposing"))
    while loop.time() < began_s + LAYER_S * (index + 1):
        now_s = loop.time()
        heater = {"bed_temp_c": 150.0 + index, "working_setpoint_c": 150.0}
        telemetry.readings("heater", {k: reading(k, v, "degC", now_s) for k, v in heater.items()})
        telemetry.readings("beam", {"emission_w": reading("emission_w", 65.0, "W", now_s)})
        meter = {"power_w": 400.0, "import_energy_kwh": 1.0 + now_s / 1000}
        telemetry.readings("meter", {k: reading(k, v, "W", now_s) for k, v in meter.items()})
        await asyncio.sleep(1.0)
    telemetry.picture(index, "exposed", picture(90), inspection("exposed"))
    await journal.commit_layer(index, blocks=len(path), energy_j=path.energy_j)
    telemetry.progress(Progress(index + 1, 2, 1.0, 0.0, 150.0, f"layer {index + 1} committed"))


def make_run(
    run_dir: Path,
    *,
    ended: Outcome | None = None,
    layers: tuple[int, ...] = (0, 1),
    event: str = "layer 1: 40 mm2 of the powder are thin; spreading again",
    close: bool = True,
    later_s: float = 1e4,
) -> Path:
    """A run folder of two layers. `ended` None leaves no outcome; `close` False a telemetry file without its end;
    `later_s`: by how much a second session's clock is ahead of the first's."""
    run_dir.mkdir(parents=True, exist_ok=True)
    job_path = run_dir / JOB_NAME
    if not job_path.exists():
        write_small_job(job_path)
        shutil.copyfile(machine_path("bench"), run_dir / MACHINE_NAME)
    again = (run_dir / JOURNAL_NAME).exists()

    async def session(loop: VirtualLoop) -> None:
        facts = {"job_sha256": hashlib.sha256(job_path.read_bytes()).hexdigest(), "start_ns": str(START_NS)}
        path = run_dir / JOURNAL_NAME
        journal = Journal.open(path) if again else Journal.create(path, {**facts, "dry_run": "False"})
        telemetry = Telemetry.open(run_dir / TELEMETRY_NAME, START_NS + (round(later_s * 1e9) if again else 0))
        with Job.open(job_path) as job:
            telemetry.attach_run(load_machine("bench"), job)
            number = journal.begin_session()
            await journal.event("info", f"session {number}: machine bench is ready")
            telemetry.progress(Progress(0, 2, 0.0, 60.0, None, "bringing up the machine"))
            began_s = loop.time()
            for index in layers:
                await tell_layer(telemetry, journal, job, index, began_s)
            telemetry.event("warning", event)
            await journal.event("warning", event)
            await journal.declare(Declaration("re_exposed", 1, 2, 4))
        if close:
            telemetry.close()
        else:
            telemetry._file.close()
        journal.close()

    run_virtual(session)
    if ended is not None:
        ended.write(run_dir)
    return run_dir


def write_truth(folder: Path, job_path: Path, *, energy_scale: float = 1.0) -> None:
    """Truth files by their documented format, of a world that did what the job says."""
    with open(folder / "truth.mcap", "wb") as file:
        writer = Writer(file)
        writer.start(profile="moonkiln", library="moonkiln")

        def channel(topic: str) -> int:
            return writer.register_channel(topic, "json", writer.register_schema(topic, "jsonschema", b"{}"))

        numbers = {topic: channel(topic) for topic in ("/truth/blocks", "/truth/powder", "/truth/faults", "/truth/end")}

        def say(topic: str, time_s: float, **row: Any) -> None:
            time_ns = START_NS + round(time_s * 1e9)
            writer.add_message(numbers[topic], time_ns, json.dumps(row).encode(), time_ns)

        total_j, now_s = 0.0, 10.0
        with Job.open(job_path) as job:
            for index in range(job.manifest.layer_count):
                plan = job.layer(index)
                say("/truth/powder", now_s, t_s=now_s, x_from_mm=0.0, x_to_mm=250.0, fill_fraction=1.0)
                energies = plan.path.power_w * plan.path.lengths_mm / plan.path.speed_mm_s * energy_scale
                for energy_j in energies.tolist():
                    say("/truth/blocks", now_s, t0_s=now_s, t1_s=now_s + 0.5, energy_j=energy_j,
                        plane_drop_mm=plan.layer.z_mm)  # fmt: skip
                    total_j += energy_j
                    now_s += 1.0
        say("/truth/faults", 3.0, t_s=3.0, point="recoater", kind="short_feed")
        facts = {"absorbed_j": 0.8 * total_j, "radiated_j": 50.0, "base_j": 20.0, "stored_j": 100.0, "missed_j": 0.0,
                 "energy_balance": 1e-12}  # fmt: skip
        say("/truth/end", now_s, end_s=now_s, beam_energy_j=total_j, beam_live=False, crashes=0, facts=facts)
        writer.finish()
    x_mm, y_mm = np.arange(45.5, 66.0), np.arange(44.5, 64.0)
    shape = (len(y_mm), len(x_mm))
    in_part = ((x_mm > 50) & (x_mm < 60))[None, :] & ((y_mm > 50) & (y_mm < 60))[:, None]
    density = np.where(in_part, 2310.0, 1500.0)
    np.savez_compressed(
        folder / "truth_maps.npz",
        x_centres_mm=x_mm,
        y_centres_mm=y_mm,
        peak_temp_c=np.where(in_part, 1234.5, 151.0),
        mean_density_kg_m3=density,
        density_kg_m3=np.broadcast_to(density, (2, *shape)),
        layer_plane_drop_mm=np.array([0.0, 0.5, 1.0]),
    )
