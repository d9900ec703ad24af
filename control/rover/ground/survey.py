"""What a map holds for a rover, as pictures and GeoTIFFs: slope, roughness, steps, light, radio, havens.

Slope and the like are worked out on the map's own cells, light and radio on a coarser level of it where it has more
than a million. What lies beyond the map is taken for level ground, so light and radio are upper bounds near its rim.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.files import write_atomically
from control.report_drawing import DENSE, HEAT
from control.rover.energy import EnergyModel
from control.rover.ground.dem import Dem
from control.rover.ground.ephemeris import unix_s, utc_text
from control.rover.ground.geotiff import write_geotiff
from control.rover.ground.illumination import comms_fraction, horizon_map, lit_share
from control.rover.ground.terrain import Terrain, analyse, level_for
from control.rover.route.costmap import CostSettings, cost_map
from control.rover.route.havens import find_havens, lasts_s, longest_dark_s
from control.rover.route.route_file import Haven
from control.rover.views.drawing import Spot, coloured, map_svg, png, shaded
from control.rover.views.page import Page, write_page

LIGHT_CELLS_MAX = 1_000_000
PICTURE_CELLS_MAX = 1_500_000
FRAME_S = 6 * 3600.0
Grid = NDArray[np.float32]


@dataclass(frozen=True)
class SurveySettings:
    """For which rover and which time: from `from_s` (Unix) on for `days`; light and radio every six hours."""

    costs: CostSettings
    energy: EnergyModel
    reserve: float
    from_s: float
    days: float


@dataclass(frozen=True, eq=False)
class Layer:
    """One grid of a survey: its map, its colours from `low` to `high`, its unit."""

    name: str
    dem: Dem
    values: Grid
    low: float
    high: float
    unit: str
    colours: tuple[str, ...]


LAYERS = ("slope", "roughness", "step", "lit_fraction", "comms_fraction", "longest_dark_days")
FILES = (*(f"{name}.{ending}" for name in LAYERS for ending in ("tif", "png")), "survey.json", "index.html")
"""All that a survey may leave in its folder."""


def survey(
    dem: Dem, settings: SurveySettings, folder: Path, *, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Leave `index.html`, `survey.json`, and `NAME.png` and `NAME.tif` of each layer in a folder; returns the figures.

    A map in a local frame knows no Sun: light, radio and havens are left out, and `notes` says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ground = analyse(dem)
    progress(0.1)
    layers = [
        Layer("slope", dem, ground.slope_deg, 0.0, 30.0, "deg", HEAT),
        Layer("roughness", dem, ground.roughness_m, 0.0, _most(ground.roughness_m), "m", HEAT),
        Layer("step", dem, ground.step_m, 0.0, _most(ground.step_m), "m", HEAT),
    ]
    figures = _ground_figures(ground, settings)
    notes: list[str] = []
    havens: list[Haven] = []
    if dem.crs.kind == "local":
        notes.append(
            "This map has a local frame, so nobody knows where the Sun and the Earth stand over it: give it a"
            " georeference (--georef) for light, radio and havens."
        )
    else:
        lit, more, havens, said = _light(dem, settings, progress)
        layers += lit
        figures |= more
        notes += said
    figures["havens"] = [[h.x_m, h.y_m, h.lit_fraction] for h in havens]
    figures["notes"] = notes
    for layer in layers:
        write_geotiff(layer.dem, np.asarray(layer.values, np.float32), folder / f"{layer.name}.tif")
        shown = _shown(layer)
        write_atomically(folder / f"{layer.name}.png", png(coloured(shown[1], layer.low, layer.high, layer.colours)))
    write_atomically(folder / "survey.json", json.dumps(figures, indent=1, allow_nan=False).encode() + b"\n")
    _page(dem, settings, layers, havens, figures, folder)
    progress(1.0)
    return figures


def _most(values: Grid) -> float:
    """Where a colour scale ends: under it lie 99 of 100 cells."""
    known = values[np.isfinite(values)]
    return max(float(np.percentile(known, 99)), 1e-3) if known.size else 1.0


def _ground_figures(ground: Terrain, settings: SurveySettings) -> dict[str, Any]:
    slope = ground.slope_deg[np.isfinite(ground.slope_deg)]
    costs = cost_map(ground, settings.costs)
    shape = ground.dem.shape
    return {
        "map": ground.dem.name,
        "sha256": ground.dem.sha256,
        "cells": [shape[0], shape[1]],
        "cell_m": ground.dem.cell_m,
        "slope_mean_deg": round(float(slope.mean()), 3) if slope.size else None,
        "slope_p95_deg": round(float(np.percentile(slope, 95)), 3) if slope.size else None,
        "over_15_deg_share": round(float((slope > 15).mean()), 5) if slope.size else None,
        "over_20_deg_share": round(float((slope > 20).mean()), 5) if slope.size else None,
        "open_share": round(float(np.isfinite(costs.cost).mean()), 5),
        "slope_max_deg": settings.costs.slope_max_deg,
    }


def _light(
    dem: Dem, settings: SurveySettings, progress: Callable[[float], None]
) -> tuple[list[Layer], dict[str, Any], list[Haven], list[str]]:
    """Lit and heard fractions, the longest dark spell, and havens, on a level that can be worked out quickly."""
    cells = level_for(dem, LIGHT_CELLS_MAX)
    horizons = horizon_map(cells, progress=lambda share: progress(0.1 + 0.4 * share))
    times_s = settings.from_s + FRAME_S * np.arange(max(1, round(settings.days * 86400.0 / FRAME_S)))
    total, longest, spell = np.zeros(cells.shape, np.float32), np.zeros(cells.shape), np.zeros(cells.shape)
    coarse = level_for(cells, 40_000)
    frames = []
    for n, t_s in enumerate(times_s):
        share = lit_share(horizons, float(t_s))
        total += share
        longest = np.maximum(longest, spell := np.where(share >= 0.5, 0.0, spell + FRAME_S))
        times = cells.shape[0] // coarse.shape[0]
        square = share[: coarse.shape[0] * times, : coarse.shape[1] * times]
        frames.append(square.reshape(coarse.shape[0], times, coarse.shape[1], times).mean(axis=(1, 3)))
        progress(0.5 + 0.3 * (n + 1) / len(times_s))
    lit = total / np.float32(len(times_s))
    heard = comms_fraction(horizons, times_s)
    progress(0.95)
    rough = analyse(coarse)
    is_open = np.isfinite(cost_map(rough, settings.costs).cost)
    light = np.nan_to_num(np.stack(frames))
    havens = find_havens(
        coarse, rough.slope_deg, is_open, light, FRAME_S, settings.energy,
        reserve=settings.reserve, apart_m=max(100.0, 3 * coarse.cell_m),
    )  # fmt: skip
    best = np.unravel_index(int(np.nanargmax(lit)), lit.shape)
    x, y = cells.point(int(best[0]), int(best[1]))
    lasts_h = lasts_s(settings.energy, settings.reserve) / 3600.0
    figures = {
        "light_cell_m": cells.cell_m,
        "from_utc": utc_text(settings.from_s),
        "days": settings.days,
        "lit_fraction_mean": round(float(np.nanmean(lit)), 4),
        "lit_fraction_most": [float(x), float(y), round(float(lit[best]), 4)],
        "comms_fraction_mean": round(float(np.nanmean(heard)), 4),
        "longest_dark_least_h": round(float(longest_dark_s(light, FRAME_S).min()) / 3600.0, 1),
        "rover_lasts_h": round(lasts_h, 1) if math.isfinite(lasts_h) else None,  # asleep it may need nothing at all
    }
    notes = [
        f"Light and radio on cells of {cells.cell_m:g} m, every {FRAME_S / 3600:g} h; beyond the map the ground is"
        " taken for level."
    ]
    if not havens:
        notes.append(
            f"No haven: asleep the rover lasts {lasts_h:.1f} h, and no open, level place has its longest"
            " night shorter than that."
        )
    layers = [
        Layer("lit_fraction", cells, lit, 0.0, 1.0, "of the time", DENSE),
        Layer("comms_fraction", cells, heard, 0.0, 1.0, "of the time", DENSE),
        Layer("longest_dark_days", cells, (longest / 86400.0).astype(np.float32), 0.0, 18.0, "days", HEAT),
    ]
    return layers, figures, havens, notes


def _shown(layer: Layer) -> tuple[Dem, Grid]:
    """The layer in no more cells than a picture should have."""
    skip = 1
    while layer.values.size / skip**2 > PICTURE_CELLS_MAX:
        skip += 1
    values = np.ascontiguousarray(layer.values[::skip, ::skip])
    dem = replace(layer.dem, heights_m=values, cell_m=layer.dem.cell_m * skip)
    return dem, values


def _page(
    dem: Dem, settings: SurveySettings, layers: list[Layer], havens: list[Haven], figures: dict[str, Any], folder: Path
) -> None:
    ground = level_for(dem, PICTURE_CELLS_MAX)
    spots = [Spot(h.x_m, h.y_m, "haven", f"{h.lit_fraction:.0%}") for h in havens]
    charts = []
    for layer in layers:
        shown, values = _shown(layer)
        picture = map_svg(shown, coloured(values, layer.low, layer.high, layer.colours), [], spots, layer.name)
        words = f"{layer.name.replace('_', ' ')}: {layer.low:g} to {layer.high:.3g} {layer.unit}"
        charts.append((words, picture, [("aim", f"{layer.name}.tif, {layer.name}.png")]))
    tiles = [
        (f"{figures['slope_mean_deg']} deg", "mean slope"),
        (f"{100 * figures['open_share']:.1f} %", f"open at {settings.costs.slope_max_deg:g} deg"),
    ]
    if "lit_fraction_most" in figures:
        tiles += [
            (f"{100 * figures['lit_fraction_most'][2]:.0f} %", "best lit place"),
            (f"{len(havens)}", "havens"),
        ]
    page = Page(
        title=f"Survey of {dem.name}",
        map=map_svg(ground, shaded(ground), [], spots, "The map"),
        legend=[("belief", "havens, with the share of the time that they are lit")] if havens else [],
        tiles=tiles,
        charts=[("Layers", charts)],
        tables=[("Havens", ("x, m", "y, m", "lit"), [(h.x_m, h.y_m, f"{h.lit_fraction:.0%}") for h in havens])],
        notes=figures["notes"],
    )
    write_page(page, folder / "index.html")


def settings_for(
    costs: CostSettings, energy: EnergyModel, reserve: float, from_utc: str, days: float
) -> SurveySettings:
    """Settings with the time as a user writes it. TimeError for what is no date."""
    return SurveySettings(costs, energy, reserve, unix_s(from_utc), days)
