"""Does a host that nobody here wrote, Printrun's printcore, print on the emulated board over a real pty?"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from board_helpers import HERE, check_truth, program, served_board

pytestmark = pytest.mark.real_time


def stream_with_printcore(folder: Path, lines: int, seconds: float, *options: str) -> None:
    commands, points = program(lines)
    file = folder / "part.gcode"
    file.write_text("\n".join(commands) + "\n")
    with served_board(folder, *options) as board:
        client = subprocess.run(
            [sys.executable, HERE / "printcore_client.py", board.port, file, str(seconds)],
            capture_output=True, text=True, timeout=seconds + 20,
        )  # fmt: skip
        assert client.returncode == 0, client.stdout[-2000:] + client.stderr[-2000:]
        truth = board.end()
    assert truth["resends"] == 0
    # printcore numbers the file's lines from 0; the five before the first vector are the preamble
    check_truth(truth, points, first_line_no=5)


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
    stream_with_printcore(tmp_path, 2000, 110, "--advanced-ok")
