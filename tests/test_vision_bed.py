"""Is a short feed seen, is good powder never called thin, and is a picture that cannot be judged never called good?"""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vision_helpers import HOLLOW_RING, OUTLINE, Bed, mountings

from hil_sim.world.scene import Lighting, Scene, ScenePlate, jpeg
from vision.inspect_bed import LayerInspection, inspect_exposed, inspect_powder
from vision.rectify import PlateGeometry

PLATE = PlateGeometry()
MOUNTINGS = mountings(3)
REGION_MM2 = 64.0 * 44.0  # OUTLINE with its margin of 2 mm, less the rounded corners


def look(
    bed: Bed, scene: Scene | None = None, *, outline=OUTLINE, reference: bytes | None = None, **how
) -> LayerInspection:
    picture = jpeg((scene or Scene()).picture(bed.maps(), **how))
    return inspect_powder(picture, PLATE, *outline, reference=reference)


def lighting(rng: np.random.Generator) -> Lighting:
    return Lighting(level=rng.uniform(0.6, 1.1), falloff=rng.uniform(0.0, 0.2), vignette=rng.uniform(0.0, 0.15))


def never_good(found: LayerInspection) -> bool:
    worst = (found.coverage_fraction, found.thin_area_mm2) == (0.0, found.region_mm2)
    return found.quality == "unknown" and worst and len(found.reason) > 30


# ---- short feeds


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.4, 0.5, 0.55, 0.6])
@pytest.mark.parametrize("layer_mm", [0.5, 2.0])
def test_a_feed_that_ends_early_is_measured(fraction, layer_mm):
    """The far end of the stroke stays thin; the part spans x 95 to 155, so fractions of 250 mm up to 0.62 strike it."""
    bed = Bed(layer_mm)
    found = look(bed.starve(bed.x > fraction * 250))
    thin_mm2 = min(157 - max(fraction * 250, 93), 64) * 44
    assert found.quality == "ok"
    assert found.thin_area_mm2 == pytest.approx(thin_mm2, rel=0.06, abs=35)  # rims count as thin
    assert found.coverage_fraction == pytest.approx(1 - thin_mm2 / REGION_MM2, abs=0.02)
    x0, y0, x1, y1 = found.boxes_mm[0]
    assert abs(x0 - max(fraction * 250, 93)) < 1.5 and abs(x1 - 157) < 1 and abs(y0 - 53) < 1 and abs(y1 - 97) < 1


def spots_of_thin_powder(count: int, first_seed: int) -> None:
    """Squares, bars and discs of 25 mm2 and more, 0.3 to 1.9 mm deep, anywhere in the region, any mounting and
    light."""
    rng = np.random.default_rng(first_seed)
    least = np.inf
    for seed in range(first_seed, first_seed + count):
        bed = Bed(2.0)
        area = rng.uniform(25, 60)
        width = np.sqrt(area) * rng.choice([0.5, 1.0, 2.0])
        x, y = rng.uniform(96 + width / 2, 154 - width / 2), rng.uniform(62, 88)
        where = bed.box(x - width / 2, y - area / width / 2, x + width / 2, y + area / width / 2)
        if seed % 3 == 0:
            where = np.hypot(bed.x - x, bed.y - y) < np.sqrt(area / np.pi)
        true_mm2 = where.sum() * bed.pitch_mm**2
        depth = rng.uniform(0.3, 1.9)
        bed.starve(where, filled=1 - depth / 2.0)
        found = look(
            bed, Scene(pose=MOUNTINGS[seed % 3], seed=seed % 3), shot=seed, powder=seed, lighting=lighting(rng)
        )
        assert found.quality == "ok", found.reason
        least = min(least, found.thin_area_mm2 / true_mm2)
        assert found.thin_area_mm2 > 0.6 * true_mm2, (seed, depth, width, found.reason)
        assert any(x0 - 1 < x < x1 + 1 and y0 - 1 < y < y1 + 1 for x0, y0, x1, y1 in found.boxes_mm)
    print(f"smallest part of a thin spot that was found: {least:.2f}")


def test_no_thin_spot_of_25_mm2_is_missed():
    spots_of_thin_powder(12, first_seed=7)


@pytest.mark.soak
def test_no_thin_spot_of_25_mm2_is_missed_in_two_hundred_beds():
    spots_of_thin_powder(200, first_seed=3000)


def good_scenes(count: int, first_seed: int) -> None:
    rng = np.random.default_rng(first_seed)
    worst = 0.0
    for seed in range(first_seed, first_seed + count):
        bed = Bed(rng.choice([0.5, 2.0]))
        bed.height += rng.uniform(-0.05, 0.05)  # a blade is set to a few hundredths
        found = look(
            bed, Scene(pose=MOUNTINGS[seed % 3], seed=seed % 4), shot=seed, powder=seed, lighting=lighting(rng)
        )
        assert found.quality == "ok", (seed, found.reason)
        assert found.thin_area_mm2 == 0.0 and found.coverage_fraction == 1.0, (seed, found.reason)
        worst = max(worst, found.reprojection_rms_mm or 9.0)
    assert worst < 0.06


