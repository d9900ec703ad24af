"""Parametric bricks as closed meshes, z up, standing on z = 0 around the origin, and the files they are written to.

`make_brick(kind, settings)` makes any of `KINDS` from numbers by name; the functions of the kinds take them as
arguments. Measures and clearances are those of finished bricks: `make_brick` enlarges what sintering will shrink.
"""

from slicer.bricks.abeille import abeille
from slicer.bricks.blocks import demo_brick, mortise_tenon, rectangular
from slicer.bricks.dome import dome_voussoir
from slicer.bricks.kinds import KINDS, Brick, Kind, make_brick
from slicer.bricks.measures import BrickError, Measure
from slicer.bricks.mesh_writers import write_3mf, write_stl
from slicer.bricks.osteomorphic import osteomorphic
from slicer.bricks.paver import paver
from slicer.bricks.voussoir import voussoir

__all__ = [
    "KINDS",
    "Brick",
    "BrickError",
    "Kind",
    "Measure",
    "abeille",
    "demo_brick",
    "dome_voussoir",
    "make_brick",
    "mortise_tenon",
    "osteomorphic",
    "paver",
    "rectangular",
    "voussoir",
    "write_3mf",
    "write_stl",
]
