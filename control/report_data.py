"""Everything a report says, gathered from a run's folder: each source may be absent or damaged, and is then named.

The result is plain data (`report.json` is exactly it) beside the arrays that only drawings need.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from control.config import MachineConfig
from control.errors import MoonkilnError
from control.host import JOB_NAME, JOURNAL_NAME, MACHINE_NAME
from control.outcome import NAME as OUTCOME_NAME
from control.outcome import Outcome
from control.report_sources import Clock, events_of, job_of, journal_of, machine_of, outcome_of, phases_of
from control.report_telemetry import Telemetry, read_telemetry, telemetry_files
from control.report_truth import (
    DEFECT_FACTOR,
    MOON_GRAVITY_M_S2,
    Truth,
    layer_of_blocks,
    part_density_kg_m3,
    porosity,
    read_truth,
    strength_mpa,
)
from slicer.job import Job
from slicer.job_layer import JobLayer
from slicer.layers import net_area_mm2
from slicer.motion_time import path_time
from slicer.recipe import RANGES, Recipe, absorbed_energy_j_kg

SCHEMA_VERSION = 1
PICTURED_LAYERS_MAX = 24
KIND_WORDS = {
    "interrupted": "was interrupted",
    "re_exposed": "may have been exposed twice",
    "skipped": "was skipped",
    "recoated": "was spread with powder again",
}

Array = NDArray[Any]


@dataclass
class Gathered:
    """A run as it was found. `facts` is what `report.json` holds."""

    facts: dict[str, Any]
    telemetry: Telemetry
    clock: Clock
    truth: Truth | None
    layers: list[JobLayer] = field(default_factory=list)
    job: Job | None = None
    recipe: Recipe | None = None
    plate_mm: tuple[float, float] | None = None  # what a rectified picture of the bed shows, from its corner
    phases: list[tuple[float, float, str, str]] = field(default_factory=list)
    marks: list[tuple[float, str, str]] = field(default_factory=list)


def gather(run_dir: Path, truth_dir: Path | None) -> Gathered:
    """Read a run folder.

    Raises:
        MoonkilnError: no such folder, or nothing of a run in it.
    """
    if not run_dir.is_dir():
        raise MoonkilnError(f"{run_dir} is no folder: give the folder of a run, such as runs/20281102-141503", 2)
    files = telemetry_files(run_dir)
    if not files and not any((run_dir / name).is_file() for name in (OUTCOME_NAME, JOURNAL_NAME, JOB_NAME)):
        raise MoonkilnError(f"{run_dir} holds no run: neither journal, outcome, telemetry nor job is in it", 2)
    notes: list[str] = []
    outcome = outcome_of(run_dir, notes)
    journal = journal_of(run_dir / JOURNAL_NAME, notes)
    config = machine_of(run_dir / MACHINE_NAME, notes)
    job, layers = job_of(run_dir / JOB_NAME, notes)
    declared = [msgspec.to_builtins(d) for d in outcome.declared] if outcome else journal["declared"]
    flagged = {int(d["layer"]) for d in declared}
    count = len(layers) or max((row["index"] + 1 for row in journal["layers"]), default=PICTURED_LAYERS_MAX)
    chosen = pictured_layers(count, flagged)
    telemetry = read_telemetry(files, chosen.__contains__)
    if not files:
        notes.append("there is no telemetry: no readings, pictures and times are shown")
    notes += telemetry.notes
    folder = truth_dir if truth_dir is not None else run_dir
    truth = read_truth(folder, notes)
    if truth is None and truth_dir is not None:
        notes.append(f"{truth_dir} holds no truth files")
    clock = Clock(tuple(telemetry.sessions_ns))
    got = Gathered({}, telemetry, clock, truth, layers, job, job.recipe if job else None)
    got.plate_mm = (config.envelope.x_mm, config.envelope.y_mm) if config else None
    got.phases = phases_of(telemetry, clock)
    events = events_of(telemetry, journal["events"], int(journal["facts"].get("start_ns", "0") or 0), clock)
    got.marks = [
        (row["at_s"], row["level"], row["text"])
        for row in events
        if row["at_s"] is not None and row["level"] in ("warning", "error")
    ]
    got.facts = {
        "schema_version": SCHEMA_VERSION,
        "run": run_dir.resolve().name,
        "verdict": _verdict(outcome, declared, journal, layers, notes),
        "declared": declared,
        "job": _job_facts(job, layers, telemetry),
        "recipe": _recipe_facts(job),
        "machine": _machine_facts(config, telemetry, truth),
        "totals": _totals(outcome, journal, telemetry, clock, job, layers),
        "layers": _layer_rows(outcome, journal, got, declared),
        "time": {},
        "pictured_layers": sorted(chosen),
        "events": events,
        "truth": _truth_facts(got),
        "notes": notes,
    }
    got.facts["time"] = _scan_time(got.facts["layers"])
    return got


def pictured_layers(count: int, flagged: set[int]) -> set[int]:
    """The layers that are shown in pictures: all of a small job, else evenly spread ones and the flagged."""
    if count <= PICTURED_LAYERS_MAX:
        return set(range(count))
    spread = {round(n * (count - 1) / (PICTURED_LAYERS_MAX - 1)) for n in range(PICTURED_LAYERS_MAX)}
    return spread | set(sorted(flagged)[:PICTURED_LAYERS_MAX])


# ---- what they say


def _verdict(
    outcome: Outcome | None,
    declared: list[dict[str, Any]],
    journal: dict[str, Any],
    layers: list[JobLayer],
    notes: list[str],
) -> dict[str, Any]:
    sentences = [_declared_sentence(d) for d in declared]
    committed = sum(bool(row["committed"]) for row in journal["layers"])
    total = f" of {len(layers)}" if layers else ""
    if outcome is None:
        damaged = any(OUTCOME_NAME in note for note in notes)
        why = "its outcome cannot be read" if damaged else "it left no outcome: its host died, or is still at work"
        reason = f"{why}; by the journal {committed}{total} layers are committed"
        return {"status": "unknown" if damaged else "no outcome", "reason": reason, "exit_code": None,
                "dry_run": journal["facts"].get("dry_run") == "True", "declared": sentences}  # fmt: skip
    return {"status": outcome.status.value, "reason": outcome.reason, "exit_code": outcome.exit_code,
            "dry_run": outcome.dry_run, "declared": sentences}  # fmt: skip


def _declared_sentence(d: dict[str, Any]) -> str:
    words = KIND_WORDS.get(str(d["kind"]), str(d["kind"]))
    first, last = int(d["first_block"]), int(d["last_block"])
    where = (
        "" if first < 0 else f" at vector {first + 1}" if first == last else f" at vectors {first + 1} to {last + 1}"
    )
    return f"Layer {int(d['layer']) + 1} {words}{where}."


def _job_facts(job: Job | None, layers: list[JobLayer], telemetry: Telemetry) -> dict[str, Any]:
    if job is None:
        known = telemetry.facts
        return {"name": known.get("job", "unknown"), "mesh_sha256": known.get("mesh_sha256"), "known": False}
    m = job.manifest
    volume_mm3 = sum(net_area_mm2(row.layer) * row.layer.thickness_mm for row in layers)
    return {
        "known": True,
        "name": m.name,
        "mesh_name": m.mesh_name,
        "mesh_sha256": m.mesh_sha256,
        "size_mm": [high - low for low, high in zip(*m.bounds_mm, strict=True)],
        "layers": m.layer_count,
        "vectors": m.vector_count,
        "length_mm": m.length_mm,
        "energy_j": m.energy_j,
        "scan_time_s": m.build_time_s,
        "volume_mm3": volume_mm3,
        "solid_kg": volume_mm3 * 1e-9 * job.recipe.density_kg_m3 if len(layers) == m.layer_count else None,
        "software_version": m.software_version,
    }


def _recipe_facts(job: Job | None) -> dict[str, Any] | None:
    if job is None:
        return None
    recipe = job.recipe
    rows = []
    for key, (_, _, unit) in RANGES.items():
        value, evidence = getattr(recipe, key), recipe.evidence.get(key)
        rows.append(
            {
                "key": key,
                "value": value,
                "unit": unit if value is not None else "",
                "kind": evidence.kind if evidence else "unknown",
                "source": evidence.source if evidence else "no evidence given",
            }
        )
    return {"name": recipe.name, "description": recipe.description, "process": recipe.process,
            "atmosphere": recipe.atmosphere, "resume_policy": recipe.resume_policy,
            "absorbed_j_kg": absorbed_energy_j_kg(recipe), "numbers": rows}  # fmt: skip


def _machine_facts(config: MachineConfig | None, telemetry: Telemetry, truth: Truth | None) -> dict[str, Any]:
    urls = dict(config.urls) if config else {}
    virtual = any(url.startswith("sim:") for url in urls.values()) or telemetry.facts.get("simulated") == "True"
    here = bool(urls) and all(
        url.startswith(("tcp:127.", "tcp:localhost")) or "/dev/" not in url for url in urls.values()
    )
    if virtual:
        kind, words = "simulated", "Simulated: emulated devices in virtual time. No hardware moved."
    elif truth is not None:
        kind, words = "simulated", "Simulated: emulated devices on real wires. No hardware moved."
    elif here:
        kind, words = "unknown", "Every wire ends on this computer: the devices may be emulated ones."
    elif urls:
        kind, words = "real", "Real wires: the machine file names ports and addresses outside this computer."
    else:
        kind, words = "unknown", "Not known: the run's machine file cannot be read."
    return {"name": config.name if config else telemetry.facts.get("machine", "unknown"), "kind": kind, "words": words,
            "urls": urls, "virtual_time": virtual,
            "software_version": telemetry.facts.get("software_version")}  # fmt: skip


def _totals(
    outcome: Outcome | None,
    journal: dict[str, Any],
    telemetry: Telemetry,
    clock: Clock,
    job: Job | None,
    layers: list[JobLayer],
) -> dict[str, Any]:
    done = [row for row in journal["layers"] if row["committed"]]
    energy_j = outcome.totals.energy_j if outcome else sum(row["energy_j"] for row in done)
    committed = {row.index for row in outcome.layers if row.committed} if outcome else {row["index"] for row in done}
    made_kg = None
    if job is not None and layers:
        area = sum(net_area_mm2(r.layer) * r.layer.thickness_mm for r in layers if r.layer.index in committed)
        made_kg = area * 1e-9 * job.recipe.density_kg_m3
    per_kg = energy_j / made_kg if made_kg else None
    t = outcome.totals if outcome else None
    return {
        "layers": t.layers if t else len(done),
        "layers_planned": job.manifest.layer_count if job else None,
        "vectors": t.blocks_claimed if t else sum(row["blocks"] for row in done),
        "vectors_planned": job.manifest.vector_count if job else None,
        "energy_j": energy_j,
        "solid_kg": made_kg,
        "energy_j_kg": per_kg,
        "absorbed_j_kg": per_kg * job.recipe.absorptivity if per_kg and job else None,
        "polls": t.polls if t else None,
        "lines_sent": t.lines_sent if t else None,
        "sessions": t.sessions if t else int(journal["facts"].get("sessions", "0") or 0),
        "last_session_s": t.duration_s if t else None,
        "all_sessions_s": clock.span_s,
        "position_mm": list(outcome.position_mm) if outcome and outcome.position_mm else None,
        "messages": sum(telemetry.counts.values()),
        "meter_j": _metered_j(telemetry),
    }


def _metered_j(telemetry: Telemetry) -> float | None:
    """What the energy meter counted over the sessions, J."""
    meter = telemetry.signals.get("meter")
    if meter is None:
        return None
    for name, scale in (("import_energy_kwh", 3.6e6), ("total_energy_kwh", 3.6e6)):
        values = np.array(meter.values.get(name, []), float)
        values = values[np.isfinite(values)]
        if len(values) > 1:
            return float(values[-1] - values[0]) * scale
    return None


def _layer_rows(
    outcome: Outcome | None, journal: dict[str, Any], got: Gathered, declared: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One row a layer, of every layer that any source knows."""
    claims: dict[int, tuple[bool, int, float]] = {
        row["index"]: (row["committed"], row["blocks"] if row["committed"] else 0, row["energy_j"])
        for row in journal["layers"]
    }
    if outcome is not None:
        claims |= {row.index: (row.committed, row.blocks_claimed, row.energy_j) for row in outcome.layers}
    plans = {row.layer.index: row for row in got.layers}
    looks: dict[int, list[Any]] = {}
    for look in got.telemetry.looks:
        looks.setdefault(look.layer, []).append(look)
    measured_s = _exposing_s(got)
    true = _true_layers(got)
    phases = {row["index"]: row["phase"] for row in journal["layers"]}
    rows = []
    for index in sorted(plans.keys() | claims.keys()):
        committed, blocks, energy_j = claims.get(index, (False, 0, 0.0))
        powder = [look for look in looks.get(index, []) if look.label == "powder"]
        exposed = [look for look in looks.get(index, []) if look.label == "exposed"]
        plan = plans.get(index)
        planned_s = None
        if plan is not None and got.job is not None:
            planned_s = path_time(plan.path, got.job.envelope, plan.jump_speed_mm_s).total_s
        rows.append(
            {
                "index": index,
                "z_mm": plan.layer.z_mm if plan else None,
                "committed": committed,
                "phase": phases.get(index, "committed" if committed else "not begun"),
                "vectors_planned": len(plan.path) if plan else None,
                "vectors_claimed": blocks,
                "energy_planned_j": plan.path.energy_j if plan else None,
                "energy_claimed_j": energy_j,
                "strokes": len(powder),
                "powder": _powder_words(powder[-1]) if powder else None,
                "exposed": _exposed_words(exposed[-1]) if exposed else None,
                "scan_planned_s": planned_s,
                "exposing_s": measured_s.get(index),
                "flags": sorted({str(d["kind"]) for d in declared if int(d["layer"]) == index}),
                **true.get(index, {}),
            }
        )
    return rows