def test_no_false_alarm_on_good_powder():
    good_scenes(12, first_seed=1000)


@pytest.mark.soak
def test_no_false_alarm_on_two_hundred_good_scenes():
    good_scenes(200, first_seed=5000)


def test_thin_powder_outside_the_region_is_not_this_layers_matter():
    bed = Bed()
    found = look(bed.starve(bed.x > 165))
    assert found.quality == "ok" and found.thin_area_mm2 == 0.0


def test_a_hole_in_the_outline_is_not_exposed_and_not_asked_for():
    bed = Bed()
    bed.starve(bed.box(115, 70, 135, 80))  # well inside the ring's hole
    assert look(bed, outline=HOLLOW_RING).thin_area_mm2 == 0.0
    bed = Bed()
    bed.starve(bed.box(85, 70, 95, 80))  # in the ring itself
    assert look(bed, outline=HOLLOW_RING).thin_area_mm2 == pytest.approx(100, rel=0.2)


def test_the_whole_bed_thin_and_the_first_layer_over_the_bare_plate():
    bed = Bed(part=(0, 0, 250, 150))
    assert look(bed).thin_area_mm2 == 0.0
    assert look(bed.starve(bed.x > -1, filled=0.2)).coverage_fraction == 0.0
    assert look(Bed().starve(bed.x > -1, filled=0.5)).coverage_fraction == 0.0


# ---- pictures that must not be judged


UNFIT = {
    "dark": ({"lighting": Lighting(level=0.3)}, "too dark"),
    "black": ({"lighting": Lighting(level=0.0)}, "is not seen"),
    "overexposed": ({"lighting": Lighting(level=1.5)}, "overexposed"),
    "blurred": ({"blur_px": 2.0}, "blurred"),
    "badly blurred": ({"blur_px": 6.0}, "is not seen"),
    "glare on the part": ({"lighting": Lighting(glare=(120, 70, 8, 150))}, "brighter than powder"),
    "glare on a marker": ({"lighting": Lighting(glare=(-12, -12, 14, 250))}, "marker"),
}


@pytest.mark.parametrize("way", UNFIT)
def test_a_bad_picture_is_unknown_and_never_good(way):
    how, words = UNFIT[way]
    for short in (False, True):
        bed = Bed()
        found = look(bed.starve(bed.x > 120) if short else bed, **how)
        assert never_good(found) and words in found.reason, found.reason
        assert found.picture_jpeg[:2] == b"\xff\xd8"


@given(blur=st.floats(0, 8), level=st.floats(0, 2), x=st.floats(0, 250), y=st.floats(0, 150), glare=st.floats(0, 250))
@settings(max_examples=25)
def test_however_bad_the_picture_a_starved_part_is_never_called_covered(blur, level, x, y, glare):
    bed = Bed()
    light = Lighting(level=level, glare=(x, y, 10.0, glare))
    found = look(bed.starve(bed.x > 110), lighting=light, blur_px=blur)
    assert found.quality == "unknown" or found.thin_area_mm2 > 25
    assert found.coverage_fraction < 0.99


def test_dirt_on_a_marker_and_a_blade_in_the_way():
    assert never_good(look(Bed(), Scene(plate=ScenePlate(hidden_markers=(2,)))))
    found = look(Bed(), blade_x_mm=125.0)
    assert found.quality == "unknown" or found.thin_area_mm2 > 300


def test_a_damaged_jpeg_is_unknown():
    whole = jpeg(Scene().picture(Bed().maps()))
    for part in (0.05, 0.3, 0.6):
        cut = whole[: int(part * len(whole))]
        assert never_good(inspect_powder(cut, PLATE, *OUTLINE))
        patched = cut + b"\xff\xd9"  # an end mark does not make it whole
        assert inspect_powder(patched, PLATE, *OUTLINE).quality == "unknown"
    assert never_good(inspect_powder(b"", PLATE, *OUTLINE))


def test_a_part_of_the_picture_without_grain_is_unknown():
    picture = Scene().picture(Bed().maps())
    picture[400:470, 560:660] = 128
    found = inspect_powder(picture, PLATE, *OUTLINE)
    assert never_good(found) and "no grain" in found.reason


