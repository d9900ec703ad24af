"""Is the warmth that a path leaves the sum of its moving spots, and does it rank orders?"""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from test_ordering import ORIGIN, hatched, lines

from slicer.errors import ScanError
from slicer.ordering import ORDERS, OrderSettings
from slicer.scan import KIND_HATCH, ScanPath
from slicer.thermal import HeatModel, exposure_times_s, peak_rise_rank, residual_rise_k
from tests import naive

JUMP_SPEED = 200.0
MODEL = HeatModel(sigma_mm=0.5)


def path_of(vectors: np.ndarray, speed: float = 5.0, wait_s: np.ndarray | None = None) -> ScanPath:
    path = ScanPath.uniform(np.asarray(vectors, np.float64), KIND_HATCH, 60.0, speed)
    return path if wait_s is None else replace(path, wait_s=wait_s)


def by_sum(path: ScanPath, model: HeatModel) -> np.ndarray:
    begin_s, end_s = exposure_times_s(path, JUMP_SPEED)
    return naive.residual_rises(
        path.vectors_mm / 1000.0,
        begin_s,
        end_s,
        path.power_w * model.absorptivity,
        model.diffusivity_m2_s,
        model.heat_j_m3_k,
        model.sigma_mm / 1000.0,
    )


def test_rises_are_those_of_the_reference_table(shared_data):
    """Six vectors of a raster, quadrature in ln t with break points: what is left where the last one runs."""
    model = HeatModel(sigma_mm=1.25, absorptivity=1.0, memory_s=1e6, cut=6.0)
    with open(shared_data / "physics" / "07_return_time_residual.csv", newline="") as table:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(table)]
    assert len(rows) == 10
    for row in rows:
        vectors = lines(int(row["n_vectors"]), row["vector_len_m"] * 1e3, row["hatch_m"] * 1e3)
        if not row["bidirectional"]:
            vectors[1::2] = vectors[1::2][:, [2, 3, 0, 1]]
        path = ScanPath.uniform(vectors, KIND_HATCH, row["Q_abs_W"], row["v_m_s"] * 1e3)
        found = residual_rise_k(path, model, 1e12)[-1]  # the table's beam takes no time to jump
        expected = [row[f"dT_resid_{place}_K"] for place in ("start", "mid", "end")]
        np.testing.assert_allclose(found, expected, rtol=0.02)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rises_are_the_sum_over_small_steps(seed):
    random = np.random.default_rng(seed)
    path = path_of(random.uniform(0.0, 10.0, (14, 4)), wait_s=random.uniform(0.0, 1.0, 14))
    found, expected = residual_rise_k(path, replace(MODEL, cut=6.0), JUMP_SPEED), by_sum(path, MODEL)
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.005 * expected.max())


def test_beam_that_runs_on_finds_its_own_warmth():
    """Vectors that touch: the one before ended just now, give or take a rounding."""
    turn = np.linspace(0.0, 9.0, 80)
    points = np.c_[np.cos(turn), np.sin(turn)] * turn[:, None]
    path = path_of(np.c_[points[:-1], points[1:]], speed=7.3)
    found, expected = residual_rise_k(path, replace(MODEL, cut=6.0), JUMP_SPEED), by_sum(path, MODEL)
    np.testing.assert_allclose(found[1:], expected[1:], rtol=0.02, atol=0.005 * expected.max())


def test_cutting_off_what_is_far_or_long_ago_changes_little():
    path = path_of(lines(24, 6.0, 0.5))
    whole = residual_rise_k(path, replace(MODEL, cut=10.0, memory_s=1e9), JUMP_SPEED)
    np.testing.assert_allclose(residual_rise_k(path, MODEL, JUMP_SPEED), whole, rtol=0.005, atol=0.005 * whole.max())
    brief = residual_rise_k(path, replace(MODEL, memory_s=3.0), JUMP_SPEED)
    assert brief.sum() < 0.98 * whole.sum() and (brief <= whole + 1e-9).all()


def test_first_vector_finds_nothing_and_power_counts_in_proportion():
    path = path_of(lines(6, 6.0, 0.5))
    rises = residual_rise_k(path, MODEL, JUMP_SPEED)
    assert rises.shape == (6, 3) and (rises[0] == 0.0).all() and (rises[1:] > 0.0).all()
    double = replace(path, power_w=2.0 * path.power_w)
    np.testing.assert_allclose(residual_rise_k(double, MODEL, JUMP_SPEED), 2.0 * rises)


def test_part_turned_and_moved_is_as_warm():
    path = path_of(lines(10, 6.0, 0.5))
    turn = np.array([[math.cos(1.1), math.sin(1.1)], [-math.sin(1.1), math.cos(1.1)]])
    turned = path_of((path.vectors_mm.reshape(-1, 2) @ turn + 70.0).reshape(-1, 4))
    np.testing.assert_allclose(
        residual_rise_k(turned, MODEL, JUMP_SPEED), residual_rise_k(path, MODEL, JUMP_SPEED), rtol=1e-6
    )


def test_an_order_that_keeps_a_return_time_ranks_above_the_meander():
    hatch = hatched(lines(60, 8.0, 0.5))
    meander = path_of(hatch.vectors_mm)
    found = ORDERS["return_time"](hatch, 5.0, JUMP_SPEED, ORIGIN, OrderSettings(0.0, 10.0, 1.2))
    spread = path_of(found.vectors_of(hatch), wait_s=found.wait_s)
    assert peak_rise_rank(spread, MODEL, JUMP_SPEED) < 0.5 * peak_rise_rank(meander, MODEL, JUMP_SPEED)


def test_long_paths_are_sampled_evenly():
    path = path_of(lines(50, 3.0, 0.5))
    every, some = residual_rise_k(path, MODEL, JUMP_SPEED), residual_rise_k(path, MODEL, JUMP_SPEED, samples=20)
    assert np.array_equal(some, every[::3])


def test_nothing_is_cold():
    assert residual_rise_k(ScanPath.empty(), MODEL, JUMP_SPEED).shape == (0, 3)
    assert peak_rise_rank(ScanPath.empty(), MODEL, JUMP_SPEED) == 0.0


def test_what_the_model_cannot_do_is_a_sentence():
    path = path_of(lines(3))
    with pytest.raises(ScanError, match="conductivity_w_m_k is 0"):
        residual_rise_k(path, replace(MODEL, conductivity_w_m_k=0.0), JUMP_SPEED)
    with pytest.raises(ScanError, match="one head"):
        residual_rise_k(replace(path, beam=np.array([0, 1, 0], np.uint8)), MODEL, JUMP_SPEED)
