"""Layers of every kind of vector, for tests of what exporters write."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from job_helpers import BENCH, head, square_layer

from slicer.exporters.source import Source
from slicer.job_layer import JobLayer
from slicer.layers import Layer
from slicer.scan import KIND_CONTOUR, KIND_DOWN_SKIN, KIND_THIN, KIND_UP_SKIN, KINDS, ScanPath

WAYS = [(100.0, 50.0, 0.0, 0), (80.0, 40.0, 0.0, 0), (80.0, 40.0, -1.5, 0), (12.5, 7.0, 0.0, 1)]
"""(power, speed, focus, head) that drawn vectors have."""

place = st.integers(0, 60_000)
row = st.tuples(
    place, place, place, place, st.integers(0, len(KINDS) - 1), st.integers(0, len(WAYS) - 1), st.booleans(),
    st.sampled_from([0, 0, 0, 0.5]),
)  # fmt: skip


@st.composite
def job_layers(draw, count=3):
    """Up to `count` layers, some empty: runs that join, close and jump, of all kinds; on the machine's 0.001 mm."""
    layers = []
    for index in range(draw(st.integers(1, count))):
        rows = draw(st.lists(row, max_size=20))
        table = np.array([r[:4] for r in rows], float).reshape(-1, 4) / 1000
        begin = 0
        for i, (r, before) in enumerate(zip(rows[1:], rows), start=1):
            if r[6]:
                table[i, :2] = table[i - 1, 2:]
                if r[4] == before[4] and i - begin >= 2 and r[7] == 0:
                    table[i, 2:] = table[begin, :2]  # a loop
            else:
                begin = i
        kept = (table[:, :2] != table[:, 2:]).any(axis=1)
        way = np.array([WAYS[r[5]] for r in rows]).reshape(-1, 4)[kept]
        path = ScanPath(
            table[kept],
            np.array([r[4] for r in rows], np.uint8)[kept],
            way[:, 0],
            way[:, 1],
            focus_mm=way[:, 2],
            wait_s=np.array([r[7] for r in rows], float)[kept],
            beam=way[:, 3].astype(np.uint8),
        )
        layer = Layer(index, (index + 1) * 0.5, 0.5, np.zeros((0, 2)), np.zeros(1, np.int64))
        layers.append(JobLayer(layer, path, 80.0))
    return layers


def source_of(layers, envelope=BENCH) -> Source:
    """What an exporter reads of these layers."""
    vectors = sum(len(job_layer.path) for job_layer in layers)
    return Source(replace(head(), envelope=envelope), layers, len(layers), vectors, "golden")


def golden_layers() -> list[JobLayer]:
    """Two layers with a contour, a hole run the other way, skins, a thin wall, a wait, a focus and a second head."""
    first, second = square_layer(0), square_layer(1)
    hole = np.array([[54.0, 54.0], [54.0, 56.0], [56.0, 56.0], [56.0, 54.0]])
    inner = ScanPath.uniform(np.hstack([hole, np.roll(hole, -1, axis=0)]), KIND_CONTOUR, 100.0, 50.0)
    up = ScanPath.uniform(np.array([[51.0, 57.5, 59.0, 57.5]]), KIND_UP_SKIN, 60.0, 30.0, 1.25)
    down = ScanPath.uniform(np.array([[59.0, 58.5, 51.0, 58.5]]), KIND_DOWN_SKIN, 55.0, 45.0)
    thin = ScanPath.uniform(np.array([[62.0, 50.0, 62.0, 55.0], [62.0, 55.0, 63.0, 59.125]]), KIND_THIN, 40.0, 20.0)
    path = ScanPath.concat([first.path, inner, up, down, thin])
    wait, beam = np.zeros(len(path)), np.zeros(len(path), np.uint8)
    wait[[4, 12]] = 0.25, 2.0
    beam[-2:] = 1
    return [replace(first, path=replace(path, wait_s=wait, beam=beam)), second]
