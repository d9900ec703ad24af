"""Do stripes, islands and hexagons cut the lines at the borders of their tiles, and lose nothing of them?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from solid_helpers import loops_of, rings_of

from slicer.errors import ScanError
from slicer.hatching import HatchSettings
from slicer.hatching.lines import meander
from slicer.hatching.tiles import hexagons, islands, stripes
from slicer.layers import loops_area_mm2
from slicer.offsets import offset_loops
from tests import naive

TILINGS = {stripes: 1, islands: 2, hexagons: 3}
coordinate = st.integers(-100, 100).map(lambda n: n / 10)
tangles = st.lists(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8), min_size=1, max_size=3)
small = st.integers(-100, 100).map(lambda n: n / 20)
small_tangles = st.lists(st.lists(st.tuples(small, small), min_size=3, max_size=8), min_size=1, max_size=3)
angles = st.floats(-7.0, 7.0)
tilings = st.sampled_from(list(TILINGS))


def length(vectors: np.ndarray) -> float:
    return float(np.hypot(vectors[:, 2] - vectors[:, 0], vectors[:, 3] - vectors[:, 1]).sum())


def perimeter(rings) -> float:
    return sum(math.dist(p, q) for ring in rings for p, q in zip(ring, [*ring[1:], ring[0]]))


def box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


@settings(deadline=None, max_examples=40)
@given(
    tilings, small_tangles, st.floats(0.4, 3.0), angles, st.floats(-2.0, 2.0), st.floats(2.0, 12.0), st.floats(0.0, 0.4)
)
def test_kernel_agrees_with_its_twin(tiling, rings, spacing, angle, phase, tile, overlap):
    outline = offset_loops(loops_of(*rings), 0.0)
    assume(len(outline[0]) > 0)
    chosen = HatchSettings(spacing, tile, overlap * tile, phase)
    shortest, *others = (
        naive.tiled(
            rings_of(outline[0] + shift, outline[1]), spacing, angle + off, phase, at, TILINGS[tiling], tile,
            overlap * tile + more,
        )
        for at, off, more, shift in (
            (chosen.shortest_mm, 0.0, 0.0, 0.0),
            (chosen.shortest_mm * (1 + 1e-7), 0.0, 0.0, 0.0),
            (chosen.shortest_mm, 1e-9, 0.0, 0.0),
            (chosen.shortest_mm, -1e-9, 0.0, 0.0),
            (chosen.shortest_mm, 0.0, 1e-9, 0.0),
            (chosen.shortest_mm, 0.0, 0.0, np.array([1e-9, 2e-9])),
            (chosen.shortest_mm, 0.0, 0.0, np.array([-2e-9, -1e-9])),
        )
    )  # fmt: skip
    for other in others:  # what a last digit decides (a line along a border, the very shortest vector) has no answer
        assume([cell[:2] for cell in other] == [cell[:2] for cell in shortest])
    found = tiling(*outline, angle, chosen)
    np.testing.assert_allclose(found.vectors_mm, np.array([v for _, _, v in shortest]).reshape(-1, 4), atol=1e-6)
    cells = [cell[:2] for cell in shortest]
    assert found.tile.tolist() == [sorted(set(cells)).index(cell) for cell in cells]


@settings(deadline=None, max_examples=40)
@given(tilings, tangles, st.floats(0.5, 4.0), angles, st.floats(1.0, 9.0), st.floats(0.0, 0.9))
def test_no_vector_leaves_the_area(tiling, rings, spacing, angle, tile, overlap):
    outline = offset_loops(loops_of(*rings), 0.0)
    loops = rings_of(*outline)
    for x0, y0, x1, y1 in (
        tiling(*outline, angle, HatchSettings(spacing, tile, overlap * tile)).vectors_mm[:150].tolist()
    ):
        for part in (0.0, 0.1, 0.5, 0.77, 1.0):
            point = (x0 + part * (x1 - x0), y0 + part * (y1 - y0))
            assert naive.inside(point, loops) or min(naive.distance_to_loop(point, loop) for loop in loops) < 1e-9


@settings(deadline=None, max_examples=60)
@given(tilings, tangles, angles, st.floats(-1.0, 1.0), st.floats(2.0, 9.0))
def test_length_times_spacing_is_the_area(tiling, rings, angle, phase, tile):
    """A sum over lines differs from an area by half a spacing of its borders' width at most."""
    outline = offset_loops(loops_of(*rings), 0.0)
    assume(len(outline[0]) > 0)
    spacing = 0.02
    found = tiling(*outline, angle, HatchSettings(spacing, tile, 0.0, phase))
    borders = 0.5 * spacing * (perimeter(rings_of(*outline)) + (found.tile.max(initial=-1) + 2) * 3.5 * tile)
    dropped = (0.1 * spacing) * spacing * 2 * (len(found) + 2 * 30 / spacing)
    assert length(found.vectors_mm) * spacing == pytest.approx(
        loops_area_mm2(*outline), rel=1e-6, abs=borders + dropped
    )


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("angle", [0.0, math.pi / 2, math.radians(67), -1.0])
def test_large_plate_is_covered(tiling, angle):
    plate = loops_of(box(3, 5, 123, 85), box(20, 20, 40, 60)[::-1])
    found = tiling(*plate, angle, HatchSettings(0.1))
    assert length(found.vectors_mm) * 0.1 == pytest.approx(120 * 80 - 20 * 40, rel=1e-3)


