"""What a drive left in its folder, as one page: where it went, what the ground and the guard did, what it took."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.errors import MoonkilnError
from control.report_drawing import Curve, line_chart
from control.report_telemetry import Event, decoder, messages, telemetry_files
from control.rover.ground.dem import Crs, Dem
from control.rover.outcome import DriveOutcome, read_drive_outcome
from control.rover.route.route_file import Route, read_route
from control.rover.surroundings import map_of
from control.rover.views.drawing import Line, Spot, map_svg, shaded
from control.rover.views.page import Page, hours, write_page
from control.rover.views.route_view import around, profile, spots

PAGE_NAME = "report.html"
STATUS_STYLE = {"done": "good", "stopped": "warn", "cancelled": "warn", "failed": "bad"}
VERDICT_STYLE = {"exact": "good", "degraded": "good", "detected": "warn"}
STEPS_MAX, EVENTS_MAX = 40_000, 200
TRUTH_COLUMNS = ("t_s", "x_m", "y_m", "z_m", "roll_rad", "pitch_rad", "yaw_rad", "slip", "power_w")
Floats = NDArray[np.float64]


def write_drive_report(run_dir: Path, *, truth_dir: Path | None = None, output: Path | None = None) -> Path:
    """Write a drive's report and return its page.

    Args:
        truth_dir: folder with the simulated world's `truth.npz`; None looks in the run's folder.

    Raises:
        MoonkilnError: no drive in that folder, or its files are damaged; the sentence names the file.
    """
    run_dir = Path(run_dir)
    outcome = read_drive_outcome(run_dir)
    route = read_route(run_dir / "route.json")
    notes: list[str] = []
    steps, events = _record(run_dir, notes)
    truth, verdict = _truth(truth_dir or run_dir, notes)
    page = Page(
        title=f"Drive of {route.name}",
        badge=_badge(outcome, verdict),
        sentences=_sentences(outcome, verdict),
        map=_map(route, run_dir, steps, truth, notes),
        legend=[("plan", "planned way"), ("belief", "where the host believed to be")]
        + ([("truth", "true track (simulated)")] if truth else []),
        tiles=_tiles(outcome, route),
        charts=[("Profile", profile(route)), ("The drive", _charts(steps, truth))],  # type: ignore[list-item]
        tables=[
            (
                "What the guard held back",
                ("from", "for", "action", "why"),
                [
                    (f"{h.from_s:.0f} s", f"{h.until_s - h.from_s:.0f} s", h.action.lower(), h.sentence)
                    for h in outcome.held
                ],
            ),
            ("Warnings and errors", ("level", "what"), [(e.level, e.text) for e in events if e.level != "info"]),
        ],
        notes=notes,
    )
    return write_page(page, Path(output) if output is not None else run_dir / PAGE_NAME)


def is_drive(run_dir: Path) -> bool:
    """Whether a run folder is a drive's."""
    return (Path(run_dir) / "route.json").is_file()


def _record(run_dir: Path, notes: list[str]) -> tuple[dict[str, Floats], list[Event]]:
    """The drive's cycles by their numbers, thinned where there are very many, and its events."""
    rows: list[tuple[int, Any]] = []
    events: list[Event] = []
    decoders: dict[bytes, Any] = {}
    stride, seen = 1, 0
    for path in telemetry_files(run_dir):
        for item in messages(path, notes):
            if isinstance(item, dict) or item.topic not in ("/rover/drive", "/events"):
                continue
            if item.topic == "/rover/drive":
                seen += 1
                if seen % stride:
                    continue
            try:
                decode = decoders.get(item.schema[2]) or decoders.setdefault(item.schema[2], decoder(item.schema))
                message = decode(item.data)
            except Exception as error:  # a damaged record breaks protobuf in many ways
                notes.append(f"a record of {path.name} cannot be read: {error}")
                continue
            if item.topic == "/events":
                if len(events) < EVENTS_MAX:
                    level = {3: "warning", 4: "error"}.get(int(message.level), "info")
                    events.append(Event(item.log_time_ns, level, str(message.message)))
            else:
                rows.append((item.log_time_ns, message))
                if len(rows) > STEPS_MAX:
                    rows, stride = rows[::2], 2 * stride
    if not rows:
        return {}, events
    names = [f.name for f in rows[0][1].DESCRIPTOR.fields if f.cpp_type == f.CPPTYPE_DOUBLE]
    steps = {name: np.array([getattr(message, name) for _, message in rows]) for name in names}
    steps["t_s"] = (np.array([t for t, _ in rows], dtype=np.float64) - rows[0][0]) / 1e9
    return steps, events


def _truth(folder: Path, notes: list[str]) -> tuple[dict[str, Floats], dict[str, Any]]:
    """The simulated truth, by column, and the oracle's verdict; empty where there is none."""
    path = folder / "truth.npz"
    if not path.is_file():
        notes.append("There is no simulated truth: on hardware nobody knows better than the instruments.")
        return {}, {}
    try:
        with np.load(path, allow_pickle=False) as file:
            track, said = np.asarray(file["track"], dtype=np.float64), json.loads(str(file["judgement"]))
        if track.ndim != 2 or track.shape[1] != len(TRUTH_COLUMNS) or not len(track):
            raise ValueError(f"its track has the shape {track.shape}")
    except Exception as error:  # numpy and zipfile fail in many ways
        raise MoonkilnError(f"{path} is no simulated truth, or it was damaged: {error}", 2) from error
    kept = track[:: max(1, math.ceil(len(track) / STEPS_MAX))]
    return dict(zip(TRUTH_COLUMNS, kept.T, strict=True)), said


