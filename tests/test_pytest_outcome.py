"""Are a test's own lines of the kind that its command line takes?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hil_sim.harness.pytest_outcome import name_of


def an_item(nodeid: str, group: Any, *, is_loadgroup: bool) -> Any:
    return SimpleNamespace(
        nodeid=nodeid,
        config=SimpleNamespace(getoption=lambda name, default: is_loadgroup),
        get_closest_marker=lambda name: group,
    )


BY_PLACE, BY_NAME = SimpleNamespace(args=("g1",), kwargs={}), SimpleNamespace(args=(), kwargs={"name": "g1"})


@pytest.mark.parametrize(
    ("nodeid", "group", "is_loadgroup", "name"),
    [
        ("test_a.py::test_b[seed2]@g1", BY_PLACE, True, "test_a.py::test_b[seed2]"),
        ("test_a.py::test_b@g1", BY_NAME, True, "test_a.py::test_b"),
        ("test_a.py::test_b[x@y]", BY_PLACE, True, "test_a.py::test_b[x@y]"),
        ("test_a.py::test_b[x@g1", None, True, "test_a.py::test_b[x@g1"),
        ("test_a.py::test_b@g1", BY_PLACE, False, "test_a.py::test_b@g1"),
    ],
)
def test_the_group_that_xdist_puts_behind_a_test_is_no_part_of_its_name(
    nodeid: str, group: Any, is_loadgroup: bool, name: str
) -> None:
    assert name_of(an_item(nodeid, group, is_loadgroup=is_loadgroup)) == name