@settings(deadline=None, max_examples=30)
@given(tangles, st.floats(0.5, 4.0), angles, st.floats(1.0, 9.0), st.floats(-1.0, 1.0))
def test_stripes_are_the_lines_of_the_meander_across_them_cut(rings, spacing, angle, tile, phase):
    outline = offset_loops(loops_of(*rings), 0.0)
    found = stripes(*outline, angle, HatchSettings(spacing, tile, 0.0, phase))
    whole = meander(*outline, angle + math.pi / 2, HatchSettings(spacing, tile, 0.0, phase))
    dropped = 0.1 * spacing * (2 * len(found) + 2 * len(whole))
    assert (
        length(whole.vectors_mm) - dropped
        <= length(found.vectors_mm)
        <= length(whole.vectors_mm) * (1 + 1e-9) + dropped
    )


@pytest.mark.parametrize("tiling", TILINGS)
def test_lines_on_the_borders_of_tiles_are_exposed_once(tiling):
    """Every fiftieth line lies just on a border: it belongs to one of the two tiles, not to both and not to none."""
    for offset in (0.0, 0.05, 0.1):
        square = loops_of(box(-12.5 + offset, -12.5 + offset, 12.5 + offset, 12.5 + offset))
        found = tiling(*square, 0.0, HatchSettings(0.1))
        assert length(found.vectors_mm) * 0.1 == pytest.approx(625.0, rel=2e-3)
        ends = np.sort(found.vectors_mm.reshape(-1, 2, 2), axis=1).reshape(-1, 4).round(6)
        assert len(np.unique(ends, axis=0)) == len(ends)


def test_neighbouring_islands_run_at_right_angles_and_keep_to_their_squares():
    found = islands(*loops_of(box(-2.5, -2.5, 22.5, 12.5)), 0.0, HatchSettings(0.5))
    middle = 0.5 * (found.vectors_mm[:, :2] + found.vectors_mm[:, 2:])
    for tile in range(15):
        mine = found.tile == tile
        column, row = tile % 5, tile // 5
        ways = found.vectors_mm[mine]
        assert (np.abs(ways.reshape(-1, 2) - [5.0 * column, 5.0 * row]) <= 2.5 + 1e-9).all()
        along_y = np.abs(ways[:, 2] - ways[:, 0]) < 1e-9
        assert mine.sum() == 10 and along_y.all() == bool((column + row) % 2) == along_y.any()
        assert (np.sign(np.diff(ways, axis=1)[:, [1]]).ravel() != 0).all() or along_y.all()
        np.testing.assert_allclose(middle[mine].mean(axis=0), [5.0 * column, 5.0 * row], atol=1e-9)


def test_hexagons_run_in_three_directions_and_no_neighbours_share_one():
    found = hexagons(*loops_of(box(-40, -40, 40, 40)), 0.2, HatchSettings(0.25, 8.0))
    ways = found.vectors_mm[:, 2:] - found.vectors_mm[:, :2]
    direction = np.degrees(np.arctan2(ways[:, 1], ways[:, 0]) - 0.2) % 180.0
    direction = np.where(direction > 179.0, direction - 180.0, direction)
    assert set(direction.round(6)) == {0.0, 60.0, 120.0}
    middle = 0.5 * (found.vectors_mm[:, :2] + found.vectors_mm[:, 2:])
    tiles = range(found.tile.max() + 1)
    centres = np.array([middle[found.tile == tile].mean(axis=0) for tile in tiles])
    of_tile = np.array([direction[found.tile == tile][0] for tile in tiles])
    assert all((direction[found.tile == tile].round(6) == of_tile[tile].round(6)).all() for tile in tiles)
    inner = np.abs(centres).max(axis=1) < 30.0
    apart = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    near = (apart > 0) & (apart < 9.0) & inner[:, None] & inner[None]
    np.testing.assert_allclose(apart[near], 8.0, atol=0.2)
    assert near.sum() > 100 and (np.abs(of_tile[:, None] - of_tile[None])[near] > 1.0).all()


