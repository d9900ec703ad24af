"""The build report: what a run left in its folder, as one self-contained page and as `report.json` beside it.

The page needs no network and no script, prints on A4 and reads on light and dark ground. It says what is claimed, what
was measured, what is predicted, and what is not known.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from control.files import write_atomically
from control.report_data import Gathered, gather, without_nan
from control.report_drawing import DENSE, HEAT, Curve, bed_map, course, data_url, line_chart, solid
from control.report_truth import GRAIN_KG_M3, STRENGTH_B, STRENGTH_S0_MPA
from slicer.words import duration as duration_words

TEMPLATES = Path(__file__).parent
PAGE_NAME = "report.html"
THUMBNAIL_PIXELS = 360
SVG_VECTORS_MAX = 4000  # a layer with more is drawn as pixels
DENSE_LAYERS_MAX = 6  # of those, which take a third of a second each
TABLE_ROWS_MAX = 150
EVENT_ROWS_MAX = 80
CHARTS = (  # title, unit, and of each curve: device, signal, name, style
    (
        "Bed temperature",
        "°C",
        (("heater", "bed_temp_c", "bed", "hot"), ("heater", "working_setpoint_c", "set-point", "aim")),
    ),
    ("Beam", "W", (("beam", "emission_w", "emission read back", "hot"), ("beam", "power_w", "set-point", "aim"))),
    ("Power drawn", "W", (("meter", "power_w", "meter", "cool"),)),
    ("Irradiance", "W/m2", (("pyranometer", "irradiance_w_m2", "pyranometer", "hot"),)),
    ("Supply", "A", (("supply", "output_a", "output", "cool"),)),
    ("Conveyor", "Hz", (("conveyor", "output_hz", "output", "cool"), ("conveyor", "commanded_hz", "set-point", "aim"))),
)
ROUTINE = re.compile(r"machine: (ready|armed|exposing|safe|fault) -> (ready|armed|exposing|safe) ")
STATUS_STYLE = {"done": "good", "stopped": "warn", "cancelled": "warn", "no outcome": "warn", "unknown": "warn"}

Window = tuple[float, float, float, float]


def write_report(run_dir: Path, *, truth_dir: Path | None = None, output: Path | None = None) -> Path:
    """Write the report of a run and return its page.

    Args:
        truth_dir: folder with the simulated world's `truth.mcap` and `truth_maps.npz`; None looks in the run's folder.
        output: the page; None is `RUN_DIR/report.html`. The same facts go beside it, with the suffix `.json`.

    Raises:
        MoonkilnError: no run in that folder. FileError: the page cannot be written; an older one is untouched.
    """
    import jinja2

    run_dir = Path(run_dir)
    page = Path(output) if output is not None else run_dir / PAGE_NAME
    got = gather(run_dir, truth_dir)
    try:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"si": si, "clock": duration, "number": number}
        text = environment.get_template("report.html.j2").render(r=got.facts, **_pictures(got))
        facts = json.dumps(without_nan(got.facts), indent=1, allow_nan=False, ensure_ascii=False)
    finally:
        if got.job is not None:
            got.job.close()
    write_atomically(page, text.encode("utf-8", "replace"))
    write_atomically(page.with_suffix(".json"), facts.encode("utf-8", "replace") + b"\n")
    return page


# ---- words for numbers


def number(value: float | int | None, digits: int = 3) -> str:
    """A number with that many digits that count, thousands apart; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if isinstance(value, int) or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def si(value: float | None, unit: str) -> str:
    """A number with its unit and the thousand that fits: 23.4 kJ."""
    if value is None or not math.isfinite(value):
        return "–"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{number(value / factor)} {prefix}{unit}"
    return f"{number(value)} {unit}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 2 h 05 min."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    return duration_words(seconds)


# ---- pictures


