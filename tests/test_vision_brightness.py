"""Does the field that takes uneven light out leave a bed that was half spread as dark as it is?"""

from __future__ import annotations

import numpy as np
import pytest

from vision.brightness import flat_field
from vision.inspect_bed import THIN_DARKNESS

SIZE_MM = (250.0, 150.0)
ACROSS, ALONG = np.meshgrid((np.arange(50) + 0.5) / 50, (np.arange(30) + 0.5) / 30)
ROUND = ((ACROSS - 0.5) ** 2 + (ALONG - 0.5) ** 2) / 0.5  # 1 in the corners


def seen(brightness: np.ndarray) -> np.ndarray:
    return np.kron(brightness, np.ones((20, 20))).astype(np.float32)


def taken_out(tone: np.ndarray) -> np.ndarray:
    return tone / flat_field(tone, SIZE_MM)


@pytest.mark.parametrize("side", ["left", "right", "front", "back"])
def test_a_bed_that_was_spread_on_one_side_keeps_its_bare_side_dark(side: str) -> None:
    """A surface through the powder alone, carried on over the rest, made one bare bed in forty pass for full."""
    rng = np.random.default_rng(1)
    along = {"left": ACROSS, "right": 1 - ACROSS, "front": ALONG, "back": 1 - ALONG}[side]
    for _ in range(200):
        spread = along < rng.uniform(0.26, 0.6)
        vignette = 1 - rng.uniform(0.0, 0.04) * ROUND
        bare = rng.uniform(0.80, 0.86)
        tone = seen(np.where(spread, 1.0, bare) * vignette * (1 + rng.normal(0.0, 0.006, spread.shape)))
        passed = taken_out(tone)[seen(~spread) > 0] >= 1 - THIN_DARKNESS
        assert passed.mean() < 0.02


def test_light_that_falls_off_towards_the_corners_is_taken_out_of_a_full_bed() -> None:
    flat = taken_out(seen(1 - 0.11 * ROUND))
    assert np.abs(flat / flat.mean() - 1).max() < 0.01


def test_a_hollow_is_not_explained_away_as_light() -> None:
    hollow = np.hypot(ACROSS - 0.6, ALONG - 0.4) < 0.12
    tone = seen(np.where(hollow, 0.8, 1.0))
    assert taken_out(tone)[seen(hollow) > 0].max() < 1 - THIN_DARKNESS


def test_a_bed_without_powder_has_no_light_to_take_out() -> None:
    assert (flat_field(seen(np.full(ACROSS.shape, 0.5)), SIZE_MM) == 1.0).all()
