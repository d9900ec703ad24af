"""The preview: a whole job as one self-contained page, with playback by time and the report of what the plan is worth.

Pictures of a single layer are made by `slicer.pictures`; `layer_svg` and `layer_png` stand here too. The page's looks
and its script are the `preview*.j2` beside this file, its packed numbers are told in `slicer.page_data`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from slicer.dropped import feature_sentence
from slicer.job import Job
from slicer.job_layer import JobLayer
from slicer.page_data import BACK_LEAST_S, BACK_STEPS, NEVER, PageView, pack_layer, vector_times_s
from slicer.pictures import COLOURS, KIND_COLOURS, MARGIN_MM, layer_png, layer_svg
from slicer.quality import (
    LayerQuality,
    PlanQuality,
    PlanTally,
    ReturnTimes,
    layer_quality,
    recipe_return_times_s,
)
from slicer.recipe import RANGES, Recipe, absorbed_energy_j_kg
from slicer.sampling import EnergyMap
from slicer.scan import KINDS
from slicer.strategy import shown
from slicer.whole_file import whole_file

__all__ = ["COLOURS", "PAGE_VECTORS_MAX", "layer_png", "layer_svg", "write_html"]

PAGE_VECTORS_MAX = 2_000_000
"""About 55 MB of page; a larger job is shown with every second, third, ... layer, and the page says so."""

FEATURES_SHOWN = 200

RAMP = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
"""Colours from least to most, even in lightness and apart for colour-blind eyes: viridis (Smith, van der Walt 2015)."""


def write_html(
    job: Job,
    path: str | Path,
    progress: Callable[[int, int], None] | None = None,
) -> PlanQuality:
    """Write the whole job as one page that needs no network, and return the report that it shows.

    The page rounds positions to 1/65535 of the part's longer side (1 um for 65 mm), times to 1/65535 of the longest
    vector, return times to 0.05 %, and says so; it says which layers it holds if the job has more than
    PAGE_VECTORS_MAX vectors, and then reports on those alone.

    Raises:
        JobError: a layer is damaged. OSError: the page cannot be written; nothing is left half-written.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    manifest = job.manifest
    step = -(-manifest.vector_count // PAGE_VECTORS_MAX)
    shown = range(0, manifest.layer_count, max(1, step))
    tally = PlanTally()
    view = _view_of(job)
    text = environment.get_template("preview.html.j2").generate(
        manifest=manifest,
        recipe=job.recipe,
        recipe_rows=_recipe_rows(job.recipe),
        absorbed_mj_kg=absorbed_energy_j_kg(job.recipe) / 1e6,
        notes=job.notes_told(),
        strategy_rows=_strategy_rows(job.recipe),
        envelope=job.envelope,
        size_mm=[high - low for low, high in zip(*manifest.bounds_mm, strict=True)],
        colours=COLOURS,
        layer_step=step,
        view={
            "x": view.x_mm,
            "y": view.y_mm,
            "span": view.span_mm,
            "wide": manifest.bounds_mm[1][0] - manifest.bounds_mm[0][0] + 2 * MARGIN_MM,
            "high": manifest.bounds_mm[1][1] - manifest.bounds_mm[0][1] + 2 * MARGIN_MM,
            "spot": job.recipe.spot_mm,
            "width": job.recipe.track_width_mm,
            "kinds": [{"name": name, "colour": KIND_COLOURS[kind]} for kind, name in enumerate(KINDS)],
            "drawn": list(KIND_COLOURS),
            "ramp": RAMP,
            "backLeast": BACK_LEAST_S,
            "backSteps": BACK_STEPS,
            "never": NEVER,
        },
        step_um=view.step_mm * 1e3,
        layers=_page_layers(job, shown, view, tally, progress),
        report=lambda: _page_report(tally.plan(manifest.layer_count)),
    )
    with whole_file(path) as stream:
        for piece in text:
            stream.write(piece.encode())
    return tally.plan(manifest.layer_count)


def _view_of(job: Job) -> PageView:
    """The square around the part, with a margin."""
    low, high = job.manifest.bounds_mm
    x_mm, y_mm = low[0] - MARGIN_MM, low[1] - MARGIN_MM
    return PageView(x_mm, y_mm, max(high[0] - x_mm, high[1] - y_mm) + MARGIN_MM)


# ---- a layer


def _page_layers(
    job: Job,
    shown: range,
    view: PageView,
    tally: PlanTally,
    progress: Callable[[int, int], None] | None,
) -> Iterator[dict[str, Any]]:
    """What the page needs of each layer: its figures, its report and its packed vectors; the tally takes the report."""
    (x_0, y_0, _), (x_1, y_1, _) = job.manifest.bounds_mm
    for done, index in enumerate(shown, start=1):
        job_layer = job.layer(index)
        path = job_layer.path
        back_s = recipe_return_times_s(path, job.recipe)
        report = layer_quality(
            job_layer.layer,
            path,
            job.recipe,
            return_time_s=back_s,
            window_mm=(x_0, y_0, x_1 - x_0, y_1 - y_0),
        )
        tally.add(report)
        times_s = vector_times_s(path, job.envelope, job_layer.jump_speed_mm_s)
        packed = pack_layer(job_layer, view, times_s, back_s)
        data = packed.pop("data")
        yield {"figures": {**packed, **_figures(job_layer, report, times_s)}, "data": data}
        if progress is not None:
            progress(done, len(shown))


def _figures(job_layer: JobLayer, report: LayerQuality, times_s: tuple[Any, Any]) -> dict[str, Any]:
    layer, path = job_layer.layer, job_layer.path
    beam_on_s = float((times_s[1] - times_s[0]).sum())
    return {
        "number": layer.index + 1,
        "heads": int(path.beam.max(initial=0)) + 1,
        "kinds": np.bincount(path.kind, minlength=len(KINDS)).tolist(),
        "volume_j_mm3": None if report.energy.volume_j_mm3 is None else list(astuple(report.energy.volume_j_mm3)),
        "z_mm": round(layer.z_mm, 4),
        "thickness_mm": layer.thickness_mm,
        "length_m": round(path.length_mm / 1e3, 3),
        "energy_kj": round(path.energy_j / 1e3, 3),
        "beam_on_s": round(beam_on_s, 2),
        "waiting_s": round(float(path.wait_s.sum()), 2),
        "coverage_percent": report.cover.coverage_percent,
        "area_in_mm2": report.books.area_in_mm2,
        "area_hatched_mm2": report.books.area_hatched_mm2,
        "missing_mm2": report.books.missing_mm2,
        "dropped": len(report.features) + report.features_unlisted,
        "map": None if report.energy_map is None else _packed_map(report.energy_map),
    }


def _packed_map(energy: EnergyMap) -> dict[str, Any]:
    """The energy map as bytes: 0 where it knows nothing, 1 to 255 from least to most."""
    known = np.isfinite(energy.j_mm2)
    rows, columns = energy.j_mm2.shape
    least = float(energy.j_mm2[known].min()) if known.any() else 0.0
    most = float(energy.j_mm2[known].max()) if known.any() else 0.0
    scaled = np.zeros((rows, columns))
    scaled[known] = 1 + np.rint((energy.j_mm2[known] - least) * (254 / (most - least) if most > least else 0.0))
    return {
        "rows": rows,
        "columns": columns,
        "cell_mm": energy.cell_mm,
        "least": least,
        "most": most,
        "data": base64.b64encode(scaled.astype(np.uint8).tobytes()).decode(),
    }


# ---- the report


@dataclass(frozen=True, slots=True)
class _Bar:
    """One bar of the return-time histogram, in percent of the picture: where, how wide, how high, and its words."""

    x: float
    width: float
    height: float
    words: str


def _page_report(plan: PlanQuality) -> dict[str, Any]:
    features = [
        {
            "sentence": feature_sentence(feature),
            "cause": feature.cause,
            "layer": feature.first_layer + 1,
            "last": feature.last_layer + 1,
            "x": feature.x_mm,
            "y": feature.y_mm,
            "low": feature.low_mm,
            "high": feature.high_mm,
            "area_mm2": feature.area_mm2,
        }
        for feature in plan.features[:FEATURES_SHOWN]
    ]
    return {
        "plan": plan,
        "sentences": plan.sentences(),
        "features": features,
        "features_unlisted": len(plan.features) - len(features) + plan.features_unlisted,
        "curve": _coverage_curve(plan),
        "bars": [] if plan.return_times is None else _bars(plan.return_times),
    }


def _coverage_curve(plan: PlanQuality) -> dict[str, Any]:
    """Coverage layer by layer as the corners of a line, x and y in percent of the picture, and what its ends mean."""
    covered = [(layer.index, layer.cover.coverage_percent) for layer in plan.layers]
    known = [(index, percent) for index, percent in covered if percent is not None]
    if not known:
        return {"points": "", "least": 0.0, "most": 0.0}
    least, most = min(percent for _, percent in known), max(percent for _, percent in known)
    floor = min(least, most - 0.1)
    first, last = known[0][0], max(known[-1][0], known[0][0] + 1)
    points = " ".join(
        f"{100 * (index - first) / (last - first):.2f},{40 * (most - percent) / (most - floor):.2f}"
        for index, percent in known
    )
    return {"points": points, "least": floor, "most": most}


def _bars(times: ReturnTimes) -> list[_Bar]:
    lengths_mm = [*times.length_mm, times.first_mm]
    edges = [f"{edge:.2g} s" for edge in times.edges_s]
    words = [f"{a} to {b}" for a, b in pairwise(edges)]
    words = [f"under {edges[1]}", *words[1:-1], f"{edges[-2]} or more", "no earlier neighbour"]
    most, width = max(lengths_mm) or 1.0, 100 / len(lengths_mm)
    return [
        _Bar(i * width, 0.86 * width, 40 * length / most, f"{word}: {length / 1e3:,.3f} m")
        for i, (length, word) in enumerate(zip(lengths_mm, words, strict=True))
    ]


def _recipe_rows(recipe: Recipe) -> list[dict[str, str]]:
    rows = []
    for key, (_, _, unit) in RANGES.items():
        value, evidence = getattr(recipe, key), recipe.evidence.get(key)
        rows.append(
            {
                "key": key,
                "value": "none" if value is None else f"{value:g}",
                "unit": "" if value is None else unit,
                "kind": evidence.kind if evidence else "unknown",
                "source": evidence.source if evidence else "no evidence given",
            }
        )
    return rows


def _strategy_rows(recipe: Recipe) -> list[tuple[str, str]]:
    """What the recipe's strategy asks for beyond what the slicer does by itself."""
    chosen = ((field.name, getattr(recipe.strategy, field.name), field.default) for field in fields(recipe.strategy))
    return [(name, shown(value)) for name, value, own in chosen if value != own]
