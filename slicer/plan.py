"""From a mesh file to a job file: the one orchestration of the slicer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slicer.choices import doubts, idle
from slicer.compiling import compiled_beside
from slicer.envelope import Envelope
from slicer.fill import fill
from slicer.heads import side_by_side, split_among, times_s
from slicer.heights import adaptive_edges
from slicer.job import JobHead, Manifest
from slicer.job_layer import JobLayer
from slicer.job_writing import PackedLayer, pack_layer, write_packed
from slicer.layers import Layer, cut_bands, cut_layers, cut_planes, loops_area_mm2, net_area_mm2
from slicer.mesh import Mesh, MeshReport, place_on_plate, read_mesh
from slicer.mesh_winding import volumes
from slicer.notes import NoteBook
from slicer.parallel import in_order, workers_here
from slicer.placement import Wish, arrange, wished
from slicer.recipe import Recipe, RecipeError, with_bounds_of
from slicer.scan import ScanPath
from slicer.skins import Neighbours, overhangs
from slicer.thermal import with_return_time
from slicer.thin_walls import NarrowPlace

THINNEST_PART = 0.25
"""Of the recipe's layer thickness: the thinnest adaptive layer where the strategy does not say."""

UNLIKE_HEIGHT_PART, UNLIKE_VOLUME_PART = 0.05, 0.01
"""Told of is a height of all layers that differs from the part's by this part of a layer, or a volume by this part."""

OVERHANG_PART = 1.0
"""A layer may reach out over powder by this many layer thicknesses (45 deg) before it is told of."""


def plan_job(
    mesh_path: str | Path | Sequence[str | Path],
    recipe: Recipe,
    envelope: Envelope,
    out_path: str | Path,
    *,
    unit: str = "mm",
    gap_mm: float = 0.0,
    wishes: Sequence[Wish] | None = None,
    name: str | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_report: Callable[[MeshReport], None] | None = None,
) -> Manifest:
    """Read a mesh, cut it into layers, fill them with scan vectors and write the job.

    Args:
        mesh_path: one mesh file, or several whose parts share the plate.
        unit: of the mesh's numbers: mm, cm, m or inch. gap_mm: gaps of the surface up to this width are closed.
        wishes: how each mesh is turned, how many of it and where; one part in the middle of the plate if None.
        name: of the job; the mesh file's stem if None.
        workers: threads that fill layers; as many as there are processors if None. The job's bytes do not depend on it.
        progress: called with (layers done, layers in all).
        on_report: called once for each mesh with what was found in it.

    Raises:
        MeshError: the file cannot be used, or the part does not fit the envelope.
        RecipeError: the machine cannot give what the recipe asks for.
        ScanError, JobError: a layer cannot be filled, or nothing is left to expose.
        OSError: the job cannot be written; a job that stood there stays.
    """
    refusals = with_bounds_of(recipe, power_w_max=envelope.beam_power_w_max, speed_mm_s_max=envelope.speed_mm_s_max)
    if refusals:
        raise RecipeError("; ".join(refusals))
    paths = [Path(mesh_path)] if isinstance(mesh_path, str | Path) else [Path(path) for path in mesh_path]
    with compiled_beside():
        meshes = []
        for path in paths:
            mesh, report = read_mesh(path, unit=unit, gap_mm=gap_mm)
            meshes.append(mesh)
            if on_report is not None:
                on_report(report)
        mesh, parts, plate_notes = _placed(meshes, wishes, envelope)
        workers = workers or workers_here()
        layers = _cut(mesh, recipe, workers)
        head = JobHead(
            name or paths[0].stem, recipe, envelope, ", ".join(path.name for path in paths), _sha256_of(paths), parts
        )
        notes = NoteBook(recipe.spot_mm, plate_notes)
        for sentence in [*idle(recipe), *doubts(recipe, envelope), *_unlike(mesh, layers)]:
            notes.say(sentence)
        notes.add_overhangs(overhangs(layers, OVERHANG_PART))
        return write_packed(out_path, head, _packed(layers, head, notes, workers, progress), notes)


def exposure_scaled(path: ScanPath, thickness_mm: float, recipe: Recipe, envelope: Envelope) -> ScanPath:
    """The path for a layer thinner than the recipe's: faster, so that the energy for each volume stays.

    What the gantry cannot run faster, the beam is weakened by.
    """
    if thickness_mm == recipe.layer_thickness_mm:
        return path
    wanted = path.speed_mm_s * (recipe.layer_thickness_mm / thickness_mm)
    speed = np.minimum(wanted, envelope.speed_mm_s_max)
    return replace(path, speed_mm_s=speed, power_w=path.power_w * (speed / wanted))


def on_machine_grid(path: ScanPath) -> ScanPath:
    """The path on the 0.001 mm grid that G-code tells, without vectors that vanish there.

    So job, G-code and what a machine executes are the same numbers, and no vector is claimed that cannot be drawn.
    """
    grid = np.rint(path.vectors_mm * 1000.0)
    kept = (grid[:, 0] != grid[:, 2]) | (grid[:, 1] != grid[:, 3])
    grid /= 1000.0
    path = replace(path, vectors_mm=grid)
    return path if kept.all() else path.chosen(kept)


