"""What of a part comes out otherwise than it was drawn, gathered over the layers: nothing is dropped in silence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from slicer.skins import Overhang
from slicer.thin_walls import NarrowPlace

THIN_WALL, DROPPED, OVERHANG, PLATE = "thin wall", "dropped", "overhang", "plate"
PLACES_MAX = 1000
"""Places that are told one by one; the rest is told as a number, in the last note."""

UNEVEN_PART = 1.2
"""Of an even share: a head that is busier than this is told of."""


@dataclass
class _Place:
    """One place over the layers in which it was found; figures are the largest of them."""

    kind: str
    first: int
    last: int
    at_mm: tuple[float, float]
    length_mm: float = 0.0
    width_mm: float = 0.0
    area_mm2: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "layers": [self.first, self.last],
            "at_mm": [round(x, 3) for x in self.at_mm],
            "length_mm": round(self.length_mm, 3),
            "width_mm": round(self.width_mm, 3),
            "area_mm2": round(self.area_mm2, 3),
        }


class NoteBook:
    """Places by layer, lowest first; iterating gives them as notes for a manifest.

    A place near to one of the same kind in the layer below, nearer than a few spots, is the same one.
    """

    def __init__(self, spot_mm: float, of_plate: Iterable[str] = ()) -> None:
        """`of_plate`: sentences on how parts stand on their plate; they come first."""
        self._of_plate = tuple(of_plate)
        self._reach_mm = 4.0 * spot_mm
        self._places: list[_Place] = []
        self._open: list[_Place] = []
        self.not_told = 0
        self._waiting_s = self._beam_on_s = 0.0
        self._even_share_s = self._busiest_s = 0.0

    def say(self, sentence: str) -> None:
        """A sentence of the whole plan."""
        self._of_plate = (*self._of_plate, sentence)

    def add_time(self, waiting_s: float, beam_on_s: float) -> None:
        """How long the beam waits in a layer, and how long it is on."""
        self._waiting_s += waiting_s
        self._beam_on_s += beam_on_s

    def add_heads(self, even_share_s: float, busiest_s: float) -> None:
        """How long each head would expose a layer if they shared it evenly, and how long the busiest of them does."""
        self._even_share_s += even_share_s
        self._busiest_s += busiest_s

    def add_narrow(self, layer: int, places: Iterable[NarrowPlace]) -> None:
        """What `slicer.fill` found in a layer."""
        for place in places:
            kind = THIN_WALL if place.tracked else DROPPED
            area = place.length_mm * place.width_mm
            self._add(layer, kind, place.at_mm, place.length_mm, place.width_mm, area)

    def add_overhangs(self, found: Iterable[Overhang]) -> None:
        """What `slicer.skins` found."""
        for overhang in found:
            self._add(overhang.layer, OVERHANG, overhang.at_mm, 0.0, 0.0, overhang.area_mm2)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for sentence in self._of_plate:
            yield {"kind": PLATE, "sentence": sentence}
        if self._waiting_s > self._beam_on_s:
            yield {
                "kind": PLATE,
                "sentence": f"The return time keeps the beam waiting for {self._waiting_s / 3600.0:.3g} h, beside"
                f" {self._beam_on_s / 3600.0:.3g} h of exposure: a shorter time or radius, or a hatch in islands or"
                " stripes, waits less.",
            }
        if self._busiest_s > UNEVEN_PART * self._even_share_s:
            yield {
                "kind": PLATE,
                "sentence": f"The busiest head exposes for {self._busiest_s / 3600.0:.3g} h, where an even share is"
                f" {self._even_share_s / 3600.0:.3g} h: a narrower stitch_mm exposes less twice, and a wider part is"
                " shared better.",
            }
        for place in self._places:
            yield place.to_dict()
        if self.not_told:
            yield {"kind": "more", "count": self.not_told}

    def _add(
        self, layer: int, kind: str, at_mm: tuple[float, float], length_mm: float, width_mm: float, area_mm2: float
    ) -> None:
        self._open = [place for place in self._open if place.last >= layer - 1]
        below = [place for place in self._open if place.kind == kind and place.last == layer - 1]
        nearest = min(below, key=lambda place: math.dist(place.at_mm, at_mm), default=None)
        if nearest is not None and math.dist(nearest.at_mm, at_mm) <= self._reach_mm:
            nearest.last = layer
            nearest.at_mm = at_mm
            nearest.length_mm = max(nearest.length_mm, length_mm)
            nearest.width_mm = max(nearest.width_mm, width_mm)
            nearest.area_mm2 = max(nearest.area_mm2, area_mm2)
            return
        if len(self._places) >= PLACES_MAX:
            self.not_told += 1
            return
        place = _Place(kind, layer, layer, at_mm, length_mm, width_mm, area_mm2)
        self._places.append(place)
        self._open.append(place)


def sentences(notes: Iterable[dict[str, Any]], spot_mm: float) -> list[str]:
    """Notes in words, one for each kind, with the first place."""
    notes = list(notes)
    told = [note["sentence"] for note in notes if note["kind"] == PLATE]
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for note in notes:
        by_kind.setdefault(note["kind"], []).append(note)
    for kind, what in (
        (DROPPED, "too narrow for the {spot:g} mm spot or its contour and left out"),
        (THIN_WALL, "too narrow for a contour of the {spot:g} mm spot and drawn as single tracks"),
        (OVERHANG, "hanging over loose powder by more than 45 deg"),
    ):
        places = by_kind.get(kind, [])
        if not places:
            continue
        first = max(places, key=lambda note: note["area_mm2"])
        count = "1 place is" if len(places) == 1 else f"{len(places)} places are"
        size = f"{first['area_mm2']:.3g} mm2"
        if kind != OVERHANG:
            size = f"{first['length_mm']:.3g} x {first['width_mm']:.3g} mm"
        low, high = (number + 1 for number in first["layers"])
        layers = f"layer {low}" if low == high else f"layers {low} to {high}"
        x, y = first["at_mm"]
        told.append(
            f"{count} {what.format(spot=spot_mm)}; the largest is {size} at x {x:.1f}, y {y:.1f} mm in {layers}."
        )
    if "more" in by_kind:
        told.append(f"{by_kind['more'][0]['count']} more places are not listed one by one.")
    return told
