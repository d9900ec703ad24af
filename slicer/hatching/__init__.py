"""Hatch strategies by name: each fills loops with vectors, (points, loop starts, angle, settings) -> Hatched."""

from __future__ import annotations

from slicer.hatching.curves import concentric, concentric_outward, hilbert, spiral
from slicer.hatching.lines import meander, one_way
from slicer.hatching.settings import Hatch, Hatched, HatchSettings
from slicer.hatching.tiles import hexagons, islands, stripes

__all__ = ["HATCHES", "Hatch", "HatchSettings", "Hatched"]

HATCHES: dict[str, Hatch] = {
    "meander": meander,
    "one_way": one_way,
    "stripes": stripes,
    "islands": islands,
    "hexagons": hexagons,
    "concentric": concentric,
    "concentric_outward": concentric_outward,
    "spiral": spiral,
    "hilbert": hilbert,
}
"""Every strategy that a recipe may name."""
