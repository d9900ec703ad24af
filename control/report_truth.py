"""The truth that a simulated world left, read by its format: `truth.mcap` (JSON messages) and `truth_maps.npz`.

Control never imports the simulator; these two files are all that it may know of the world, and only afterwards.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.report_telemetry import messages
from slicer.job_layer import JobLayer

MCAP_NAME, MAPS_NAME = "truth.mcap", "truth_maps.npz"
MAP_BYTES_MAX = 512 * 1024 * 1024

# Ryshkewitch: strength = S0 exp(-B porosity). A two-point fit to sintered JSC-1A, which is solid through and through;
# parts built in layers reach about a tenth of it (2310 kg/m3 measured at 4.25 MPa where the fit gives about 40 MPa).
STRENGTH_S0_MPA, STRENGTH_B, DEFECT_FACTOR = 249.8, 9.19, 0.1
GRAIN_KG_M3 = (2900.0, 3100.0)  # lunar regolith and simulants, the range of what is published
MOON_GRAVITY_M_S2 = 1.62

Array = NDArray[Any]


@dataclass
class Truth:
    """What truly happened, as far as its files tell. Lengths in mm, times in loop seconds; `blocks` one row a block."""

    t0_s: Array
    t1_s: Array
    energy_j: Array
    plane_drop_mm: Array
    dwell_energy_j: float
    dwells: int
    powder: int
    short_fills: int
    strikes: list[dict[str, Any]]
    end: dict[str, Any] | None
    maps: dict[str, Array] = field(default_factory=dict)


def read_truth(folder: Path, notes: list[str]) -> Truth | None:
    """The truth in a folder, or None where there is none; what cannot be read is said in `notes`."""
    if not (folder / MCAP_NAME).is_file() and not (folder / MAPS_NAME).is_file():
        return None
    found: dict[str, list[dict[str, Any]]] = {}
    if (folder / MCAP_NAME).is_file():
        for item in messages(folder / MCAP_NAME, notes):
            if isinstance(item, dict):
                continue
            try:
                row = json.loads(item.data)
            except ValueError:
                row = None
            if isinstance(row, dict):
                found.setdefault(item.topic, []).append(row)
            else:
                notes.append(f"{MCAP_NAME}: a message of {item.topic} is not understood and is left out")
    else:
        notes.append(f"{folder} holds {MAPS_NAME} without {MCAP_NAME}: what was executed is not known")
    blocks = found.get("/truth/blocks", [])
    powder = found.get("/truth/powder", [])
    dwells = found.get("/truth/dwells", [])

    def column(key: str) -> Array:
        return np.array([float(row.get(key, np.nan)) for row in blocks], np.float64)

    return Truth(
        t0_s=column("t0_s"),
        t1_s=column("t1_s"),
        energy_j=column("energy_j"),
        plane_drop_mm=column("plane_drop_mm"),
        dwell_energy_j=float(sum(row.get("energy_j", 0.0) for row in dwells)),
        dwells=len(dwells),
        powder=len(powder),
        short_fills=sum(row.get("fill_fraction", 1.0) < 0.999 for row in powder),
        strikes=found.get("/truth/faults", []),
        end=found["/truth/end"][-1] if found.get("/truth/end") else None,
        maps=_read_maps(folder / MAPS_NAME, notes),
    )


def _read_maps(path: Path, notes: list[str]) -> dict[str, Array]:
    if not path.is_file():
        notes.append(f"{path.name} is missing: there are no maps of the bed")
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(item.file_size for item in archive.infolist()) > MAP_BYTES_MAX:
                notes.append(f"{path.name} is too large to be shown")
                return {}
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], np.float64) for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        notes.append(f"{path.name} cannot be read ({error}): there are no maps of the bed")
        return {}


def layer_of_blocks(truth: Truth, z_mm: Sequence[float]) -> Array:
    """For each executed block the layer whose plane the piston stood at; -1 where none is within 0.05 mm."""
    heights = np.asarray(z_mm, np.float64)
    if not len(heights) or not len(truth.plane_drop_mm):
        return np.full(len(truth.plane_drop_mm), -1)
    off = np.abs(truth.plane_drop_mm[:, None] - heights[None, :])
    nearest = off.argmin(axis=1)
    near = np.nan_to_num(off[np.arange(len(nearest)), nearest], nan=np.inf) <= 0.05
    return np.where(near, nearest, -1)


def inside(job_layer: JobLayer, x_mm: Array, y_mm: Array) -> NDArray[np.bool_]:
    """Which cell centres, (ny, nx), lie within a layer's outline (even-odd)."""
    hit = np.zeros((len(y_mm), len(x_mm)), bool)
    starts = job_layer.layer.loop_starts.tolist()
    for a, b in pairwise(starts):
        loop = job_layer.layer.points_mm[a:b]
        for (x0, y0), (x1, y1) in zip(loop.tolist(), np.roll(loop, -1, axis=0).tolist(), strict=True):
            if y0 == y1:
                continue
            rows = (y_mm >= min(y0, y1)) & (y_mm < max(y0, y1))
            cross = x0 + (y_mm - y0) * ((x1 - x0) / (y1 - y0))
            hit ^= rows[:, None] & (x_mm[None, :] > cross[:, None])
    return hit


def part_density_kg_m3(truth: Truth, layers: Sequence[JobLayer]) -> tuple[float, float, float] | None:
    """Mean, 5th and 95th percentile density of the voxels inside the part's outlines; None without voxels or layers.

    Voxel rows are taken to be evenly spread up to the last plane that was filled.
    """
    maps = truth.maps
    if not {"density_kg_m3", "x_centres_mm", "y_centres_mm", "layer_plane_drop_mm"} <= set(maps) or not layers:
        return None
    voxels = maps["density_kg_m3"]
    top_mm = float(maps["layer_plane_drop_mm"].max(initial=0.0))
    rows = np.flatnonzero(np.isfinite(voxels).any(axis=(1, 2))) if voxels.ndim == 3 else np.array([])
    if not len(rows) or top_mm <= 0:
        return None
    chosen = []
    tops = np.array([job_layer.layer.z_mm for job_layer in layers])
    masks: dict[int, NDArray[np.bool_]] = {}
    for row in rows:
        height_mm = (row + 0.5) / len(rows) * top_mm
        number = min(int(np.searchsorted(tops, height_mm)), len(layers) - 1)
        if number not in masks:
            masks[number] = inside(layers[number], maps["x_centres_mm"], maps["y_centres_mm"])
        values = voxels[row][masks[number]]
        chosen.append(values[np.isfinite(values)])
    density = np.concatenate(chosen)
    if not len(density):
        return None
    low, high = np.percentile(density, [5, 95])
    return float(density.mean()), float(low), float(high)


def porosity(density_kg_m3: float) -> tuple[float, float]:
    """Porosity for the lower and the upper grain density that are published; never below 0."""
    low, high = (max(0.0, 1.0 - density_kg_m3 / grain) for grain in GRAIN_KG_M3)
    return low, high


def strength_mpa(porosity_share: float) -> float:
    """Predicted compressive strength of a layered part, MPa: Ryshkewitch's law times the defect factor."""
    return STRENGTH_S0_MPA * float(np.exp(-STRENGTH_B * porosity_share)) * DEFECT_FACTOR
