"""Does a run write to the disk behind the file-system port's back? No test could tear such a write."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
OF_A_RUN = (  # what a host runs through; commands that make files for a user, and reports afterwards, are not a run
    "host", "print_run", "run_teller", "recoating", "place", "exposing", "machine", "watch", "polling", "telemetry",
    "journal", "outcome", "inspection", "assembly", "operator",
    "rover/drive_run", "rover/outcome", "rover/drive_record", "rover/machine", "rover/eyes",
)  # fmt: skip
WRITERS = {
    "write_text", "write_bytes", "unlink", "rename", "replace", "touch", "rmdir", "copyfile", "copy", "copy2", "move",
    "whole_file", "remove", "symlink_to", "hardlink_to", "connect",
}  # fmt: skip
OWNERS = {"shutil", "os", "sqlite3"}
ON_A_PATH = {"write_text", "write_bytes", "unlink", "whole_file", "rename", "touch", "rmdir"}


def writes(source: str) -> list[tuple[int, str]]:
    """(line, call) of what may change a file: by its name, on a path or of a module that knows files."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [(call.lineno, ast.unparse(call.func)) for call in calls if _may_write(call)]


def _may_write(call: ast.Call) -> bool:
    owner, _, name = ast.unparse(call.func).rpartition(".")
    if name == "open":
        return owner in ("", "io") and any(set("wax+") & set(mode) for mode in _modes(call))
    if owner in OWNERS:
        return name in WRITERS
    return name in ON_A_PATH and owner != "files()"


def _modes(call: ast.Call) -> list[str]:
    given = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode")]
    return [node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@pytest.mark.parametrize("module", OF_A_RUN)
def test_a_run_writes_through_the_port_alone(module: str) -> None:
    source = (REPOSITORY / "control" / f"{module}.py").read_text(encoding="utf-8")
    assert not writes(source), f"control/{module}.py writes behind the port: use control.files"


@pytest.mark.parametrize(
    "source",
    [
        "open(path, 'wb')", "open(path, mode='a')", "path.write_text('x')", "path.unlink()", "shutil.copyfile(a, b)",
        "os.replace(a, b)", "path.rename(to)", "sqlite3.connect(path)", "with whole_file(path) as f:\n    pass",
    ],
)  # fmt: skip
def test_each_way_to_write_is_seen(source: str) -> None:
    assert writes(source)


@pytest.mark.parametrize("source", ["open(path, 'rb')", "files().rename(a, b)", "text.replace(a, b)", "link.connect()"])
def test_what_writes_nothing_passes(source: str) -> None:
    assert not writes(source)
