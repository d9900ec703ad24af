"""Does a seed draw the same schedule everywhere, of known kinds only, that can strike where it is aimed?"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hil_helpers import generator
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.harness.generator import GeneratorError, Ground, drawn, load_generator, probe
from hil_sim.world.faults import KINDS, check_faults
from hil_sim.world.faults.schedule import COUNTED

POINTS = ("motion.to_device", "motion.to_host", "bus0.to_host", "recoater.feed")
GROUND = Ground(POINTS, {"motion.to_device": 50, "motion.to_host": 90, "bus0.to_host": 3, "recoater.feed": 2}, 20.0, 2)

SMALL = """
version = 3
[draw]
faults = [1]
[kinds.drop]
weight = 1.0
anchors = ["at_chunk", "at_s", "at_layer"]
"""


def test_every_kind_is_drawn_or_left_out_for_a_reason() -> None:
    shipped = load_generator()
    told = {*shipped.kinds, *shipped.left_out}
    assert sorted(set(KINDS) - told) == [], "hil_sim/harness/generator.toml says nothing of these kinds"
    assert not set(shipped.kinds) & set(shipped.left_out)
    assert all(shipped.left_out.values())


@given(st.integers(0, 10**9), st.integers(0, 60))
@settings(max_examples=300)
def test_what_is_drawn_can_strike(seed: int, attempt: int) -> None:
    schedule = drawn(load_generator(), GROUND, seed, attempt)
    assert schedule.faults and check_faults(schedule, POINTS) == []
    for fault in schedule.faults:
        if fault.anchor in COUNTED:
            assert fault.nth is not None and fault.nth < GROUND.events[fault.point]
        elif fault.at_layer is not None:
            assert fault.at_layer < GROUND.layers
        else:
            assert fault.at_s is not None and fault.at_s <= GROUND.end_s


def test_a_seed_draws_the_same_again_and_another_draws_another() -> None:
    shipped = load_generator()
    assert drawn(shipped, GROUND, 7, 0) == drawn(shipped, GROUND, 7, 0)
    seeds = {str(drawn(shipped, GROUND, seed, 0)) for seed in range(50)}
    attempts = {str(drawn(shipped, GROUND, 7, attempt)) for attempt in range(50)}
    assert len(seeds) > 40 and len(attempts) > 40


def test_the_first_schedules_of_this_version_are_these() -> None:
    """A generator that draws otherwise needs another version: reports name it, and people compare them."""
    shipped = load_generator()
    found = [[(f.kind, f.point, f.nth) for f in drawn(shipped, GROUND, seed, 0).faults] for seed in range(3)]
    assert (shipped.version, found) == (VERSION, FIRST)


VERSION = 6
FIRST = [
    [("duplicate", "motion.to_device", 12)],
    [("noise", "motion.to_host", None), ("streak", "recoater.feed", 0)],
    [("swap", "motion.to_host", 42)],
]


def test_a_kind_is_drawn_as_often_as_its_row_allows_and_others_instead(tmp_path: Path) -> None:
    with_two = generator(tmp_path, SMALL.replace("[1]", "[4]").replace("weight", "most = 2\nweight") + FLIP)
    for seed in range(50):
        kinds = [fault.kind for fault in drawn(with_two, GROUND, seed, 0).faults]
        assert len(kinds) == 4 and kinds.count("drop") <= 2
    alone = generator(tmp_path, SMALL.replace("[1]", "[4]").replace("weight", "most = 2\nweight"))
    assert len(drawn(alone, GROUND, 0, 0).faults) == 2


def test_a_rule_leaves_the_seeds_alone_that_keep_to_it(tmp_path: Path) -> None:
    free = generator(tmp_path, SMALL.replace("[1]", "[1, 2, 3]") + FLIP)
    ruled_text = SMALL.replace("[1]", "[1, 2, 3]").replace("version = 3", "version = 4\nstream = 3")
    ruled = generator(tmp_path, ruled_text.replace("weight", "most = 1\nweight") + FLIP)
    changed = 0
    for seed in range(100):
        before, after = (drawn(g, GROUND, seed, 0) for g in (free, ruled))
        keeps_to_it = [f.kind for f in before.faults].count("drop") <= 1
        assert (before == after) == keeps_to_it
        changed += not keeps_to_it
    assert 10 < changed < 90


FLIP = """
[kinds.flip]
weight = 1.0
anchors = ["at_chunk"]
"""


def test_every_kind_of_the_file_is_drawn_sooner_or_later() -> None:
    shipped = load_generator()
    found = {fault.kind for seed in range(400) for fault in drawn(shipped, GROUND, seed, 0).faults}
    possible = {name for name in shipped.kinds if any(_fits(name, point) for point in POINTS)}
    assert found >= possible


def _fits(name: str, point: str) -> bool:
    return any(fnmatchcase(point, pattern) for pattern in KINDS[name].points)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("kinds.drop", "kinds.dropp"), "'dropp' is no known fault"),
        (('"at_chunk", ', '"at_line", '), "not by at_line"),
        (("weight = 1.0", "weight = 0.0"), "weight"),
        (("weight = 1.0", "weight = 1.0\nargs.byte = { one_of = [1] }"), "not byte"),
        (("weight = 1.0", "weight = 1.0\ncount = [3, 1]"), "least and most"),
        (("weight = 1.0", "weight = 1.0\nfor_s = [0.0, 1.0]"), "for_s above 0"),
        (("faults = [1]", "faults = []"), "faults"),
        (("version = 3", "versoin = 3"), "versoin"),
        (("version = 3", "version = "), "Invalid value"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(change: tuple[str, str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=sentence):
        generator(tmp_path, SMALL.replace(*change))


def test_half_a_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match=r"args\.delay_s needs one_of, or least and most"):
        generator(tmp_path, SMALL.replace("kinds.drop", "kinds.delay") + "args.delay_s = { least = 1.0 }\n")


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="nowhere"):
        load_generator(tmp_path / "nowhere.toml")


def test_a_world_without_a_place_for_any_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeneratorError, match="no place"):
        drawn(generator(tmp_path, SMALL), Ground(("recoater.feed",), {"recoater.feed": 4}, 9.0, 1), 0, 0)


def test_nothing_is_aimed_at_what_never_happens(tmp_path: Path) -> None:
    quiet = Ground(("bus0.to_host",), {}, 20.0, 0)
    anchors = {f.anchor for seed in range(30) for f in drawn(generator(tmp_path, SMALL), quiet, seed, 0).faults}
    assert anchors == {"at_s"}


def test_a_probe_makes_every_counted_point_count_and_never_strikes() -> None:
    schedule = probe(list(POINTS), load_generator())
    assert {fault.point for fault in schedule.faults} == set(POINTS)
    assert all(schedule.strike(point, 10**6) is None for point in POINTS)
