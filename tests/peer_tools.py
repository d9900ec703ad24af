"""Where the hosts and masters of others are, how to run one as a process of its own, and what to say where it is not.

`make peers` puts them into `.peers/` (or MOONKILN_PEER_TOOLS).
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
TOOLS = Path(os.environ.get("MOONKILN_PEER_TOOLS", REPOSITORY / ".peers"))
NODE_MODULES = TOOLS / "node" / "node_modules"
OCTOPRINT = TOOLS / "octoprint" / "bin" / "octoprint"
WAIT_S = 60


def _has_node_package(name: str) -> bool:
    return shutil.which("node") is not None and (NODE_MODULES / name / "package.json").is_file()


def _has_libmodbus() -> bool:
    return shutil.which("gcc") is not None and Path("/usr/include/modbus/modbus.h").is_file()


def needs_node_package(name: str) -> pytest.MarkDecorator:
    """Skip where the npm package is not in the folder of peers."""
    return pytest.mark.skipif(not _has_node_package(name), reason=f"{name} is not installed: make peers")


needs_octoprint = pytest.mark.skipif(not OCTOPRINT.is_file(), reason="OctoPrint is not installed: make peers")
needs_mbpoll = pytest.mark.skipif(shutil.which("mbpoll") is None, reason="mbpoll is not installed: apt install mbpoll")
needs_libmodbus = pytest.mark.skipif(
    not _has_libmodbus(), reason="libmodbus or gcc is not installed: apt install libmodbus-dev gcc"
)
needs_modbus_tk = pytest.mark.skipif(
    importlib.util.find_spec("modbus_tk") is None, reason="modbus-tk is not installed: pip install modbus-tk==1.1.5"
)


def compile_c(name: str, folder: Path) -> Path:
    """tests/peers/NAME.c with libmodbus, as a program in `folder`."""
    program = folder / name
    done = subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-I/usr/include/modbus", PEERS / f"{name}.c", "-o", program, "-lmodbus"],
        capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return program


def command_of(name: str, folder: Path) -> list[str]:
    """How to run tests/peers/NAME, by the ending of its file: Python, node or C (compiled in `folder`)."""
    kind = name.rpartition(".")[2]
    if kind == "c":
        return [str(compile_c(name.removesuffix(".c"), folder))]
    if kind == "js":
        return ["node", str(PEERS / name)]
    return [sys.executable, str(PEERS / name)]


def environment() -> dict[str, str]:
    """For a process of a peer: node finds its packages, and nobody finds ours."""
    return os.environ | {"NODE_PATH": str(NODE_MODULES), "NODE_NO_WARNINGS": "1"}


def run_peer(command: list[str], *words: object) -> Any:
    """Run a peer to its end, outside this repository; it prints one JSON value."""
    done = subprocess.run(
        [*command, *map(str, words)],
        capture_output=True, text=True, timeout=WAIT_S, cwd="/", env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads(done.stdout)
