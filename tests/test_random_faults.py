"""Does a scenario's `[random]` draw what it says, no more, and the same in a run alone as in a campaign?"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from test_hil_commands import moonkiln

from hil_sim.harness.generator import GeneratorError, Ground, drawn, load_generator
from hil_sim.harness.narrowing import narrowed_generator, narrowed_ground
from hil_sim.harness.run_file import read_run
from hil_sim.harness.scenario import RandomFaults, ScenarioError, load_scenario

POINTS = ("motion.to_device", "motion.to_host", "bus0.to_host", "interlock.door")
GROUND = Ground(POINTS, {"motion.to_device": 50, "motion.to_host": 90, "bus0.to_host": 3}, 20.0, 2)

PLATE = """
schema_version = 1
name = "s"
cell_xy_mm = 10
part = { x_mm = 4, y_mm = 4, layers = 1 }
"""
WANTED = """
[random]
count = [2, 3]
kinds = ["delay", "dro*"]
points = ["motion.*"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "s.toml"
    path.write_text(PLATE + text, encoding="utf-8")
    return path


def test_only_what_is_wanted_is_drawn_by_the_weights_of_the_generator() -> None:
    shipped = load_generator()
    wanted = RandomFaults((2, 3), ("d[re]*", "door_open"), ("motion.*", "interlock.*"), 5.0, 8.0)
    few, ground = narrowed_generator(shipped, wanted), narrowed_ground(GROUND, wanted)
    schedules = [drawn(few, ground, seed, 0).faults for seed in range(300)]
    assert {len(faults) for faults in schedules} == {2, 3}
    faults = [fault for each in schedules for fault in each]
    assert {f.kind for f in faults} == {"drop", "delay", "door_open"}
    assert {f.point for f in faults} == {"motion.to_device", "motion.to_host", "interlock.door"}
    times_s = [f.at_s for f in faults if f.at_s is not None]
    assert 5.0 <= min(times_s) < 6.0 and 7.0 < max(times_s) <= 8.0
    assert all(few.kinds[name] is shipped.kinds[name] for name in few.kinds)


def test_without_a_wish_a_seed_draws_what_it_always_drew() -> None:
    shipped, anything = load_generator(), RandomFaults()
    few = msgspec.structs.replace(narrowed_generator(shipped, anything), draw=shipped.draw)
    ground = narrowed_ground(GROUND, anything)
    for seed in range(50):
        assert drawn(few, ground, seed, 0) == drawn(shipped, GROUND, seed, 0)


@pytest.mark.parametrize(
    "wanted, sentence",
    [
        (RandomFaults(kinds=("dorp",)), r"random\.kinds: 'dorp' fits no kind .*; did you mean 'drop'\?"),
        (RandomFaults(kinds=("drop", "torn_write")), r"'torn_write' fits no kind .* draws \(the same\)"),
        (RandomFaults(points=("motoin.to_host",)), r"random\.points: .* did you mean 'motion\.to_host'\?"),
        (RandomFaults(points=("wheels.*",)), r"'wheels\.\*' fits no point of this world; there are bus0\.to_host, "),
        (
            RandomFaults(kinds=("missed_steps",), count=(3, 3)),
            r"asks for 3 faults; the generator draws 1 of missed_steps",
        ),
        (RandomFaults(from_s=20.0), r"random\.from_s is 20, and the job ends at 20 s"),
    ],
)
def test_a_wish_that_nothing_fits_is_a_sentence(wanted: RandomFaults, sentence: str) -> None:
    with pytest.raises(GeneratorError, match=sentence):
        narrowed_generator(load_generator(), wanted)
        narrowed_ground(GROUND, wanted)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("[random]\ncount = [0, 2]", ">= 1"),
        ("[random]\nkinds = []", r"leave them, or write \[\"\*\"\]"),
        ("[random]\nfrom_s = 5\nto_s = 5", "ends before it begins"),
    ],
)
def test_what_no_world_could_draw_from_is_refused_where_it_is_read(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError, match=sentence):
        load_scenario(written(tmp_path, text))


def test_a_campaign_and_a_run_of_one_seed_draw_the_same_and_the_run_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, WANTED)
    monkeypatch.setattr("hil_sim.harness.campaign.Row.is_good", False)  # so that it is kept
    judged = moonkiln("campaign", path, "-n", "1", "--first", "1", "--keep", tmp_path / "kept", "--json")
    (row,) = json.loads(judged.stdout)["bad"]
    monkeypatch.undo()
    assert 1 <= len(row["faults"]) <= 3  # those that struck
    assert {f["kind"] for f in row["faults"]} <= {"delay", "drop"}
    assert {f["point"].split(".")[0] for f in row["faults"]} == {"motion"}

    ran = moonkiln("run", path, "--seed", "1", "--runs", tmp_path / "runs", "--json")
    found = json.loads(ran.stdout)
    assert ran.exit_code == 0 and found["verdict"] == row["verdict"], ran.output
    of_run, of_campaign = read_run(Path(found["run"])), read_run(tmp_path / "kept" / "seed-1.mcap")
    assert of_run.about.faults == of_campaign.about.faults == row["faults"]
    assert of_run.about.whole == of_campaign.about.whole
    again = moonkiln("replay", found["run"])
    assert again.exit_code == 0 and "the same as it was kept" in again.output


def test_a_wish_that_this_world_cannot_fulfil_is_the_callers_mistake(tmp_path: Path) -> None:
    path = written(tmp_path, '[random]\npoints = ["wheels.*"]')
    for word, *options in (("run", "--runs", tmp_path / "runs"), ("campaign", "-n", "1")):
        done = moonkiln(str(word), path, *options)
        assert done.exit_code == 2 and "fits no point of this world" in done.output, done.output
    assert not (tmp_path / "runs").exists()
