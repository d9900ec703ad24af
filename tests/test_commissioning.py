"""Does each step of a bench printer's first day do on the emulated bench what its page says?"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from bench_helpers import RECIPE, REPOSITORY, served_bench

PAGE = REPOSITORY / "docs" / "commissioning.md"
NUMBER = re.compile(r"\d+(\.\d+)?")


def steps() -> list[tuple[str, int, list[str]]]:
    """(command, exit code, lines shown) of each command of the page, in order."""
    found = []
    for body in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for call in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            line, *shown = call.splitlines()
            command, _, remark = line.partition("#")
            code = int(remark.rpartition(" ")[2]) if remark else 0
            found.append((command.strip(), code, shown))
    return found


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command.replace("RECIPE", str(RECIPE)))
    assert words[0] == "moonkiln"
    program = [sys.executable, "-m", "control.cli", *words[1:]]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    return subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def is_shown(shown: list[str], said: list[str]) -> bool:
    """Whether the lines come in this order, numbers apart; `...` stands for any lines, or for none."""
    at, loose = 0, False
    for line in shown:
        if line == "...":
            loose = True
            continue
        wanted = NUMBER.sub("#", line)
        places = range(at, len(said)) if loose else range(at, min(at + 1, len(said)))
        place = next((i for i in places if NUMBER.sub("#", said[i]) == wanted), None)
        if place is None:
            return False
        at, loose = place + 1, False
    return True


@pytest.mark.parametrize(
    "prints", [False, pytest.param(True, marks=[pytest.mark.soak, pytest.mark.timeout(600)])], ids=["up to", "with"]
)
def test_the_first_day_goes_as_its_page_says(prints: bool, tmp_path: Path) -> None:
    """Up to its prints, which take as long as they take, and with them."""
    every = [step for step in steps() if prints or not step[0].startswith("moonkiln print")]
    make_job = [command for command, _, _ in every if command.startswith(("moonkiln brick", "moonkiln slice"))]
    assert len(every) >= 15 and len(make_job) == 2
    for command in make_job:
        assert run(command, tmp_path).returncode == 0
    with served_bench(tmp_path / "D", "--job", tmp_path / "plate.kiln"):
        for command, code, shown in every:
            done = run(command, tmp_path)
            said = [line for line in (done.stdout + done.stderr).splitlines() if line]
            assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
            assert is_shown(shown, said), f"{command} said:\n" + "\n".join(said)


def test_a_line_that_is_not_said_is_found() -> None:
    assert is_shown(["a 1", "...", "c"], ["a 2.5", "b", "c"]) and is_shown(["..."], [])
    assert not is_shown(["a", "c"], ["a", "b", "c"]) and not is_shown(["...", "d"], ["a"])