@pytest.mark.parametrize("tiling", TILINGS)
def test_lines_of_a_tile_run_there_and_back(tiling):
    found = tiling(*loops_of(box(-30, -20, 30, 20)), 0.0, HatchSettings(0.2, 5.0))
    ways = found.vectors_mm[:, 2:] - found.vectors_mm[:, :2]
    same_tile = np.diff(found.tile) == 0
    assert ((ways[1:] * ways[:-1]).sum(axis=1)[same_tile] < 0.0).all()


@pytest.mark.parametrize(("tiling", "part"), [(stripes, 1 / 5), (islands, 2 / 5), (hexagons, 2 / 5)])
def test_overlap_grows_every_tile_by_half_of_it_to_every_side(tiling, part):
    plate = loops_of(box(-100, -80, 100, 80))
    plain, grown = (tiling(*plate, 0.3, HatchSettings(0.1, 5.0, overlap)).vectors_mm for overlap in (0.0, 0.5))
    assert length(grown) / length(plain) == pytest.approx((1.1) ** (part * 5), rel=0.01)


@pytest.mark.parametrize("tiling", TILINGS)
def test_grid_stands_on_the_plate_and_not_on_the_part(tiling):
    """A part at another place is cut at the same borders; a phase moves them by that much of a tile."""
    borders = []
    for x, phase in ((0.0, 0.0), (7.3, 0.0), (0.0, 0.25)):
        found = tiling(*loops_of(box(x - 40, -40, x + 40, 40)), 0.0, HatchSettings(0.1, 5.0, 0.0, phase))
        axis = 1 if tiling is stripes else 0
        along = np.abs(np.diff(found.vectors_mm[:, axis::2])).ravel() > 4.9
        borders.append(np.median((found.vectors_mm[along, axis] - 2.5 - 1e-6) % 5.0))
    assert borders[1] == pytest.approx(borders[0]) and (borders[2] - borders[0]) % 5.0 == pytest.approx(1.25)


@settings(deadline=None, max_examples=30)
@given(tilings, st.floats(-3.0, 3.0), st.floats(-1.0, 1.0))
def test_numbers_turn_with_the_part(tiling, turn, angle):
    part = loops_of([(1.3, 2.1), (40.7, 5.5), (33.1, 29.9), (8.8, 31.2)], box(15.2, 11.1, 22.7, 20.3)[::-1])
    cos, sin = math.cos(turn), math.sin(turn)
    there = np.array([[cos, sin], [-sin, cos]])
    chosen = HatchSettings(0.777, 5.0, 0.3, 0.217)
    found, turned = tiling(*part, angle, chosen), tiling(part[0] @ there, part[1], angle + turn, chosen)
    assert found.tile.tolist() == turned.tile.tolist()
    np.testing.assert_allclose((found.vectors_mm.reshape(-1, 2) @ there).reshape(-1, 4), turned.vectors_mm, atol=1e-9)


@pytest.mark.parametrize("tiling", TILINGS)
def test_impossible_tiles_are_a_sentence(tiling):
    square = loops_of(box(0, 0, 60, 40))
    with pytest.raises(ScanError, match="make them wider"):
        tiling(*square, 0.0, HatchSettings(1.0, 0.01))
    with pytest.raises(ScanError, match="make it wider"):
        tiling(*square, 0.0, HatchSettings(1e-6))
    with pytest.raises(ScanError, match="on the plate first"):
        tiling(square[0] + 1e13, square[1], 0.0, HatchSettings(1.0))
    with pytest.raises(ScanError, match="make either wider"):
        tiling(*square, 0.0, HatchSettings(1e-4, 0.05))
    with pytest.raises(ScanError, match="finite angle"):
        tiling(*square, math.nan, HatchSettings(1.0))
    assert len(tiling(*loops_of(), 0.0, HatchSettings(1.0))) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [({"tile_mm": 0.0}, "tile_mm"), ({"tile_overlap_mm": -0.1}, "tile_overlap_mm"), ({"tile_overlap_mm": 5.0}, "width"),
     ({"tile_overlap_mm": math.nan}, "overlap"), ({"phase": math.inf}, "phase"), ({"tile_mm": math.nan}, "tile_mm")],
)  # fmt: skip
def test_impossible_settings_are_a_sentence(words, says):
    with pytest.raises(ScanError, match=says):
        HatchSettings(1.0, **words)
