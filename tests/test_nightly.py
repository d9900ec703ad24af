"""Is the nightly campaign of `docs/campaigns.md` as long as it says, and does each of its commands work?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plugin_helpers import REPOSITORY, environment

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

PAGE = (REPOSITORY / "docs" / "campaigns.md").read_text(encoding="utf-8")
NIGHTLY: dict[str, Any] = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])["jobs"]
ROWS = NIGHTLY["campaign"]["strategy"]["matrix"]["include"]


def test_a_night_has_two_hundred_thousand_seeds() -> None:
    assert sum(row["seeds"] for row in ROWS) == 200_000 and "200,000 seeds" in PAGE


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['what']}-{row['machine']}")
def test_its_command_leaves_the_reports_that_it_keeps(row: dict[str, Any], tmp_path: Path) -> None:
    command = NIGHTLY["campaign"]["steps"][-2]["run"]
    (tmp_path / "moonkiln").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m control.cli "$@"\n')
    (tmp_path / "moonkiln").chmod(0o755)
    words = {"WHAT": row["what"], "MACHINE": row["machine"], "SEEDS": "2", "NIGHT": "3"}
    env = environment(tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}", **words)
    done = subprocess.run(
        ["bash", "-c", command.replace("-j 4", "-j 1")],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 seeds" in done.stdout
    assert 'name="seed 6"' in (tmp_path / "hil.xml").read_text(encoding="utf-8"), "the third night begins at 3 * 2"
    assert (tmp_path / "hil.html").stat().st_size and (tmp_path / "hil.parquet").stat().st_size