def _scan_time(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """Predicted and measured scan seconds, each summed over the layers that are complete."""

    def total(key: str) -> float | None:
        found = [row.get(key) for row in rows if row["committed"]]
        known = [float(value) for value in found if value is not None]
        return sum(known) if known and len(known) == len(found) else None

    return {"planned_s": total("scan_planned_s"), "exposing_s": total("exposing_s"), "true_s": total("scan_true_s")}


def _powder_words(look: Any) -> dict[str, Any]:
    known = look.quality == "ok"
    return {"quality": look.quality, "reason": look.reason,
            "coverage_fraction": look.coverage_fraction if known else None,
            "thin_area_mm2": look.thin_area_mm2 if known else None}  # fmt: skip


def _exposed_words(look: Any) -> dict[str, Any]:
    known = look.quality == "ok"
    return {"quality": look.quality, "reason": look.reason, "iou": look.iou if known else None,
            "missing_mm2": look.missing_mm2 if known else None,
            "excess_mm2": look.excess_mm2 if known else None}  # fmt: skip


def _exposing_s(got: Gathered) -> dict[int, float]:
    """Seconds that each layer was being exposed, as the host's progress tells; attempts of a layer are added up."""
    total: dict[int, float] = {}
    for start_s, end_s, style, words in got.phases:
        found = re.match(r"layer (\d+): exposing", words)
        if style == "exposing" and found:
            index = int(found.group(1)) - 1
            total[index] = total.get(index, 0.0) + end_s - start_s
    return total


def _true_layers(got: Gathered) -> dict[int, dict[str, Any]]:
    """Per layer what the truth holds: blocks, energy, time from the first block's start to the last one's end."""
    truth = got.truth
    if truth is None or got.job is None or not len(truth.t0_s):
        return {}
    layer = layer_of_blocks(truth, got.job.manifest.z_mm)
    rows: dict[int, dict[str, Any]] = {}
    for index in np.unique(layer[layer >= 0]).tolist():
        mine = layer == index
        rows[int(index)] = {
            "blocks_true": int(mine.sum()),
            "energy_true_j": float(np.nansum(truth.energy_j[mine])),
            "scan_true_s": float(np.nanmax(truth.t1_s[mine]) - np.nanmin(truth.t0_s[mine])),
        }
    return rows


def _truth_facts(got: Gathered) -> dict[str, Any] | None:
    truth = got.truth
    if truth is None:
        return None
    facts = dict(truth.end.get("facts", {})) if truth.end else {}
    density = part_density_kg_m3(truth, got.layers)
    out: dict[str, Any] = {
        "closed": truth.end is not None,
        "blocks": len(truth.t0_s),
        "beam_energy_j": truth.end.get("beam_energy_j") if truth.end else float(np.nansum(truth.energy_j)),
        "end_s": truth.end.get("end_s") if truth.end else None,
        "beam_live": truth.end.get("beam_live") if truth.end else None,
        "crashes": truth.end.get("crashes") if truth.end else None,
        "dwells": truth.dwells,
        "dwell_energy_j": truth.dwell_energy_j,
        "strips": truth.powder,
        "short_fills": truth.short_fills,
        "faults": truth.strikes,
        "balance": {key: float(value) for key, value in facts.items() if isinstance(value, int | float)},
        "density": None,
        "peak_temp_c": None,
    }
    peak = truth.maps.get("peak_temp_c")
    if peak is not None and np.isfinite(peak).any():
        out["peak_temp_c"] = float(np.nanmax(peak))
    if density is not None:
        mean, low, high = density
        pores = porosity(mean)
        strength = [strength_mpa(share) for share in reversed(pores)]
        out["density"] = {
            "mean_kg_m3": mean, "p05_kg_m3": low, "p95_kg_m3": high, "porosity": list(pores),
            "strength_mpa": strength, "defect_factor": DEFECT_FACTOR,
            "wall_10_m_mpa": mean * MOON_GRAVITY_M_S2 * 10.0 / 1e6,
        }  # fmt: skip
    return out


def without_nan(value: Any) -> Any:
    """Plain data with null where a number is none, so that any JSON reader takes it."""
    if isinstance(value, dict):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
