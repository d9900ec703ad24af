"""Do threads give what one alone gives, in order, with bounded work ahead, and stop at the first error?"""

from __future__ import annotations

import hashlib
from itertools import count, islice

import pytest
from job_helpers import BENCH, wire_small

from slicer.bricks import demo_brick, write_stl
from slicer.parallel import AHEAD, in_order, workers_here
from slicer.plan import plan_job


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order(workers):
    assert list(in_order(lambda n: n * n, range(200), workers)) == [n * n for n in range(200)]


def test_endless_items_are_taken_no_farther_than_needed():
    taken = []

    def items():
        for n in count():
            taken.append(n)
            yield n

    assert list(islice(in_order(lambda n: n, items(), 3), 10)) == list(range(10))
    assert len(taken) <= 10 + 3 * AHEAD


@pytest.mark.parametrize("workers", [1, 4])
def test_an_error_comes_where_its_result_was_due(workers):
    def work(n):
        if n == 5:
            raise ValueError("five")
        return n

    got = in_order(work, range(100), workers)
    assert list(islice(got, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(got)


def test_a_job_is_the_same_bytes_for_any_number_of_threads(tmp_path):
    write_stl(demo_brick(), tmp_path / "brick.stl")
    sums = set()
    for workers in (1, 2, 3):
        plan_job(tmp_path / "brick.stl", wire_small(), BENCH, tmp_path / "brick.kiln", workers=workers)
        sums.add(hashlib.sha256((tmp_path / "brick.kiln").read_bytes()).hexdigest())
    assert len(sums) == 1 and workers_here() >= 1
