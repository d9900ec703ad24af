"""Are the bounds of a software stop those that are promised, and made of what lies ahead of it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from control.config import load_machine
from control.machine import HEAD_START_S
from control.machine_file import machine_path
from control.stop_bounds import ADAPTER_BYTES, LOOP_HOLD_S, stop_bounds


def test_every_device_that_acts_has_a_bound_and_it_is_kept() -> None:
    bounds = stop_bounds(load_machine("bench"))
    assert set(bounds) == {"motion", "beam", "heater", "recoater", "piston"}, "a meter and a camera do nothing"
    assert bounds["beam"].seconds <= 0.010 and bounds["motion"].seconds <= 0.010
    assert all(bound.seconds <= 0.150 for bound in bounds.values())


def test_a_bound_is_the_sum_of_what_may_be_ahead() -> None:
    bounds = stop_bounds(load_machine("bench"))
    assert bounds["motion"].seconds == pytest.approx(ADAPTER_BYTES * 10 / 115_200 + HEAD_START_S + LOOP_HOLD_S)
    assert "obeyed when the line in work is done" in stop_bounds(load_machine("bench_rrf"))["motion"].words
    assert "queue" not in bounds["motion"].words
    assert bounds["beam"].seconds == LOOP_HOLD_S and "kept free" in bounds["beam"].words
    assert bounds["heater"].seconds > 0.1, "9600 baud, and a meter beside it that nobody stops"
    assert "1 on the wire told before it" in bounds["piston"].words and bounds["piston"].seconds > 0.13


def test_the_bound_of_a_board_without_emergency_parser_says_when_it_hears(tmp_path: Path) -> None:
    text = machine_path("bench").read_text(encoding="utf-8")
    (tmp_path / "bench.toml").write_text(text.replace('"marlin"', '"marlin"\nemergency_parser = false'), "utf-8")
    bound = stop_bounds(load_machine(tmp_path / "bench.toml"))["motion"]
    assert "heard when its queue frees (up to 16 planned moves: no EMERGENCY_PARSER)" in bound.words
