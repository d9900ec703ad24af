"""Does cncjs, a host that nobody here wrote, print on the emulated boards over a real pty?"""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from board_helpers import check_truth, program, served_board
from octoprint_server import wait
from peer_tools import NODE_MODULES, PEERS, WAIT_S, environment, needs_node_package, run_peer

pytestmark = pytest.mark.real_time

SECRET = "moonkiln"


@dataclass(frozen=True)
class Controller:
    """`name`: as cncjs calls it. `board`: as `marlin_pty_server.py` calls it. `head`, `tail`: around the vectors.
    `near_mm`, `near_s`: what the board rounds off."""

    name: str
    board: str
    head: tuple[str, ...]
    tail: tuple[str, ...]
    near_mm: float = 1e-9
    near_s: float = 1e-9


MARLIN = Controller("Marlin", "marlin", ("G28 X Y", "G90", "G21", "M4 I", "G0 X62 Y59.8 F6000 S0"), ("M5 I", "M400"))
GRBL = Controller(
    "Grbl",
    "grbl",
    ("G90", "G21", "M4 S0", "G0 X62 Y59.8", "G1 F6000"),
    ("M5",),
    near_mm=0.5 / 80 + 1e-6,  # whole steps, 80 a millimetre
    near_s=1 / 255,  # eight bits of power
)

CONTROLLERS = [pytest.param(MARLIN, id="Marlin"), pytest.param(GRBL, id="Grbl")]


@contextmanager
def served_cncjs(folder: Path, controller: str) -> Iterator[int]:
    """A cncjs server of its own; its HTTP port."""
    settings = folder / "cncrc.json"
    settings.write_text(json.dumps({"secret": SECRET, "state": {"checkForUpdates": False}}))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["node", str(NODE_MODULES / "cncjs" / "bin" / "cncjs"), "--host", "127.0.0.1", "--port", str(port)]
    with open(folder / "cncjs.log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--config", str(settings), "--controller", controller, "-vv"],
            stdout=log, stderr=log, cwd=folder, env=environment() | {"HOME": str(folder)},
        )  # fmt: skip
    try:
        wait(lambda: _is_up(port, process, folder), WAIT_S, lambda: "cncjs does not answer")
        yield port
    finally:
        process.kill()
        process.wait()


def _is_up(port: int, process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "cncjs.log").read_text()[-2000:]
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=WAIT_S).close()
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def print_with_cncjs(folder: Path, controller: Controller, vectors: int, seconds: int) -> tuple[Any, Any, list]:
    """What cncjs says, the truth, and the vectors' end points."""
    commands, points = program(vectors + 7)
    lines = [*controller.head, *commands[5:-2], *controller.tail]
    file = folder / "part.gcode"
    file.write_text("\n".join(lines) + "\n")
    with served_board(folder, "--board", controller.board) as board, served_cncjs(folder, controller.name) as port:
        client = ["node", str(PEERS / "cncjs_client.js")]
        said = run_peer(client, port, SECRET, board.port, controller.name, file, seconds)
        truth = board.end()
    assert said["total"] == len(lines) + 1  # cncjs waits for the planner at the end, with a line of its own
    return said, truth, points


@pytest.mark.soak
@needs_node_package("cncjs")
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_cncjs_prints_to_the_end(tmp_path: Path, controller: Controller) -> None:
    said, truth, points = print_with_cncjs(tmp_path, controller, 300, 50)
    assert said["errors"] == []
    assert said["states"] == ["running", "idle"]
    check_truth(truth, points, near_mm=controller.near_mm, near_s=controller.near_s)