def test_a_frozen_camera_and_a_blade_that_spread_nothing_are_noticed():
    bed, scene = Bed(), Scene()
    before = jpeg(scene.picture(bed.maps(), shot=1, powder=1))
    for shot in (1, 2):  # the very same bytes; another picture of the same powder
        found = look(bed, scene, shot=shot, powder=1, reference=before)
        assert never_good(found) and "same grain" in found.reason
    assert look(bed, scene, shot=2, powder=2, reference=before).quality == "ok"
    assert look(bed, scene, shot=2, powder=2, reference=b"no picture").quality == "ok"
    exposed = Bed().expose(Bed().box(95, 55, 155, 95))
    assert look(bed, scene, shot=3, powder=2, reference=jpeg(scene.picture(exposed.maps()))).quality == "ok"


# ---- after the exposure


def after(bed: Bed, where: np.ndarray, *, scene: Scene | None = None, outline=OUTLINE, **how) -> LayerInspection:
    scene = scene or Scene()
    before = jpeg(scene.picture(bed.maps(), shot=1, powder=1))
    then = jpeg(scene.picture(bed.expose(where).maps(), shot=2, powder=1, **how))
    return inspect_exposed(before, then, PLATE, *outline)


def test_a_layer_sintered_as_planned_overlaps_its_outline():
    rng = np.random.default_rng(3)
    for seed in range(3):
        bed = Bed()
        light = lighting(rng)
        found = after(
            bed, bed.box(95, 55, 155, 95), scene=Scene(pose=MOUNTINGS[seed % 3], seed=seed % 2), lighting=light
        )
        assert found.quality == "ok" and found.iou is not None and found.iou > 0.95, found.reason
        assert found.missing_mm2 is not None and found.missing_mm2 < 60 and found.excess_mm2 is not None
        assert found.region_mm2 == pytest.approx(2400, rel=0.02)


def test_what_was_not_sintered_is_measured_and_placed():
    bed = Bed()
    found = after(bed, bed.box(95, 55, 155, 95) & ~bed.box(120, 60, 130, 80))
    assert found.missing_mm2 == pytest.approx(200, abs=50)
    x0, y0, x1, y1 = found.boxes_mm[0]
    assert abs(x0 - 120) < 1.5 and abs(x1 - 130) < 1.5 and abs(y0 - 60) < 1.5 and abs(y1 - 80) < 1.5
    bed = Bed()
    nothing = after(bed, bed.x < -1)
    assert nothing.iou == 0.0 and nothing.missing_mm2 == nothing.region_mm2
    bed = Bed()
    shifted = after(bed, bed.box(98, 55, 158, 95))
    assert shifted.iou == pytest.approx(57 / 63, abs=0.03) and shifted.excess_mm2 == pytest.approx(120, abs=40)


def test_a_layer_that_glows_or_has_no_picture_before_is_unknown():
    part = Bed().box(95, 55, 155, 95)
    for glowing_c in (950.0, 1150.0):
        bed = Bed()
        bed.temp[part] = glowing_c
        found = after(bed, part)
        assert found.quality == "unknown" and "glow" in found.reason and found.iou == 0.0
    lost = inspect_exposed(None, jpeg(Scene().picture(Bed().maps())), PLATE, *OUTLINE)
    assert lost.quality == "unknown" and "no picture" in lost.reason and lost.missing_mm2 == lost.region_mm2
    warm = Bed()
    warm.temp[:] = 500.0
    warm.temp[part] = 800.0  # glows, and its tone still shows
    assert after(warm, part).quality == "ok"


# ---- what is handed back


def test_the_picture_for_the_report_is_small_and_the_rest_is_json():
    bed = Bed()
    found = look(bed.starve(bed.x > 120))
    assert 5_000 < len(found.picture_jpeg) <= 60_000
    shown = cv2.imdecode(np.frombuffer(found.picture_jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape[1] / shown.shape[0] == pytest.approx(250 / 150, rel=0.01)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["kind"] == "powder" and plain["boxes_mm"] and "picture_jpeg" not in plain


def test_outlines_that_cannot_be_are_our_own_error():
    picture = Scene().picture(Bed().maps())
    with pytest.raises(ValueError, match="off the plate"):
        inspect_powder(picture, PLATE, OUTLINE[0] + [150, 0], OUTLINE[1])
    with pytest.raises(ValueError, match="loop_starts must rise"):
        inspect_powder(picture, PLATE, OUTLINE[0], [0, 3])
    with pytest.raises(ValueError, match="finite points"):
        inspect_powder(picture, PLATE, np.full((4, 2), np.nan), [0, 4])
    with pytest.raises(ValueError, match="margin_mm"):
        inspect_powder(picture, PLATE, *OUTLINE, margin_mm=-1)


def test_a_layer_without_outline_asks_for_nothing():
    found = inspect_powder(Scene().picture(Bed().maps()), PLATE, np.empty((0, 2)), [0])
    assert found.quality == "ok" and (found.region_mm2, found.coverage_fraction, found.thin_area_mm2) == (0.0, 1.0, 0.0)


def test_importing_the_package_loads_no_opencv():
    import subprocess
    import sys

    code = "import vision, sys; assert 'cv2' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
