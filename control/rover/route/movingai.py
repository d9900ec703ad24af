"""Maps and scenarios in the MovingAI benchmark format (.map, .scen), for comparing planners on common ground.

Passable are '.', 'G' and 'S' (cost 1); '@', 'O', 'T' and 'W' are blocked. A scenario gives x (column) before y (row).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from control.errors import MoonkilnError

PASSABLE = ".GS"
BLOCKED = "@OTW"
SIDE_LIMIT = 16384


class MapFileError(MoonkilnError):
    """A map or scenario file that does not keep the format."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, exit_code=2)


@dataclass(frozen=True)
class Task:
    """One scenario: from start to goal, both (i, j), and the optimum its file states."""

    bucket: int
    map_name: str
    start: tuple[int, int]
    goal: tuple[int, int]
    optimum: float


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MapFileError(f"{path} cannot be read as text: {error}. Give a MovingAI file.") from error


def read_map(path: Path) -> np.ndarray:
    """A .map as cost (rows, columns) f4: 1 where one may go, inf elsewhere. MapFileError names the line."""
    lines = _lines(path)
    head = [line.split() for line in lines[:4]]
    if len(head) < 4 or head[0][:1] != ["type"] or head[3] != ["map"]:
        raise MapFileError(f"{path} is no MovingAI map: it must begin with type, height, width and map lines.")
    sizes = {}
    for words in head[1:3]:
        if len(words) != 2 or not words[1].isdecimal() or not 1 <= int(words[1]) <= SIDE_LIMIT:
            raise MapFileError(f"{path}: '{' '.join(words)}' is no height or width of 1 to {SIDE_LIMIT} cells.")
        sizes[words[0]] = int(words[1])
    if set(sizes) != {"height", "width"}:
        raise MapFileError(f"{path}: lines 2 and 3 must give height and width.")
    rows = lines[4 : 4 + sizes["height"]]
    if len(rows) < sizes["height"]:
        raise MapFileError(f"{path} ends after {len(rows)} of {sizes['height']} rows. It was cut short.")
    cost = np.full((sizes["height"], sizes["width"]), np.inf, np.float32)
    for i, row in enumerate(rows):
        if len(row) != sizes["width"] or row.strip(PASSABLE + BLOCKED):
            raise MapFileError(f"{path}, line {i + 5}: expected {sizes['width']} of the letters {PASSABLE}{BLOCKED}.")
        if set(row) - set(PASSABLE + BLOCKED):
            raise MapFileError(f"{path}, line {i + 5}: a letter is none of {PASSABLE}{BLOCKED}.")
        cost[i, [j for j, letter in enumerate(row) if letter in PASSABLE]] = 1.0
    return cost


def write_map(cost: np.ndarray, path: Path) -> None:
    """An open-or-blocked map in the format."""
    rows = ["".join("." if open_cell else "@" for open_cell in row) for row in np.isfinite(cost)]
    head = ["type octile", f"height {cost.shape[0]}", f"width {cost.shape[1]}", "map"]
    path.write_text("\n".join([*head, *rows]) + "\n", encoding="ascii")


def read_scenarios(path: Path) -> list[Task]:
    """The tasks of a .scen. MapFileError names the line."""
    tasks = []
    lines = _lines(path)
    if not lines or lines[0].split()[:1] != ["version"]:
        raise MapFileError(f"{path} is no MovingAI scenario file: it must begin with a version line.")
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        words = line.split("\t") if "\t" in line else line.split()
        try:
            bucket, name, numbers, optimum = (
                int(words[0]),
                words[1],
                [int(word) for word in words[2:8]],
                float(words[8]),
            )
        except (ValueError, IndexError) as error:
            raise MapFileError(
                f"{path}, line {number}: expected bucket, map, six whole numbers and a length."
            ) from error
        width, height, x0, y0, x1, y1 = numbers
        if not (0 <= x0 < width and 0 <= x1 < width and 0 <= y0 < height and 0 <= y1 < height and 0 <= optimum < 1e12):
            raise MapFileError(f"{path}, line {number}: a place or length is outside its map of {width} x {height}.")
        tasks.append(Task(bucket, name, (y0, x0), (y1, x1), optimum))
    return tasks


def write_scenarios(tasks: list[Task], shape: tuple[int, int], path: Path) -> None:
    """Tasks on a map of `shape` (rows, columns), in the format."""
    lines = ["version 1"]
    for task in tasks:
        places = (shape[1], shape[0], task.start[1], task.start[0], task.goal[1], task.goal[0])
        lines.append("\t".join(map(str, (task.bucket, task.map_name, *places, f"{task.optimum:.8f}"))))
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
