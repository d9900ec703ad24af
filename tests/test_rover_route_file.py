"""Does a route survive the disk, and is one that cannot be driven refused?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from control.rover.route.route_file import (
    MapRef,
    Predicted,
    Route,
    RouteFileError,
    read_route,
    route_sha256,
    write_route,
)


def straight(**changes: Any) -> Route:
    """Ten metres along x."""
    fields: dict[str, Any] = {
        "name": "test",
        "map": MapRef("map.npz", "0" * 64, "local", 0.0, 0.0, 1.0, 50, 50),
        "start_m": (5.0, 5.0),
        "goal_m": (15.0, 5.0),
        "waypoints": [(5.0 + 0.5 * n, 5.0) for n in range(21)],
        "speeds_m_s": [0.1] * 21,
        "corridor_m": 1.0,
        "predicted": Predicted(10.0, 100.0, 0.5),
    }
    return Route(**(fields | changes))


def test_a_route_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    route = straight()
    write_route(route, tmp_path / "r.json")
    assert read_route(tmp_path / "r.json") == route
    assert route.length_m == pytest.approx(10.0)
    assert len(route_sha256(tmp_path / "r.json")) == 64


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"schema_version": 9}, "schema version 9"),
    ({"schema_version": 0}, "no route"),
    ({"waypoints": [[5.0, 5.0]]}, "1 waypoints"),
    ({"waypoints": [[5.0, 5.0]] * 21}, "0 to 0 m apart"),
    ({"waypoints": [[5.0 + 3 * n, 5.0] for n in range(10)], "speeds_m_s": [0.1] * 10}, "3 m apart"),
    ({"waypoints": [[5.0 + n, 5.0] for n in range(60)], "speeds_m_s": [0.1] * 60}, "leaves its map"),
    ({"speeds_m_s": [0.1] * 20}, "20 speeds"),
    ({"speeds_m_s": [-0.1] * 21}, "no route"),
    ({"goal_m": [40.0, 40.0]}, "goal is not where"),
    ({"extra": 1}, "no route"),
    ({"kind": "print"}, "no route"),
    ({"corridor_m": 0.0}, "no route"),
    ({"predicted": {"length_m": 1, "duration_s": 1, "energy_wh": 1, "s_m": [1.0]}}, "different lengths"),
]


@pytest.mark.parametrize(("changes", "sentence"), CHANGES)
def test_what_cannot_be_driven_is_refused(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    write_route(straight(), tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text()) | changes
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(RouteFileError, match=sentence):
        read_route(tmp_path / "r.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"name": NaN}'])
def test_files_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(RouteFileError, match="no route, or it was damaged"):
        read_route(tmp_path / "r.json")
    with pytest.raises(RouteFileError, match="cannot be read"):
        read_route(tmp_path / "absent.json")


def test_one_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(RouteFileError):
        write_route(straight(goal_m=(1.0, 1.0)), tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()
