"""What tests of foreign G-code hosts share: a program, the emulated board in a process of its own, and the judge."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hil_sim.world.faults.schedule import Fault

HERE = Path(__file__).resolve().parent


def program(lines: int) -> tuple[list[str], list[tuple[float, float]]]:
    """`lines` G-code lines: home, a spiral of short beam-on vectors, wait. Also the vectors' end points."""
    points = []
    for i in range(lines - 7):
        r, angle = 2.0 + 0.01 * i, 0.05 * i
        points.append((round(60 + r * math.cos(angle), 3), round(60 + r * math.sin(angle), 3)))
    body = [f"G1 X{x:.3f} Y{y:.3f} F6000 S{500 + i % 500}" for i, (x, y) in enumerate(points)]
    x0, y0 = 62.0, 60.0
    head = ["G28 X Y", "G90", "G21", "M4 I", f"G0 X{x0} Y{y0 - 0.2:.3f} F6000 S0"]
    commands = [*head, *body, "M5 I", "M400"]
    assert len(commands) == lines
    return commands, points


class Board:
    """The serving process. `port`: the path that a host opens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.port = json.loads(process.stdout.readline())["url"].removeprefix("serial:").split("?")[0]

    def end(self) -> dict[str, Any]:
        """Stop serving; the truth (`marlin_pty_server.py` says what is in it)."""
        out, _ = self._process.communicate(timeout=20)
        assert self._process.returncode == 0
        return json.loads(out)


@contextmanager
def served_board(folder: Path, *options: str, faults: Sequence[Fault] = ()) -> Iterator[Board]:
    """An emulated board on a pty in `folder`, struck by `faults` on the wire `motion`."""
    schedule = folder / "faults.json"
    schedule.write_text(json.dumps([fault.to_dict() for fault in faults]))
    process = subprocess.Popen(
        [sys.executable, HERE / "marlin_pty_server.py", folder, "--faults", schedule, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent, env={"PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    try:
        yield Board(process)
    finally:
        process.kill()
        process.communicate()


def check_truth(
    truth: dict[str, Any],
    points: list[tuple[float, float]],
    first_line_no: int | None = None,
    *,
    near_mm: float = 1e-9,
    near_s: float = 1e-9,
) -> None:
    """Every vector of `program` was executed once, in order, with its power and energy, and nothing else.

    `first_line_no`: the line number that the host gives the first vector, where it counts on by one from there.
    `near_mm`, `near_s`: what the board rounds off, of a place and of the S fraction.
    """
    assert truth["crashes"] == 0 and truth["dropped_bytes"] == 0
    assert truth["position_mm"] == pytest.approx([*points[-1], 0.0], abs=near_mm)
    executed = truth["executed"]
    assert len(executed) == len(points)
    if first_line_no is not None:
        assert [row[0] for row in executed] == list(range(first_line_no, first_line_no + len(points)))
    for i, (row, end) in enumerate(zip(executed, points)):
        assert row[3:5] == pytest.approx(end, abs=near_mm)
        assert row[5] == pytest.approx((500 + i % 500) / 1000, abs=near_s)
    for row, joules in zip(executed, truth["energy_j"]):
        assert joules == pytest.approx(100.0 * row[5] * math.dist(row[1:3], row[3:5]) / 100.0, rel=1e-6)