def _badge(outcome: DriveOutcome, verdict: dict[str, Any]) -> tuple[str, str]:
    status = outcome.status.value
    style = STATUS_STYLE.get(status, "warn")
    if "verdict" in verdict:
        worst = VERDICT_STYLE.get(str(verdict["verdict"]), "bad")
        return f"{status}; oracle: {verdict['verdict']}", worst if worst == "bad" else style
    return status, style


def _sentences(outcome: DriveOutcome, verdict: dict[str, Any]) -> list[str]:
    said = [outcome.reason[:1].upper() + outcome.reason[1:] + "."]
    if "reasons" in verdict:
        said.append(f"Against the simulated truth: {'; '.join(map(str, verdict['reasons']))}.")
    if not outcome.map_watched:
        said.append("The route's map was not at hand: hazards, fence and havens were not watched.")
    return said


def _map(route: Route, run_dir: Path, steps: dict[str, Floats], truth: dict[str, Floats], notes: list[str]) -> Any:
    """The ground with the three tracks; without the map, on plain ground."""
    try:
        ground = around(route, map_of(route, run_dir))
    except MoonkilnError as error:
        notes.append(f"The map is drawn without its ground: {error}.")
        low, high = route.waypoints_m.min(axis=0) - 20.0, route.waypoints_m.max(axis=0) + 20.0
        cell = max(float((high - low).max()) / 200, 0.1)
        shape = int((high[1] - low[1]) / cell) + 2, int((high[0] - low[0]) / cell) + 2
        ground = Dem(np.zeros(shape, np.float32), float(low[0]), float(low[1]), cell, Crs("local"))
    lines = [Line(route.waypoints_m, "plan", "planned way")]
    if truth:
        lines.append(Line(np.column_stack((truth["x_m"], truth["y_m"])), "truth", "true track"))
    if steps:
        lines.append(Line(np.column_stack((steps["x_m"], steps["y_m"])), "belief", "believed track"))
    last = [Spot(float(steps["x_m"][-1]), float(steps["y_m"][-1]), "held", "stands here")] if steps else []
    return map_svg(ground, shaded(ground, None), lines, [*spots(route), *last], "Map of the drive")


def _tiles(outcome: DriveOutcome, route: Route) -> list[tuple[str, str]]:
    t, p = outcome.totals, route.predicted
    return [
        (f"{outcome.progress_m:.1f} m", f"of {outcome.route_length_m:.1f} m"),
        (hours(t.duration_s), f"planned {hours(p.duration_s)}"),
        (f"{t.energy_wh:.1f} Wh", f"planned {p.energy_wh:.1f} Wh"),
        (f"{100 * outcome.cross_track_rms_m:.1f} cm", "beside the path, rms"),
        (f"{100 * outcome.cross_track_max_m:.1f} cm", "beside the path, at most"),
        (f"{len(outcome.held)}", "times held back"),
        (f"{outcome.detours}", "detours"),
        (f"{t.commands:,}", f"commands; {t.polls:,} polls"),
    ]


def _charts(steps: dict[str, Floats], truth: dict[str, Floats]) -> list[tuple[str, Any, list[tuple[str, str]]]]:
    """Path error, slip, tilt, power and charge over time."""
    if not steps:
        return []
    t = steps["t_s"]
    span = max(float(t[-1]), 1e-3)
    true_t = truth["t_s"] - truth["t_s"][0] if truth else t
    tilt = np.degrees(np.arccos(np.clip(np.cos(steps["roll_rad"]) * np.cos(steps["pitch_rad"]), -1, 1)))
    believed = [("cool", "believed")]
    both = [*believed, ("hot", "true")] if truth else believed

    def chart(name: str, unit: str, own: Floats, true: Floats | None = None) -> tuple[str, Any, list[tuple[str, str]]]:
        curves = [Curve("believed", "cool", t, own)]
        if truth and true is not None:
            curves.append(Curve("true", "hot", true_t, true))
        return name, line_chart(curves, span, unit, (), name), both if true is not None else believed

    true_tilt = (
        np.degrees(np.arccos(np.clip(np.cos(truth["roll_rad"]) * np.cos(truth["pitch_rad"]), -1, 1))) if truth else None
    )
    return [
        chart("Beside the path", "cm", 100 * steps["cross_track_m"]),
        chart("Slip", "%", 100 * steps["slip"], 100 * truth["slip"] if truth else None),
        chart("Speed commanded", "m/s", steps["speed_m_s"]),
        chart("Tilt", "deg", tilt, true_tilt),
        chart("Power drawn from the battery", "W", steps["power_w"]),
        chart("Charge", "%", 100 * steps["charge"]),
    ]
