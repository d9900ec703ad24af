"""Does what `docs/hil-in-your-ci.md` builds work: its files in a fresh folder, by the very commands of its CI files?"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from plugin_helpers import REPOSITORY, environment, install_entry_points

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

PAGE = (REPOSITORY / "docs" / "hil-in-your-ci.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```(?:py|toml|yaml|ini|sh|text)\n# ([^\n]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
INSTALL = "python -m pip install -r requirements.txt"
pytestmark = pytest.mark.timeout(500)  # processes of their own, each with everything to import

GITHUB: dict[Any, Any] = yaml.safe_load(FILES[".github/workflows/hil.yml"])
GITLAB: dict[str, Any] = yaml.safe_load(FILES[".gitlab-ci.yml"])["hil"]


def github_commands() -> list[str]:
    return [step["run"] for step in GITHUB["jobs"]["hil"]["steps"] if "run" in step]


def gitlab_commands() -> list[str]:
    return [*GITLAB["before_script"], *GITLAB["script"]]


def in_shell(command: str, seeds: str) -> str:
    """A workflow's command as its shell gets it."""
    return command.replace("${{ matrix.seeds }}", seeds)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh repository with the page's files, and what the first commands of its CI made of them."""
    folder = tmp_path_factory.mktemp("ci") / "repository"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    done = shell(folder, *github_commands()[1:4])
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def repository(prepared: Path, tmp_path: Path) -> Path:
    """The same for a test that changes or runs something in it."""
    return Path(shutil.copytree(prepared, tmp_path / "repository"))


def shell(folder: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    """The commands one after the other, in a shell that finds this checkout as if it were installed."""
    site, bin_dir = folder.parent / "site", folder.parent / "bin"
    if not site.exists():
        install_entry_points(site)
        bin_dir.mkdir()
        for name, words in (("python", ""), ("moonkiln", " -m control.cli")):
            (bin_dir / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
            (bin_dir / name).chmod(0o755)
    env = environment(site)
    env["PATH"] = f"{bin_dir}:{env['PATH']}"
    script = "set -e\n" + "\n".join(commands)
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, timeout=400, check=False
    )


def test_both_ci_files_run_the_same_commands_and_install_what_they_need() -> None:
    ours = [command.replace('"${{ matrix.seeds }}"', '"$SEEDS"') for command in github_commands()]
    assert ours == gitlab_commands()
    assert ours[0] == INSTALL
    assert {line.split(">=")[0] for line in FILES["requirements.txt"].split()} == {"moonkiln", "pytest", "pytest-xdist"}
    named = {word for command in ours for word in re.findall(r"[\w/]+\.(?:py|toml)\b", command)}
    assert named == {"make_machine.py", "recipes/quick.toml", "machines/my_bench.toml"}


def test_both_ci_files_shard_the_same_seeds_and_keep_what_a_failure_needs() -> None:
    job = GITHUB["jobs"]["hil"]
    assert job["strategy"]["matrix"]["seeds"] == GITLAB["parallel"]["matrix"][0]["SEEDS"]
    upload = next(step for step in job["steps"] if step.get("uses", "").startswith("actions/upload-artifact"))
    assert upload["if"] == "${{ !cancelled() }}" and GITLAB["artifacts"]["when"] == "always"
    kept = set(upload["with"]["path"].split())
    assert kept == {*GITLAB["artifacts"]["paths"], *GITLAB["artifacts"]["reports"]["junit"]}
    written = {name for c in gitlab_commands() for name in re.findall(r"--(?:junitxml|basetemp)=(\S+)", c)}
    assert {name.rstrip("/") for name in kept} == written


def test_the_commands_run_green_in_a_fresh_repository(repository: Path) -> None:
    assert 'name = "my_bench"' in (repository / "machines" / "my_bench.toml").read_text()
    assert "start_mm = [12.0, 90.0, 0.0]" in (repository / "worlds" / "my_bench.toml").read_text()
    done = shell(repository, in_shell(github_commands()[4], "3:5"))
    assert done.returncode == 0 and "10 passed" in done.stdout, done.stdout + done.stderr
    rows = list(ET.parse(repository / "hil.xml").iter("property"))
    told = [(row.attrib["name"], row.attrib["value"]) for row in rows]
    assert sorted(value for name, value in told if name == "hil_seed") == ["3"] * 5 + ["4"] * 5
    verdicts = Counter(value for name, value in told if name == "hil_verdict")
    assert verdicts["detected"] == 6 and verdicts["exact"] + verdicts["degraded"] == 4, verdicts
    assert len(list((repository / "hil-runs").rglob("truth.mcap"))) == 6
    assert len(list((repository / "hil-runs").rglob("truth.npz"))) == 4


def test_a_host_that_forgets_its_rule_is_found(repository: Path) -> None:
    text = FILES["my_host.py"]
    assert "operator.ask, Intent.STOP" in text
    (repository / "my_host.py").write_text(text.replace("operator.ask, Intent.STOP", "operator.ask, Intent.RESUME"))
    line = 'python -m pytest -p no:xdist -q -k "shift" --hil-seed 1'
    done = shell(repository, line)
    assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout + done.stderr
    assert "pytest 'test_second.py::test_the_shift_ends_before_the_part[seed1]' --hil-seed 1" in done.stdout


@pytest.mark.real_time
@pytest.mark.soak
def test_the_wire_command_runs_green_too(repository: Path) -> None:
    done = shell(repository, github_commands()[5])
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
    assert list((repository / "hil-wire-runs").rglob("host.log"))
