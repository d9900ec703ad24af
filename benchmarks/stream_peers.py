"""What hosts of others stream to the far end that our own stream is measured with. Each is a process of its own.

Printrun's printcore is GPL and OctoPrint AGPL: nothing of either is loaded here. The far end's clock is taken, from the
first move to the last: what they need to connect, to parse the file and to find out that they are done is not counted.
Neither keeps a journal.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stream_responder import far_end, make_lines

TESTS = Path(__file__).resolve().parent.parent / "tests"
WAIT_S = 120


class Absent(Exception):
    """The peer is not installed; says how to come by it."""


def printcore(port: str, file: Path) -> str:
    """Stream the file with printcore; returns what it is."""
    if importlib.util.find_spec("printrun") is None:
        raise Absent("Printrun is not installed: tests/peers.txt")
    words = [sys.executable, TESTS / "printcore_client.py", port, file, str(WAIT_S)]
    subprocess.run(words, check=True, capture_output=True, timeout=WAIT_S + 30)
    return f"printcore {version('Printrun')}"


def octoprint(port: str, file: Path) -> str:
    """Print the file with OctoPrint over its REST interface; returns what it is."""
    with contextlib.suppress(ValueError):
        sys.path.remove(str(TESTS))
    sys.path.append(str(TESTS))
    try:
        from octoprint_server import served_octoprint
        from peer_tools import OCTOPRINT
    except ImportError as error:
        raise Absent(f"what drives OctoPrint in the tests needs {error.name}") from None
    if not OCTOPRINT.is_file():
        raise Absent("OctoPrint is not installed: make peers, or MOONKILN_PEER_TOOLS")
    with served_octoprint(file.parent / "octoprint", port) as server:
        server.connect(port)
        server.upload_and_print("part.gcode", file.read_text())
        server.wait_printed(WAIT_S)
        told = server.ask("version")["server"]
        server.disconnect()
    return f"OctoPrint {told}"


PEERS: dict[str, Callable[[str, Path], str]] = {"printcore": printcore, "OctoPrint": octoprint}


def measure(count: int, ours_lines_s: float) -> list[dict[str, Any]]:
    """One row a peer: who, lines_per_s, and how many times as fast we were; or why it was skipped, or failed."""
    return [_row(name, stream, count, ours_lines_s) for name, stream in PEERS.items()]


def _row(name: str, stream: Callable[[str, Path], str], count: int, ours_lines_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="moonkiln-bench-") as folder:
        file, port = Path(folder) / "part.gcode", str(Path(folder) / "motion")
        file.write_bytes(b"\n".join(make_lines(count)) + b"\n")
        try:
            with far_end(port) as heard:
                who = stream(port, file)
        except Absent as error:
            return {"who": name, "skipped": str(error)}
        except (subprocess.SubprocessError, OSError, AssertionError) as error:
            return {"who": name, "error": (str(error).splitlines() or [type(error).__name__])[0][:200]}
    if heard["lines"] != count:
        return {"who": who, "error": f"{heard['lines']:g} of {count} lines came"}
    lines_s = (count - 1) / heard["seconds"]
    return {"who": who, "lines": count, "lines_per_s": round(lines_s, 1), "ratio": round(ours_lines_s / lines_s, 2)}
