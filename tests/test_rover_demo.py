"""Is the rover's demonstration planned over real heights where they are, and over generated ones where they are not?"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from control.cli import cli
from hil_sim.harness.demo_rover import plan_demo


def test_the_real_patch_gives_a_route_of_over_200_m(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOONKILN_DATA", str(shared_data))
    route = plan_demo(tmp_path, 200.0)
    assert "peak_near_shackleton" in route.map.path and 200.0 < route.length_m < 240.0
    assert max(route.predicted.slope_deg) <= 12.0


def test_without_it_hills_are_generated_and_driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOONKILN_DATA", str(tmp_path / "nothing"))
    result = CliRunner().invoke(cli, ["demo", "--rover", "--quick", "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 0, result.output
    assert "oracle: exact" in result.output and "hills.npz: 20 m planned" in result.output
