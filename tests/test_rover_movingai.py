"""Are benchmark maps of the MovingAI format read as they are, and refused where they are not?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from grid_maps import rooms, tasks_on

from control.rover.route.kernels import astar
from control.rover.route.movingai import MapFileError, Task, read_map, read_scenarios, write_map, write_scenarios

MAP = "type octile\nheight 3\nwidth 4\nmap\n..@.\n.G@T\n...S\n"


def test_a_map_and_its_tasks(tmp_path: Path) -> None:
    (tmp_path / "a.map").write_text(MAP)
    cost = read_map(tmp_path / "a.map")
    assert np.isfinite(cost).tolist() == [[1, 1, 0, 1], [1, 1, 0, 0], [1, 1, 1, 1]]
    tasks = [Task(0, "a.map", (0, 0), (2, 3), 4.41421356)]
    write_scenarios(tasks, cost.shape, tmp_path / "a.map.scen")
    assert read_scenarios(tmp_path / "a.map.scen") == tasks
    assert astar(cost, tasks[0].start, tasks[0].goal)[1] == pytest.approx(tasks[0].optimum, abs=0.01)
    write_map(cost, tmp_path / "b.map")
    np.testing.assert_array_equal(read_map(tmp_path / "b.map"), cost)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        MAP[:-6],
        MAP.replace("height 3", "height x"),
        MAP.replace("width 4", "width 5"),
        MAP.replace("T", "?"),
    ],
)
def test_a_map_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.map").write_text(text)
    with pytest.raises(MapFileError):
        read_map(tmp_path / "a.map")


@pytest.mark.parametrize("line", ["0 a 4 3 0 0 9 9 1.0", "0 a 4 3 0 0", "x a 4 3 0 0 1 1 1.0", "0 a 4 3 0 0 1 1 nan"])
def test_tasks_that_are_none(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.scen").write_text(f"version 1\n{line}\n")
    with pytest.raises(MapFileError):
        read_scenarios(tmp_path / "a.scen")
    with pytest.raises(MapFileError):
        read_scenarios(tmp_path / "absent.scen")


def test_every_scenario_of_a_generated_dungeon_is_solved_at_its_optimum(tmp_path: Path) -> None:
    """Through the files, as the collection's own maps would come. Bar: 0.01."""
    write_map(rooms(7, 256), tmp_path / "d.map")
    cost = read_map(tmp_path / "d.map")
    write_scenarios(tasks_on(cost, "d.map", 3, 2, 40), cost.shape, tmp_path / "d.map.scen")
    tasks = read_scenarios(tmp_path / "d.map.scen")
    assert len(tasks) == 80 and max(task.optimum for task in tasks) > 200
    for task in tasks:
        path, total = astar(cost, task.start, task.goal)
        assert total == pytest.approx(task.optimum, abs=0.01)
        assert tuple(path[0]) == task.start and tuple(path[-1]) == task.goal
