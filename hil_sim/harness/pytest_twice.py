"""Some of a session's runs are made a second time: the same seed must give the same digest, or nothing can be repeated.

The second run is made in the same process, with fixtures of its own; nothing but the comparison comes of it. (What
depends on a process' hash seed is a campaign's to find: `moonkiln hil campaign` makes its second runs in another one.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from _pytest.runner import runtestprotocol

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
        rest = _tear_down_what_is_left(item, nextitem)
        return reports if rest is None else [*reports, rest]
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


def _tear_down_what_is_left(item: pytest.Item, nextitem: pytest.Item | None) -> pytest.TestReport | None:
    """Take down the wider fixtures that were left for a second run, and no more: the item's own teardown was run, and
    what other plugins put away in it is not there twice. The report of one that failed."""

    def tear_down() -> None:
        item.session._setupstate.teardown_exact(nextitem)

    call = pytest.CallInfo.from_call(tear_down, when="teardown", reraise=(pytest.exit.Exception, KeyboardInterrupt))
    if call.excinfo is None:
        return None
    report: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
    return report
