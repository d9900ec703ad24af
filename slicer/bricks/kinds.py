"""All kinds of bricks by name, and the one way to make a brick from what a user typed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from slicer.bricks.abeille import ABEILLE, abeille, abeille_neighbours
from slicer.bricks.blocks import (
    MORTISE_TENON,
    RECTANGULAR,
    mortise_tenon,
    mortise_tenon_neighbours,
    rectangular,
    rectangular_neighbours,
)
from slicer.bricks.dome import DOME_VOUSSOIR, dome_voussoir, dome_voussoir_neighbours
from slicer.bricks.measures import BrickError, Measure
from slicer.bricks.osteomorphic import OSTEOMORPHIC, osteomorphic, osteomorphic_neighbours
from slicer.bricks.paver import PAVER, paver, paver_neighbours
from slicer.bricks.solids import Pose
from slicer.bricks.voussoir import VOUSSOIR, voussoir, voussoir_neighbours
from slicer.mesh import Mesh
from slicer.words import did_you_mean

SHRINKAGE_KEY = "shrinkage_percent"
SHRINKAGE_PERCENT_MAX = 60.0


@dataclass(frozen=True)
class Kind:
    """A kind of brick.

    Attributes:
        meaning: what it is, in a few words; laying: how it is laid.
        measures: its numbers; `build` and `neighbours` take each as a keyword.
        build: makes the mesh, z up, standing on z = 0 around the origin.
        neighbours: the poses of mating bricks beside one that was not moved, by what they are called. They hold for
            finished (shrunk) bricks.
    """

    meaning: str
    laying: str
    measures: tuple[Measure, ...]
    build: Callable[..., Mesh]
    neighbours: Callable[..., dict[str, Pose]]


KINDS: dict[str, Kind] = {
    "rectangular": Kind(
        "plain block",
        "in any bond; it holds by mortar or weight alone",
        RECTANGULAR,
        rectangular,
        rectangular_neighbours,
    ),
    "mortise-tenon": Kind(
        "block with a tenon on top and the mortise for one below",
        "stacked, each tenon in the mortise above it; the bodies rest on each other",
        MORTISE_TENON,
        mortise_tenon,
        mortise_tenon_neighbours,
    ),
    "osteomorphic": Kind(
        "brick whose beds wave both ways, so that courses cannot slide",
        "in a running bond, each course shifted by half a brick",
        OSTEOMORPHIC,
        osteomorphic,
        osteomorphic_neighbours,
    ),
    "paver": Kind(
        "hollow triangle of one melt track, its sides waved to lock",
        "in a triangle paving, each tile turned by half a turn against its neighbours",
        PAVER,
        paver,
        paver_neighbours,
    ),
    "voussoir": Kind(
        "wedge of a round arch",
        "around the arch's axis, which is upright while the wedge is printed; it needs centring until the arch closes",
        VOUSSOIR,
        voussoir,
        voussoir_neighbours,
    ),
    "dome-voussoir": Kind(
        "wedge of one course of a dome",
        "around the dome's axis, each course by measures of its own",
        DOME_VOUSSOIR,
        dome_voussoir,
        dome_voussoir_neighbours,
    ),
    "abeille": Kind(
        "block of a flat vault, hung on two neighbours and carrying two",
        "in a square grid inside a stiff frame, each block turned by a quarter against its neighbours",
        ABEILLE,
        abeille,
        abeille_neighbours,
    ),
}


@dataclass(frozen=True, eq=False)
class Brick:
    """A brick as it is to be printed.

    Attributes:
        kind: its name in `KINDS`; measures: every number it was made by, of the finished brick.
        shrinkage_percent: along x, y and z, how much shorter sintering makes the part.
        mesh: what to print, enlarged so that the finished brick has its measures.
    """

    kind: str
    measures: dict[str, float]
    shrinkage_percent: tuple[float, float, float]
    mesh: Mesh

    def finished(self) -> Mesh:
        """The brick after sintering, which has the measures that were asked for."""
        scale = 1.0 - np.array(self.shrinkage_percent) / 100.0
        return replace(self.mesh, vertices_mm=self.mesh.vertices_mm * scale)

    def neighbours(self) -> dict[str, Pose]:
        """The poses ((3, 4) f8, mm) of mating finished bricks beside this one."""
        return KINDS[self.kind].neighbours(**self.measures)


def make_brick(kind: str, settings: Mapping[str, str | float] | None = None) -> Brick:
    """A brick of a kind, with its default measures where none is set.

    Args:
        kind: one of `KINDS`.
        settings: measure -> number, or text as a user typed it. `shrinkage_percent` is one number for all axes or
            three, `x,y,z`; dimensions are divided by 1 - shrinkage / 100.

    Raises:
        BrickError: an unknown kind or key (the nearest is named), a value that is no number or out of range, or
            measures that contradict each other.
    """
    if kind not in KINDS:
        raise BrickError(f"there is no brick named {kind!r}{did_you_mean(kind, KINDS)}; kinds are {', '.join(KINDS)}")
    measures = {measure.key: measure.default for measure in KINDS[kind].measures}
    shrinkage = (0.0, 0.0, 0.0)
    for key, value in (settings or {}).items():
        if key == SHRINKAGE_KEY:
            shrinkage = _shrinkage(kind, value)
        elif key in measures:
            measures[key] = _number(kind, key, value)
        else:
            known = (*measures, SHRINKAGE_KEY)
            raise BrickError(f"brick {kind}: it has no {key!r}{did_you_mean(key, known)}; it has {', '.join(known)}")
    mesh = KINDS[kind].build(**measures, name=kind)
    green = mesh.vertices_mm / (1.0 - np.array(shrinkage) / 100.0)
    return Brick(kind, measures, shrinkage, replace(mesh, vertices_mm=green))


def _number(kind: str, key: str, value: str | float) -> float:
    try:
        return float(value)
    except ValueError:
        raise BrickError(f"brick {kind}: {key}={value}: {value!r} is no number") from None


def _shrinkage(kind: str, value: str | float) -> tuple[float, float, float]:
    texts = value.split(",") if isinstance(value, str) else [value]
    percents = [_number(kind, SHRINKAGE_KEY, text) for text in texts]
    if len(percents) not in (1, 3):
        raise BrickError(
            f"brick {kind}: {SHRINKAGE_KEY}={value}: give one number for all axes, or three as x,y,z"
            " (for example 2,2,29)"
        )
    for percent in percents:
        if not (math.isfinite(percent) and 0.0 <= percent <= SHRINKAGE_PERCENT_MAX):
            raise BrickError(
                f"brick {kind}: {SHRINKAGE_KEY} is {percent:g}; it must be at least 0 and at most"
                f" {SHRINKAGE_PERCENT_MAX:g} percent"
            )
    x, y, z = percents * 3 if len(percents) == 1 else percents
    return x, y, z
