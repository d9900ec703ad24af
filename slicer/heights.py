"""Heights of layers that follow the surface: thin where it leans, thick where it stands, and edges where it lies flat.

A layer of thickness h on a surface whose normal has the vertical part |n_z| leaves steps of h |n_z| (the cusp height of
Dolenc and Makela 1994). Flat faces leave none where a layer ends at them, and up to h where it does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.kernels import stacking
from slicer.layers import LAYERS_MAX
from slicer.mesh import Mesh

FLAT_NORMAL = 0.9999
"""A face whose normal is this vertical (within 0.8 deg) lies flat: a layer ends at it rather than crossing it."""

SLICES_A_LAYER = 16
"""How finely the steepness is known: this many slices to the thinnest layer."""

SLICES_MAX = 10_000_000


def adaptive_edges(mesh: Mesh, cusp_mm: float, thinnest_mm: float, thickest_mm: float) -> NDArray[np.float64]:
    """Where layers end, (k + 1,) f8 rising from the mesh's lowest point, so that no step is higher than `cusp_mm`.

    Layers are between `thinnest_mm` and `thickest_mm`; on a slope that would need thinner ones the step is that of the
    thinnest. A layer ends within half of `thinnest_mm` of every flat face. The last one may end up to half its own
    thickness above or below the mesh's top, as with layers of one thickness.

    Raises:
        MeshError: thicknesses or cusp height that are none, or more layers than can be.
    """
    if not 0.0 < thinnest_mm <= thickest_mm < np.inf or not 0.0 < cusp_mm < np.inf:
        raise MeshError(
            f"Layers of {thinnest_mm:g} to {thickest_mm:g} mm with steps of {cusp_mm:g} mm cannot be; give a positive "
            "cusp height and a smallest thickness that is not over the largest."
        )
    corners = mesh.vertices_mm[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    leaning = np.divide(np.abs(normals[:, 2]), lengths, out=np.zeros(len(lengths)), where=lengths > 0)
    bottom, top = (float(z) for z in mesh.bounds_mm[:, 2])
    slice_mm = thinnest_mm / SLICES_A_LAYER
    slices = int(min((top - bottom) / slice_mm + 1, SLICES_MAX + 1.0))
    if (top - bottom) / thinnest_mm > LAYERS_MAX or slices > SLICES_MAX:
        raise MeshError(
            f"{mesh.name} would need more than {LAYERS_MAX} layers of {thinnest_mm:g} mm; make them thicker."
        )
    z = corners[:, :, 2] - bottom
    low, high = z.min(axis=1), z.max(axis=1)
    flat = leaning >= FLAT_NORMAL
    steepest = np.zeros(slices)
    stacking.note_leaning(low[~flat], high[~flat], leaning[~flat], slice_mm, steepest)
    flats = np.unique((0.5 * (low + high))[flat & (lengths > 0)])
    edges = np.empty(int(np.ceil((top - bottom) / thinnest_mm)) + 2)
    count = stacking.stack_layers(steepest, slice_mm, flats, top - bottom, cusp_mm, thinnest_mm, thickest_mm, edges)
    if count < 2:
        raise MeshError(
            f"{mesh.name} is {top - bottom:.6g} mm tall, less than half a layer of {thinnest_mm:g} mm; "
            "slice it in thinner layers or check its unit."
        )
    return bottom + edges[:count]
