"""Do adaptive layers keep the cusp height, end at flat faces, and stay between the thinnest and the thickest?"""

from __future__ import annotations

from itertools import pairwise

import manifold3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import box, mesh_of

from slicer.errors import MeshError
from slicer.heights import FLAT_NORMAL, adaptive_edges
from slicer.layers import cut_bands, net_area_mm2

SPHERE = mesh_of(manifold3d.Manifold.sphere(10, 96))


def leaning_of(mesh):
    corners = mesh.vertices_mm[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return (
        np.abs(normals[:, 2]) / np.linalg.norm(normals, axis=1),
        corners[:, :, 2].min(axis=1),
        corners[:, :, 2].max(axis=1),
    )


@settings(max_examples=40, deadline=None)
@given(st.floats(0.02, 2.0), st.floats(0.05, 1.0), st.floats(1.0, 6.0), st.sampled_from(["sphere", "cone", "both"]))
def test_no_step_is_higher_than_asked_unless_the_thinnest_layer_makes_it(cusp, thinnest, ratio, shape):
    solid = {
        "sphere": manifold3d.Manifold.sphere(6, 40),
        "cone": manifold3d.Manifold.cylinder(9, 6, 1, 40),
        "both": manifold3d.Manifold.cylinder(9, 6, 1, 40) + manifold3d.Manifold.sphere(3, 40).translate((0, 0, 9)),
    }[shape]
    mesh = mesh_of(solid)
    edges = adaptive_edges(mesh, cusp, thinnest, thinnest * ratio)
    heights = np.diff(edges)
    assert heights.min() >= thinnest - 1e-9 and heights.max() <= thinnest * ratio + 1e-9
    leaning, low, high = leaning_of(mesh)
    for bottom, top in pairwise(edges):
        met = (low < top - 1e-6) & (high > bottom + 1e-6) & (leaning < FLAT_NORMAL)
        steepest = leaning[met].max(initial=0.0)
        assert (top - bottom) * steepest <= cusp + 1e-6 or top - bottom <= thinnest + 1e-9
    top_mm = mesh.bounds_mm[1, 2]
    assert abs(edges[-1] - top_mm) <= 0.5 * thinnest * ratio + 1e-9


def test_an_upright_part_gets_the_thickest_layers():
    edges = adaptive_edges(box(10, 10, 6), 0.01, 0.1, 1.5)
    np.testing.assert_allclose(np.diff(edges), 1.5)


def test_a_layer_ends_at_every_flat_face():
    solid = manifold3d.Manifold.cube((10, 10, 3.37)) + manifold3d.Manifold.cube((5, 5, 7.1))
    edges = adaptive_edges(mesh_of(solid), 0.05, 0.1, 1.0)
    for flat in (3.37, 7.1):
        assert np.abs(edges - flat).min() < 1e-9


def test_layers_of_a_sphere_have_the_areas_of_their_middles():
    edges = adaptive_edges(SPHERE, 0.1, 0.1, 1.0)
    layers = cut_bands(SPHERE, edges)
    assert [layer.index for layer in layers] == list(range(len(edges) - 1))
    for layer in layers:
        middle = layer.z_mm - 0.5 * layer.thickness_mm
        assert net_area_mm2(layer) == pytest.approx(np.pi * (100 - middle**2), rel=0.02, abs=0.5)
    assert len(layers) < 0.7 * 20 / 0.1, "fewer than layers of the thinnest"


@pytest.mark.parametrize(("cusp", "thinnest", "thickest"), [(0, 0.1, 1), (0.1, 0, 1), (0.1, 1, 0.5), (np.nan, 0.1, 1)])
def test_thicknesses_that_cannot_be_are_refused(cusp, thinnest, thickest):
    with pytest.raises(MeshError, match="cannot be"):
        adaptive_edges(SPHERE, cusp, thinnest, thickest)


def test_a_part_thinner_than_half_a_layer_is_refused():
    with pytest.raises(MeshError, match="less than half a layer"):
        adaptive_edges(box(10, 10, 0.04), 0.1, 0.1, 1.0)
