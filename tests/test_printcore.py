"""Does a host that nobody here wrote, Printrun's printcore, print on the emulated board over a real pty?"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

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
    return [*head, *body, "M5 I", "M400"], points


def stream_with_printcore(folder: Path, lines: int, seconds: float, *options: str) -> None:
    commands, points = program(lines)
    assert len(commands) == lines
    file = folder / "part.gcode"
    file.write_text("\n".join(commands) + "\n")
    server = subprocess.Popen(
        [sys.executable, HERE / "marlin_pty_server.py", folder, *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent, env={"PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    try:
        assert server.stdin and server.stdout
        port = json.loads(server.stdout.readline())["url"].removeprefix("serial:").split("?")[0]
        client = subprocess.run(
            [sys.executable, HERE / "printcore_client.py", port, file, str(seconds)],
            capture_output=True, text=True, timeout=seconds + 20,
        )  # fmt: skip
        assert client.returncode == 0, client.stdout[-2000:] + client.stderr[-2000:]
        server.stdin.close()
        truth = json.loads(server.stdout.readline())
        assert server.wait(10) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    assert truth["crashes"] == 0 and truth["dropped_bytes"] == 0 and truth["resends"] == 0
    assert truth["position_mm"] == pytest.approx([*points[-1], 0.0], abs=1e-9)
    executed = truth["executed"]
    assert len(executed) == len(points)
    # printcore numbers the file's lines from 0; the five before the first vector are the preamble
    assert [row[0] for row in executed] == list(range(5, 5 + len(points)))
    for row, end, i in zip(executed, points, range(len(points))):
        assert row[3:5] == pytest.approx(end, abs=1e-9) and row[5] == pytest.approx((500 + i % 500) / 1000)
    for row, joules in zip(executed, truth["energy_j"]):
        assert joules == pytest.approx(100.0 * row[5] * math.dist(row[1:3], row[3:5]) / 100.0, rel=1e-6)


needs_printrun = pytest.mark.skipif(
    importlib.util.find_spec("printrun") is None,
    reason="Printrun is not installed: pip install --no-deps Printrun==2.2.0",
)


@needs_printrun
def test_printcore_streams_500_checksummed_lines(tmp_path: Path) -> None:
    stream_with_printcore(tmp_path, 500, 60)


@needs_printrun
@pytest.mark.soak
def test_printcore_streams_2000_checksummed_lines(tmp_path: Path) -> None:
    stream_with_printcore(tmp_path, 2000, 110, "advanced")
