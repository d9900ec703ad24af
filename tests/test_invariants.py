"""Is each safety rule seen when it is broken, and left alone when it is kept? Each breach is made by hand."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest

from hil_sim.harness.invariants import RULES, Watched, breaches
from hil_sim.harness.outline import Outline, outside
from hil_sim.harness.powder import fill_under
from hil_sim.world.histories import Histories, positions_at, ranges_over
from hil_sim.world.plant.gantry import Gantry, Move, Run
from hil_sim.world.plant.linear_axis import LinearAxis, Phase
from hil_sim.world.plant.optics import NO_BLOCK
from hil_sim.world.plant.recoater import Laid
from hil_sim.world.safety import SafetySpec

SQUARE = Outline(0.5, np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]]), np.array([0, 4]))
SMALL = Outline(1.0, np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]]), np.array([0, 4]))
SPOT_MM = 1.0


def row(t0: float, t1: float, a: tuple[float, float], b: tuple[float, float] | None = None, w: float = 100.0) -> list:
    """A row of exposure; without an end it stands."""
    return [t0, t1, *a, *(b or a), w, w, NO_BLOCK if b is None else 0]


def watch(*rows: list, **changes: object) -> Watched:
    """A run of 100 s in which nothing is wrong but `rows`: a layer laid at 1 s, the piston 0.5 mm down."""
    histories = Histories()
    histories.phases = {"blade": [Phase(0.0, 0.0, 0.0, 0.0)], "piston": [Phase(0.0, 0.5, 0.0, 0.0)]}
    for name in ("door", "purge"):
        histories.changed(name, 0.0, 1.0)
    histories.changed("layer", 1.0, 0.0)
    w = Watched(
        histories=histories,
        rows=np.array(rows, dtype=float).reshape(-1, 9),
        laid=[Laid(1.0, 0.0, 250.0, 0.5, 1.0)],
        safety=SafetySpec(),
        blade_zero_mm=-25.0,
        bed_x_mm=250.0,
        outlines=[SQUARE, SMALL],
        spot_mm=SPOT_MM,
        ended_s=90.0,
        host_died=False,
        end_s=100.0,
    )
    return replace(w, **changes)  # type: ignore[arg-type]


def rules(w: Watched) -> list[str]:
    return [breach.rule for breach in breaches(w)]


GOOD = row(5.0, 6.0, (11.0, 11.0), (29.0, 11.0))


def test_a_run_as_it_should_be_breaks_no_rule() -> None:
    assert breaches(watch(GOOD, row(6.0, 6.9, (29.0, 11.0)))) == []
    assert breaches(watch()) == []


def test_a_beam_that_rests_too_long_is_seen_though_its_power_changes_meanwhile() -> None:
    at = (15.0, 15.0)
    assert rules(watch(row(5.0, 6.0, at))) == []
    (breach,) = breaches(watch(row(5.0, 5.6, at), row(5.6, 6.2, at, w=50.0)))
    assert breach.rule == "still" and breach.t0_s == 5.0 and breach.t1_s == 6.2
    assert "15.0, 15.0 mm for 1.20 s" in breach.sentence
    assert rules(watch(row(5.0, 5.6, at), row(5.7, 6.3, at))) == [], "a beam that went out between rested twice"
    assert rules(watch(row(5.0, 5.6, at), row(5.6, 6.2, (16.0, 15.0)))) == []


@pytest.mark.parametrize("name", ["door", "purge"])
def test_a_beam_behind_an_open_switch_is_seen(name: str) -> None:
    w = watch(GOOD)
    w.histories.changed(name, 5.5, 0.0)
    w.histories.changed(name, 8.0, 1.0)
    (breach,) = breaches(w)
    assert breach.rule == name
    early = watch(row(5.0, 5.505, (11.0, 11.0), (20.0, 11.0)), row(9.0, 10.0, (20.0, 11.0), (29.0, 11.0)))
    early.histories.changed(name, 5.5, 0.0)
    early.histories.changed(name, 8.0, 1.0)
    assert breaches(early) == [], "the circuit has its ten milliseconds, and then it was closed again"


def test_a_door_that_stays_open_is_open_to_the_end() -> None:
    w = watch(GOOD)
    w.histories.changed("door", 4.0, 0.0)
    assert rules(w) == ["door"]


def test_a_beam_where_no_powder_was_laid_is_seen() -> None:
    half = [Laid(1.0, 0.0, 20.0, 0.5, 1.0)]
    assert rules(watch(GOOD, laid=half)) == ["powder"]
    thin = [*half, Laid(2.0, 20.0, 250.0, 0.5, 0.2)]
    assert rules(watch(GOOD, laid=thin)) == [], "thin powder is another matter"
    late = [*half, Laid(5.5, 20.0, 250.0, 0.5, 1.0)]
    assert rules(watch(GOOD, laid=late)) == ["powder"]
    above = [Laid(1.0, 0.0, 250.0, 0.0, 1.0)]
    assert rules(watch(GOOD, laid=above)) == ["powder"], "that powder is another layer's"


def test_the_powder_of_a_plate_that_slipped_lies_where_it_truly_is() -> None:
    w = watch(GOOD, laid=[Laid(1.0, 0.0, 250.0, 0.2, 1.0)])
    assert rules(w) == ["powder"]
    w.histories.changed("slip_mm", 0.5, 0.3)
    assert rules(w) == []


def test_a_beam_that_is_stuck_on_while_the_gantry_moves_does_not_rest() -> None:
    leak = row(5.0, 7.5, (11.0, 11.0), (29.0, 11.0))
    leak[8] = NO_BLOCK
    assert rules(watch(leak)) == []


def test_a_beam_beyond_the_outline_is_seen_by_more_than_half_a_spot() -> None:
    assert rules(watch(row(5.0, 6.0, (11.0, 9.55), (29.0, 9.55)))) == []
    (breach,) = breaches(watch(GOOD, row(6.0, 7.0, (11.0, 9.4), (29.0, 9.4))))
    assert breach.rule == "outside" and breach.t0_s == 6.0


def test_each_layer_has_its_own_outline() -> None:
    w = watch(row(5.0, 6.0, (11.0, 25.0), (29.0, 25.0)), row(15.0, 16.0, (11.0, 25.0), (29.0, 25.0)))
    w.histories.phases["piston"].append(Phase(10.0, 1.0, 0.0, 0.0))
    w.histories.changed("layer", 11.0, 1.0)
    w = replace(w, laid=[*w.laid, Laid(11.0, 0.0, 250.0, 1.0, 1.0)])
    assert [(b.rule, b.t0_s) for b in breaches(w)] == [("outside", 15.0)]


def test_a_beam_after_the_host_is_seen_and_one_that_died_has_its_watchdog() -> None:
    late = row(90.5, 90.9, (11.0, 11.0), (19.0, 11.0))
    assert rules(watch(late)) == ["after"]
    assert rules(watch(late, host_died=True)) == []
    assert rules(watch(row(90.5, 91.2, (11.0, 11.0), (19.0, 11.0)), host_died=True)) == ["after"]


def test_a_blade_in_the_beam_is_seen() -> None:
    w = watch(GOOD)
    w.histories.phases["blade"] = [Phase(0.0, 45.0, 0.0, 0.0)]  # over the bed at x = 20
    assert rules(w) == ["blade"]
    w.histories.phases["blade"] = [Phase(0.0, 0.0, 0.0, 0.0), Phase(6.5, 45.0, 0.0, 0.0)]
    assert rules(w) == []


def sweeps(t_s: float, *to_mm: float) -> Histories:
    """A blade that rests at 0 mm until it goes from place to place at `t_s`, 400 mm/s fast, without a rest between."""
    w = watch()
    axis = LinearAxis("blade", travel_mm=(-2.0, 325.0))
    w.histories.follow(axis)
    for target_mm in to_mm:
        t_s = axis.move(t_s, target_mm, 400.0, 4000.0, 4000.0)
    w.histories.close(100.0)
    return w.histories


@pytest.mark.parametrize("to_mm", [(200.0,), (200.0, 0.0), (45.0, 0.0)], ids=["stays beyond", "comes back", "touches"])
def test_a_blade_that_comes_into_the_beam_after_it_went_on_is_seen(to_mm: tuple[float, ...]) -> None:
    """Neither when the light goes on nor when it goes out is the blade anywhere near."""
    at_20 = row(5.0, 6.5, (19.0, 11.0), (21.0, 11.0))
    assert rules(watch(at_20, histories=sweeps(5.1, *to_mm))) == ["blade"]
    for when_s in (1.0, 7.0):
        if to_mm[-1] == 0.0:
            assert rules(watch(at_20, histories=sweeps(when_s, *to_mm))) == [], "it was back, or came later"


def test_a_blade_that_turns_before_the_beam_is_not_in_it() -> None:
    at_20 = row(5.0, 6.5, (19.0, 11.0), (21.0, 11.0))
    assert rules(watch(at_20, histories=sweeps(5.1, 41.0, 0.0))) == [], "2.5 mm and a half before x = 19"


def gantry_at(x_mm: float, t_s: float) -> Histories:
    """A gantry that goes 20 mm along x from `x_mm` at `t_s`."""
    w = watch()
    gantry = Gantry(start_mm=(x_mm, 0.0, 0.0))
    gantry.on_entry = w.histories.moved
    gantry.run(t_s, Move((0.0, 0.0, 0.0), (20.0, 0.0, 0.0), 0.0, 50.0, 0.0, 500.0, 50.0))
    return w.histories


def test_a_gantry_that_moves_across_the_blade_is_seen() -> None:
    meets = gantry_at(100.0, 5.0)
    meets.phases["blade"] = [Phase(0.0, 135.0, 0.0, 0.0)]  # at x = 110
    assert rules(watch(histories=meets)) == ["collision"]
    meets.phases["blade"] = [Phase(0.0, 200.0, 0.0, 0.0)]
    assert rules(watch(histories=meets)) == [], "far enough away"
    meets.phases["blade"] = [Phase(0.0, 0.0, 0.0, 0.0), Phase(7.0, 135.0, 0.0, 0.0)]
    assert rules(watch(histories=meets)) == [], "the blade came later"


def test_a_blade_that_passes_through_while_the_gantry_moves_is_seen() -> None:
    meets = gantry_at(100.0, 5.0)
    meets.phases["blade"] = [Phase(0.0, 25.0, 0.0, 0.0), Phase(5.0, 25.0, 500.0, 0.0)]
    assert rules(watch(histories=meets)) == ["collision"]


def test_a_blade_that_strokes_and_is_back_while_the_gantry_moves_is_seen() -> None:
    """The move takes 0.5 s, and so long does the blade of 10 m/s2 to come out to 200 mm and go home again."""
    for stroke_s, broken in ((5.02, ["collision"]), (1.0, []), (5.6, [])):
        meets = gantry_at(50.0, 5.0)
        (run,) = (entry for entry in meets.motion if isinstance(entry, Run))
        assert 5.4 < run.t1_s < 5.55
        turn_s = stroke_s + 0.2  # one parabola: 200 mm out in 0.2 s, and 0.2 s back
        meets.phases["blade"] = [
            Phase(0.0, 0.0, 0.0, 0.0), Phase(stroke_s, 0.0, 2000.0, -10000.0), Phase(turn_s + 0.2, 0.0, 0.0, 0.0),
        ]  # fmt: skip
        assert rules(watch(histories=meets)) == broken, stroke_s


def test_the_range_of_an_axis_is_that_of_a_thousand_looks() -> None:
    axis, histories = LinearAxis("blade", travel_mm=(-2.0, 325.0)), Histories()
    histories.follow(axis)
    for t_s, target_mm in ((1.0, 300.0), (2.0, 40.0), (2.9, 200.0), (6.0, 0.0)):
        axis.move(t_s, target_mm, 250.0, 500.0, 900.0)
    histories.close(20.0)
    phases = histories.phases["blade"]
    spans = np.sort(np.random.default_rng(0).uniform(0.0, 10.0, (300, 2)), axis=1)
    low_mm, high_mm = ranges_over(phases, spans[:, 0], spans[:, 1])
    for (from_s, to_s), low, high in zip(spans, low_mm, high_mm, strict=True):
        looks_mm = positions_at(phases, np.linspace(from_s, to_s, 1000))
        assert low - 1e-9 <= looks_mm.min() < low + 0.5 and high - 0.5 < looks_mm.max() <= high + 1e-9


def test_an_axis_that_runs_into_its_end_is_seen() -> None:
    w = watch()
    axis = LinearAxis("blade", travel_mm=(-2.0, 325.0))
    w.histories.follow(axis)
    axis.move(1.0, 400.0, 150.0, 1000.0, 1000.0)
    w.histories.close(50.0)
    (breach,) = breaches(w)
    assert breach.rule == "travel" and "the blade ran into its end" in breach.sentence
    assert breach.t0_s == pytest.approx(1.0 + 325.0 / 150.0 + 0.075)


def test_a_blade_that_meets_an_obstacle_is_not_at_its_end() -> None:
    w = watch()
    axis = LinearAxis("blade", travel_mm=(-2.0, 325.0))
    w.histories.follow(axis)
    axis.move(1.0, 310.0, 150.0, 1000.0, 1000.0)
    axis.lay_obstacle(1.5, 145.0)
    w.histories.close(50.0)
    assert axis.position_at(40.0) == 145.0 and breaches(w) == []


@pytest.mark.parametrize("key, limit_c", [("plate_c", 420.0), ("bed_c_max", 3000.0)])
def test_what_grows_too_hot_is_seen(key: str, limit_c: float) -> None:
    w = watch()
    w.histories.changed(key, 3.0, limit_c)
    assert breaches(w) == []
    w.histories.changed(key, 4.0, limit_c + 1.0)
    assert [(b.rule, b.t0_s) for b in breaches(w)] == [("temperature", 4.0)]


def test_a_history_that_was_cut_short_is_no_clean_bill() -> None:
    w = watch()
    w.histories.full.add("exposures")
    assert rules(w) == ["watch"]


def test_every_rule_has_a_test_of_its_own_here() -> None:
    assert set(RULES) == {
        "still",
        "switch",
        "powder",
        "outside",
        "after",
        "blade",
        "collision",
        "travel",
        "temperature",
    }


# ---- what the rules stand on


def test_a_second_pass_fills_a_share_of_what_the_first_one_left() -> None:
    laid = [Laid(1.0, 0.0, 100.0, 0.5, 0.2), Laid(2.0, 0.0, 50.0, 0.5, 1.0), Laid(3.0, 50.0, 100.0, 0.5, 0.5)]
    rows = np.array(
        [
            row(1.5, 1.6, (10.0, 5.0), (90.0, 5.0)),
            row(2.5, 2.6, (10.0, 5.0), (40.0, 5.0)),
            row(2.5, 2.6, (40.0, 5.0), (60.0, 5.0)),
            row(3.5, 3.6, (60.0, 5.0), (40.0, 5.0)),
            row(3.5, 3.6, (90.0, 5.0), (110.0, 5.0)),
            row(3.5, 3.6, (60.0, 5.0)),
        ]
    )
    fill = fill_under(rows, laid, np.full(len(rows), 0.5))
    assert fill.tolist() == pytest.approx([0.2, 1.0, 0.2, 0.6, 0.0, 0.6])


def test_nothing_laid_is_no_powder() -> None:
    assert fill_under(np.array([GOOD]), [], np.array([0.5])).tolist() == [0.0]


def test_a_way_through_a_hole_leaves_the_outline_though_its_ends_do_not() -> None:
    ring = Outline(
        0.5,
        np.array([[0.0, 0], [30, 0], [30, 30], [0, 30], [10, 10], [10, 20], [20, 20], [20, 10]]),
        np.array([0, 4, 8]),
    )
    ways = np.array([[5.0, 15.0, 25.0, 15.0], [5.0, 5.0, 25.0, 5.0], [9.0, 15.0, 10.4, 15.0], [31.0, 5.0, 31.0, 5.0]])
    assert outside(ring, ways, 0.5).tolist() == [True, False, False, True]


def test_histories_follow_an_axis_whose_move_is_broken_off() -> None:
    histories, axis = Histories(), LinearAxis("piston", travel_mm=(0.0, 100.0))
    histories.follow(axis)
    axis.move(1.0, 50.0, 10.0, 100.0, 100.0)
    axis.stop(2.0, 100.0)
    histories.close(9.0)
    kept = histories.phases["piston"]
    assert [round(p.t_s, 3) for p in kept] == [0.0, 1.0, 1.1, 2.0, 2.1]
    assert kept[-1].position_mm == pytest.approx(10.0) and dataclasses.astuple(kept[0])[1:] == (0.0, 0.0, 0.0)