def _placed(
    meshes: list[Mesh], wishes: Sequence[Wish] | None, envelope: Envelope
) -> tuple[Mesh, tuple[dict[str, Any], ...], tuple[str, ...]]:
    """The mesh of all parts, a row for each, and what should be known of how they stand."""
    if wishes is None and len(meshes) == 1:
        return place_on_plate(meshes[0], envelope), (), ()
    wishes = wishes if wishes is not None else [Wish()] * len(meshes)
    plate = arrange(wished(meshes, wishes), 1, envelope)
    parts = [
        {"name": part.name, "at_mm": list(part.at_mm), "rotate_deg": list(part.rotate_deg)} for part in plate.parts
    ]
    return plate.mesh, tuple(parts), plate.notes


def _sha256_of(paths: list[Path]) -> str:
    """Of the file; of several files the sum over the text of their sums."""
    sums = []
    for path in paths:
        with path.open("rb") as stream:
            sums.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()


def _cut(mesh: Mesh, recipe: Recipe, workers: int) -> list[Layer]:
    thickness, cusp = recipe.layer_thickness_mm, recipe.strategy.cusp_mm
    if cusp is None:
        return cut_layers(mesh, thickness, recipe.strategy.fill_rule, workers)
    thinnest = recipe.strategy.layer_thickness_min_mm or THINNEST_PART * thickness
    return cut_bands(mesh, adaptive_edges(mesh, cusp, thinnest, thickness), recipe.strategy.fill_rule, workers)


def _unlike(mesh: Mesh, layers: list[Layer]) -> Iterator[str]:
    """Where the layers are not the mesh: each is what its middle plane cuts, and what lies between planes is lost."""
    thickness_mm = max(layer.thickness_mm for layer in layers)
    tall_mm = float(np.ptp(mesh.bounds_mm[:, 2]))
    made_mm = layers[-1].z_mm - layers[0].z_mm + layers[0].thickness_mm
    if abs(tall_mm - made_mm) > UNLIKE_HEIGHT_PART * thickness_mm:
        yield f"The part is {tall_mm:.6g} mm tall, and its {len(layers)} layers are {made_mm:.6g} mm."
    volume_mm3 = float(volumes(mesh, np.zeros(len(mesh.faces), np.int32), 1)[0])
    layers_mm3 = sum(net_area_mm2(layer) * layer.thickness_mm for layer in layers)
    if volume_mm3 <= 0.0 or abs(layers_mm3 - volume_mm3) <= UNLIKE_VOLUME_PART * volume_mm3:
        return
    more, between, twice = (
        part / volume_mm3 for part in (layers_mm3 - volume_mm3, *_why_unlike(mesh, layers, volume_mm3, layers_mm3))
    )
    causes = []
    if abs(twice) > 0.5 * UNLIKE_VOLUME_PART:
        causes.append(
            "what the mesh encloses more than once, where bodies overlap or cross, counts as fill_rule says"
            f" ({twice:+.1%})"
        )
    if abs(between) > 0.5 * UNLIKE_VOLUME_PART:
        causes.append(
            f"what begins and ends between the middles of two layers is lost or filled ({between:+.1%}); thinner layers"
            " follow it"
        )
    yield (
        f"The layers hold {layers_mm3:,.6g} mm3 and the mesh {volume_mm3:,.6g} mm3 ({more:+.1%}):"
        f" {', and '.join(causes)}."
    )


def _why_unlike(mesh: Mesh, layers: list[Layer], volume_mm3: float, layers_mm3: float) -> tuple[float, float]:
    """(mm3 that the planes add between them, mm3 that the fill rule adds where surfaces overlap or cross).

    Loops as the surface runs have, like the mesh's volume, what is wound around twice in them twice.
    """
    planes_mm = np.array([layer.z_mm - 0.5 * layer.thickness_mm for layer in layers])
    areas_mm2 = [loops_area_mm2(*loops) for loops in cut_planes(mesh, planes_mm)]
    as_wound_mm3 = sum(area * layer.thickness_mm for area, layer in zip(areas_mm2, layers, strict=True))
    return as_wound_mm3 - volume_mm3, layers_mm3 - as_wound_mm3


def _packed(
    layers: list[Layer],
    head: JobHead,
    notes: NoteBook,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[PackedLayer]:
    """Every layer filled and packed, in order."""
    recipe, envelope, strategy = head.recipe, head.envelope, head.recipe.strategy

    def packed(index: int) -> tuple[PackedLayer, tuple[NarrowPlace, ...], tuple[float, float]]:
        layer = layers[index]
        neighbours = Neighbours.of(layers, index, strategy.skin_layers) if strategy.skin_layers else None
        found = fill(layer, recipe, envelope, strategy, neighbours)
        path = exposure_scaled(found.path, layer.thickness_mm, recipe, envelope)
        share_s = busiest_s = 0.0
        if strategy.heads > 1:
            share_s = path.exposure_time_s / strategy.heads
            heads = side_by_side(envelope.x_mm, strategy.heads, strategy.head_reach_mm)
            path = split_among(path, heads, strategy.stitch_mm, index)
            busiest_s = float(times_s(path).max(initial=0.0))
        path = on_machine_grid(path)
        if strategy.order == "return_time":  # last, so that every vector of the layer keeps it as it will be run
            path = with_return_time(path, strategy.return_time_s, strategy.return_radius_mm, recipe.jump_speed_mm_s)
        return pack_layer(JobLayer(layer, path, recipe.jump_speed_mm_s), head), found.narrow, (share_s, busiest_s)

    for index, (layer, narrow, shares_s) in enumerate(in_order(packed, range(len(layers)), workers)):
        notes.add_narrow(index, narrow)
        notes.add_time(layer.waiting_s, layer.beam_on_s)
        notes.add_heads(*shares_s)
        yield layer
        if progress is not None:
            progress(index + 1, len(layers))