def _pictures(got: Gathered) -> dict[str, Any]:
    """Everything drawn that the template places."""
    facts, layers = got.facts, {row.layer.index: row for row in got.layers}
    committed = {row["index"] for row in facts["layers"] if row["committed"]}
    flagged = {row["index"] for row in facts["layers"] if row["flags"]}
    rows = facts["layers"]
    shown = rows
    if len(rows) > TABLE_ROWS_MAX:
        step = -(-len(rows) // TABLE_ROWS_MAX)
        shown = [row for n, row in enumerate(rows) if n % step == 0 or row["flags"] or n == len(rows) - 1]
    pictured = set(facts["pictured_layers"])
    dense = [n for n in sorted(pictured & set(layers)) if len(layers[n].path) > SVG_VECTORS_MAX]
    step = -(-len(dense) // DENSE_LAYERS_MAX) or 1
    drawn = pictured - (set(dense) - set(dense[::step]))
    events = facts["events"]
    told = [event for event in events if event["level"] != "info" or not ROUTINE.match(event["text"])]
    worst_first = sorted(told, key=lambda e: {"error": 0, "warning": 1}.get(e["level"], 2))[:EVENT_ROWS_MAX]
    chosen = {id(event) for event in worst_first}
    return {
        "status_style": STATUS_STYLE.get(facts["verdict"]["status"], "bad"),
        "part": solid(got.layers, committed, flagged),
        "course": course(got.phases, got.marks, got.clock.span_s, got.clock.breaks_s),
        "phase_names": sorted({style for _, _, style, _ in got.phases}),
        "charts": _charts(got),
        "maps": _maps(got),
        "gallery": [_card(got, layers, row, row["index"] in drawn) for row in rows if row["index"] in pictured],
        "rows": shown,
        "events": [event for event in events if id(event) in chosen],
        "law": {"s0_mpa": STRENGTH_S0_MPA, "b": STRENGTH_B, "grain": GRAIN_KG_M3},
    }


def _charts(got: Gathered) -> list[dict[str, Any]]:
    charts = []
    for title, unit, wanted in CHARTS:
        curves, polls = [], 0
        for device, signal, name, style in wanted:
            signals = got.telemetry.signals.get(device)
            if signals is not None and len(signals.values.get(signal, [])):
                t_s = got.clock.seconds(np.array(signals.times_ns, np.int64))
                curves.append(Curve(name, style, t_s, np.array(signals.values[signal], np.float64)))
                polls = signals.polls
        svg = line_chart(curves, got.clock.span_s, unit, got.clock.breaks_s, f"{title} over time")
        if svg:
            legend = [(curve.name, curve.style) for curve in curves]
            charts.append({"title": title, "unit": unit, "svg": svg, "legend": legend, "polls": polls})
    return charts


def _maps(got: Gathered) -> list[dict[str, Any]]:
    if got.truth is None:
        return []
    maps = got.truth.maps
    x_mm, y_mm = maps.get("x_centres_mm"), maps.get("y_centres_mm")
    if x_mm is None or y_mm is None or x_mm.ndim != 1 or y_mm.ndim != 1:
        return []
    outline = got.layers[0] if got.layers else None
    across, along = _window(got, x_mm, y_mm)
    found = []
    for key, title, unit, colours in (
        ("peak_temp_c", "Peak temperature", "°C", HEAT),
        ("mean_density_kg_m3", "Density, mean over the height", "kg/m³", DENSE),
    ):
        values = maps.get(key)
        if values is None or values.shape != (len(y_mm), len(x_mm)):
            continue
        window = (values[along, across], x_mm[across], y_mm[along])
        svg = bed_map(*window, colours=colours, unit=unit, label=title, outline=outline)
        if svg:
            found.append({"title": title, "svg": svg})
    voxels, planes = maps.get("density_kg_m3"), maps.get("layer_plane_drop_mm")
    if voxels is not None and planes is not None and voxels.ndim == 3 and voxels.shape[1:] == (len(y_mm), len(x_mm)):
        middle = (along.start + along.stop) // 2
        top_mm = float(np.max(planes, initial=0.0))
        rows = np.flatnonzero(np.isfinite(voxels).any(axis=(1, 2)))
        if len(rows) and top_mm > 0:
            z_mm = (np.arange(len(rows)) + 0.5) * top_mm / len(rows)
            title = f"Density, section at y = {y_mm[middle]:.0f} mm"
            section = (voxels[rows][:, middle, across], x_mm[across], z_mm)
            svg = bed_map(*section, colours=DENSE, unit="kg/m³", label=title, y_name="z")
            if svg:
                found.append({"title": title, "svg": svg})
    return found


def _window(got: Gathered, x_mm: Any, y_mm: Any) -> tuple[slice, slice]:
    """The cells around the part, with a margin; all of them where the part is not known."""
    if got.job is None:
        return slice(0, len(x_mm)), slice(0, len(y_mm))
    (low_x, low_y, _), (high_x, high_y, _) = got.job.manifest.bounds_mm
    margin = 0.12 * max(high_x - low_x, high_y - low_y)

    def cells(centres: Any, low: float, high: float) -> slice:
        inside = np.flatnonzero((centres >= low - margin) & (centres <= high + margin))
        return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) > 1 else slice(0, len(centres))

    return cells(x_mm, low_x, high_x), cells(y_mm, low_y, high_y)


def _card(got: Gathered, layers: dict[int, Any], row: dict[str, Any], with_path: bool) -> dict[str, Any]:
    """One layer's pictures as data URLs: the planned path (where asked for), the powder, the exposed bed."""
    index = row["index"]
    plan = layers.get(index)
    card: dict[str, Any] = {"row": row, "path": _path_picture(got, plan) if plan and with_path else None}
    for label in ("powder", "exposed"):
        judged = row[label] is not None and row[label]["quality"] == "ok"
        card[label] = _thumbnail(got.telemetry.pictures.get((index, label)), _part_on_plate(got) if judged else None)
    return card


def _part_on_plate(got: Gathered) -> Window | None:
    """Where on a picture of the whole plate the part lies, as shares of its width and height from the top left; 4:3."""
    if got.job is None or got.plate_mm is None:
        return None
    (low_x, low_y, _), (high_x, high_y, _) = got.job.manifest.bounds_mm
    plate_x, plate_y = got.plate_mm
    wide = min(1.35 * max(high_x - low_x, (high_y - low_y) * 4 / 3), plate_x, plate_y * 4 / 3)
    tall = wide * 3 / 4
    left = min(max((low_x + high_x - wide) / 2, 0.0), plate_x - wide)
    top = min(max(plate_y - (low_y + high_y + tall) / 2, 0.0), plate_y - tall)
    return left / plate_x, top / plate_y, (left + wide) / plate_x, (top + tall) / plate_y


def _path_picture(got: Gathered, plan: Any) -> str | None:
    from slicer.preview import layer_png, layer_svg

    if got.job is None:
        return None
    if len(plan.path) <= SVG_VECTORS_MAX:
        corners = np.concatenate([plan.layer.points_mm, plan.path.vectors_mm.reshape(-1, 2)])
        width_mm = float(np.ptp(corners, axis=0).max()) if len(corners) else 1.0
        bolder = f"path{{stroke-width:{(width_mm + 4.0) / 230:.3f}}}</style>"  # it is shown a few cm wide
        return data_url("image/svg+xml", layer_svg(plan, got.job.envelope).replace("</style>", bolder, 1).encode())
    return _thumbnail(layer_png(plan, got.job.envelope))


def _thumbnail(picture: bytes | None, window: Window | None = None) -> str | None:
    """A picture (or a window of it) made small enough for a page; None for one that is absent or cannot be read."""
    if not picture:
        return None
    import cv2

    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    if window is not None:
        rows, columns = image.shape[:2]
        x0, y0, x1, y1 = (round(share * size) for share, size in zip(window, (columns, rows) * 2, strict=True))
        image = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    scale = THUMBNAIL_PIXELS / image.shape[1]
    if scale < 1:
        size = (THUMBNAIL_PIXELS, max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return data_url("image/jpeg", bytes(data)) if done else None
