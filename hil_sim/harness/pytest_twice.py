"""Some of a session's runs are made a second time: the same seed must give the same digest, or nothing can be repeated.

The second run is made in the same process, with fixtures of its own; nothing but the comparison comes of it. (What
depends on a process' hash seed is a campaign's to find: `moonkiln hil campaign` makes its second runs in another one.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from _pytest.runner import call_and_report, runtestprotocol

TWICE_EVERY = 100
FEW = 20
"""Runs of a session below which none is made twice, unless somebody says how many."""

Digest = Callable[[pytest.Item], str]


def to_run_twice(items: Sequence[pytest.Item], every: int | None) -> list[pytest.Item]:
    """Which of a session's runs: one in `every`, from the first on. None: one in a hundred, none of a few; 0: none."""
    if every == 0 or (every is None and len(items) < FEW):
        return []
    return list(items[:: every or TWICE_EVERY])


def run_twice(item: pytest.Item, nextitem: pytest.Item | None, digest: Digest) -> list[pytest.TestReport]:
    """Run a test, and again if it passed; the reports of the first time, failed where the second was another.

    `digest(item)`: of the run that was made last; empty where none can be repeated (skipped, on the wire).
    """
    reports = runtestprotocol(item, nextitem=item.parent, log=False)  # type: ignore[arg-type] # leaves the wider fixtures
    first = digest(item)
    kept = list(item.user_properties)
    is_worth_it = bool(first) and all(report.passed for report in reports)
    again = runtestprotocol(item, nextitem=nextitem, log=False) if is_worth_it else []
    item.user_properties[:] = kept
    if not is_worth_it:
        rest = call_and_report(item, "teardown", log=False, nextitem=nextitem)  # what was left for a second time
        return [*reports, rest] if rest.failed else reports
    second = digest(item)
    failed = [report.longreprtext for report in again if report.failed]
    if second == first and not failed:
        return reports
    for report in reports:
        if report.when == "call":
            how = f"and failed: {failed[0]}" if failed else f"and gave the digest {second}"
            report.outcome = "failed"
            report.longrepr = (
                f"the run is not repeatable: its digest was {first}; made again with the same seed it ran otherwise,"
                f" {how}. Something in host or test draws on the clock, on unseeded random numbers, or on what an"
                " earlier run has left."
            )
    return reports
