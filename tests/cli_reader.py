"""A reader of Common Layer Interface files, written from the format's byte table and from nothing of the writer."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from itertools import pairwise

LAYER_LONG, LAYER_SHORT, POLY_SHORT, POLY_LONG, HATCH_SHORT, HATCH_LONG = range(127, 133)


@dataclass
class CliFile:
    """Header words, and layers of (z in mm, [("polyline", id, dir, points) or ("hatches", id, lines)]) in mm."""

    binary: bool
    unit_mm: float
    header: dict = field(default_factory=dict)
    labels: dict = field(default_factory=dict)
    layers: list = field(default_factory=list)


def read(data: bytes) -> CliFile:
    """Raises ValueError where the file is not what the format says."""
    end = data.index(b"$$HEADEREND")
    header = re.sub(r"//.*?//", "", data[:end].decode("ascii"), flags=re.S)
    lines = [line for line in header.split("\n") if line.strip()]
    if lines[0] != "$$HEADERSTART":
        raise ValueError("no header")
    words, labels = {}, {}
    for line in lines[1:]:
        name, _, value = line.removeprefix("$$").partition("/")
        if name == "LABEL":
            number, _, text = value.partition(",")
            labels[int(number)] = text
        elif name == "USERDATA":
            uid, length, text = value.split(",", 2)
            if len(text) != int(length):
                raise ValueError("USERDATA of another length")
            words[name] = (uid, text)
        else:
            words[name] = value
    if words["VERSION"] != "200":
        raise ValueError("another version")
    file = CliFile("BINARY" in words, float(words["UNITS"]), words, labels)
    rest = data[end + len(b"$$HEADEREND") :]
    if file.binary:
        _binary(file, rest)
    else:
        _ascii(file, rest.decode("ascii"))
    if int(words["LAYERS"]) != len(file.layers):
        raise ValueError("the header counts other layers")
    return file


def _binary(file: CliFile, data: bytes) -> None:
    at, unit = 0, file.unit_mm

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values

    while at < len(data):
        (command,) = take("H")
        if command in (LAYER_LONG, LAYER_SHORT):
            (z,) = take("f" if command == LAYER_LONG else "H")
            file.layers.append((z * unit, []))
        elif command in (POLY_LONG, POLY_SHORT):
            long = command == POLY_LONG
            number, direction, n = take("iii" if long else "HHH")
            values = take(f"{2 * n}{'f' if long else 'H'}")
            file.layers[-1][1].append(("polyline", number, direction, _rows(values, 2, unit)))
        elif command in (HATCH_LONG, HATCH_SHORT):
            long = command == HATCH_LONG
            number, n = take("ii" if long else "HH")
            values = take(f"{4 * n}{'f' if long else 'H'}")
            file.layers[-1][1].append(("hatches", number, _rows(values, 4, unit)))
        else:
            raise ValueError(f"command {command} at {at - 2}")


def _ascii(file: CliFile, text: str) -> None:
    lines = text.split("\n")
    if lines[:2] != ["", "$$GEOMETRYSTART"] or lines[-2:] != ["$$GEOMETRYEND", ""]:
        raise ValueError("no geometry")
    for line in lines[2:-2]:
        name, _, rest = line.partition("/")
        values = [float(value) for value in rest.split(",")]
        if name == "$$LAYER":
            file.layers.append((values[0] * file.unit_mm, []))
        elif name == "$$POLYLINE":
            number, direction, n, *points = values
            if len(points) != 2 * n:
                raise ValueError("a polyline of another length")
            file.layers[-1][1].append(("polyline", int(number), int(direction), _rows(points, 2, file.unit_mm)))
        elif name == "$$HATCHES":
            number, n, *points = values
            if len(points) != 4 * n:
                raise ValueError("hatches of another length")
            file.layers[-1][1].append(("hatches", int(number), _rows(points, 4, file.unit_mm)))
        else:
            raise ValueError(f"unknown line {line[:40]!r}")


def _rows(values, columns, unit):
    return [tuple(value * unit for value in values[i : i + columns]) for i in range(0, len(values), columns)]


def vectors(blocks) -> list:
    """(id, x0, y0, x1, y1) of every vector in a layer's blocks, in order."""
    rows = []
    for block in blocks:
        if block[0] == "hatches":
            rows += [(block[1], *line) for line in block[2]]
        else:
            points = block[3]
            rows += [(block[1], *a, *b) for a, b in pairwise(points)]
    return rows
