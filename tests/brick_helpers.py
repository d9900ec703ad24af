"""Bricks laid as they are meant to be, and the gaps between them measured two ways."""

from __future__ import annotations

from dataclasses import replace

import manifold3d
import numpy as np


def solid(mesh):
    """A mesh as a manifold3d solid, which refuses what is not closed."""
    made = manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices_mm, mesh.faces.astype(np.uint64)))
    assert made.status() == manifold3d.Error.NoError, made.status()
    return made


def laid(mesh, pose):
    """A mesh where a pose puts it."""
    return replace(mesh, vertices_mm=mesh.vertices_mm @ pose[:, :3].T + pose[:, 3])


def assembly(brick):
    """Name -> mesh: a finished brick, "itself", and its neighbours in their places."""
    mesh = brick.finished()
    return {"itself": mesh, **{name: laid(mesh, pose) for name, pose in brick.neighbours().items()}}


def gaps_across_mm(mesh, other, reach_mm, samples=200, seed=5):
    """(starts (k, 3), gaps (k,)): from points on a mesh straight out to a face of another that looks back at it.

    Points are spread over the area of those faces of `mesh` that lie near the other mesh.
    """
    random = np.random.default_rng(seed)
    corners, targets = (m.vertices_mm[m.faces] for m in (mesh, other))
    low, high = targets.min(axis=(0, 1)) - reach_mm, targets.max(axis=(0, 1)) + reach_mm
    near = ((corners.max(axis=1) >= low) & (corners.min(axis=1) <= high)).all(axis=1)
    corners = corners[near]
    normals, areas = _normals(corners)
    picked = random.choice(len(corners), samples, p=areas / areas.sum())
    u, v = random.random((2, samples, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = np.moveaxis(corners[picked], 1, 0)
    starts, directions = a + u * (b - a) + v * (c - a), normals[picked]
    middles = targets.mean(axis=1)
    reaches = reach_mm + np.linalg.norm(targets - middles[:, None], axis=2).max(axis=1)
    gaps = np.empty(samples)
    for i, (start, direction) in enumerate(zip(starts, directions)):
        within = np.linalg.norm(middles - start, axis=1) <= reaches
        gaps[i] = _first_hit(start, direction, targets[within], reach_mm)
    hit = np.isfinite(gaps)
    return starts[hit], gaps[hit]


def _normals(corners):
    doubled = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(doubled, axis=1)
    return doubled / length[:, None], length / 2


def _first_hit(start, direction, targets, reach_mm):
    """Distance along a ray to the first triangle that it meets; infinite unless that one looks straight back."""
    a, b, c = np.moveaxis(targets, 1, 0)
    e1, e2 = b - a, c - a
    p = np.cross(direction, e2)
    scale = (e1 * p).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        u = ((start - a) * p).sum(axis=1) / scale
        q = np.cross(start - a, e1)
        v = (q @ direction) / scale
        along = (q * e2).sum(axis=1) / scale
        met = (u >= 0) & (v >= 0) & (u + v <= 1) & (along > -1e-6) & (along <= reach_mm)
    if not met.any():
        return np.inf
    first = np.flatnonzero(met)[np.argmin(along[met])]
    normal = np.cross(e1[first], e2[first])
    return along[first] if -(normal @ direction) > 0.99 * np.linalg.norm(normal) else np.inf
