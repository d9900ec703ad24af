"""Tests on real time: on a computer that was held up while one of them ran, a failure says nothing and it runs again.

Such a test (marker `real_time`) has hosts, boards and slaves as processes of their own on ptys and TCP, and their
watchdogs and reply times are real. A computer that others share stands still for a third of a second now and then; a
watchdog that trips then has done what it is for. Whether it stood still is measured, on each of its cores: where
nothing did, a failure counts at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

HELD_UP_S = 0.1
"""A third of the shortest time in which a device here must answer; three processes have a part in each answer."""
TRIES = 2
PROPERTY = "held up"

WATCH = """\
import os, sys, time
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(sys.argv[1])})
with open(sys.argv[2], "ab", buffering=0) as log:
    before = time.monotonic()
    while os.getppid() == int(sys.argv[3]):
        time.sleep(0.01)
        now = time.monotonic()
        if now - before > float(sys.argv[4]) + 0.01:
            log.write(f"{now} {now - before - 0.01}\\n".encode())
        before = now
"""
"""A process a core that only sleeps and looks how late it wakes."""


class HeldUp:
    """Runs tests of real time, again where the computer stood still; keeps what it ran again and why."""

    def __init__(self) -> None:
        self.again: list[str] = []
        self._log = tempfile.NamedTemporaryFile(prefix="moonkiln-held-up-")  # noqa: SIM115 - lives as long as this
        self._watches: list[subprocess.Popen[bytes]] = []
        self._timeout: Any = None

    def watch(self) -> None:
        """One watch a core, from the first test of real time on."""
        if not self._watches:
            words = self._log.name, str(os.getpid()), str(HELD_UP_S)
            cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
            self._watches = [
                subprocess.Popen([sys.executable, "-S", "-c", WATCH, str(core), *words]) for core in sorted(cores)
            ]

    def longest_s(self, since_s: float) -> float:
        """The longest time for which a core stood still since a moment of time.monotonic(), s."""
        with open(self._log.name, encoding="ascii") as log:
            rows = [line.split() for line in log if line.endswith("\n")]
        return max((float(late_s) for at_s, late_s in rows if float(at_s) >= since_s), default=0.0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if item.get_closest_marker("real_time") is None:
            return None
        self.watch()
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _reports(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        again: list[str] = []
        before: list[pytest.TestReport] = []
        for tries_left in reversed(range(TRIES)):
            began_s = time.monotonic()
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            failed = next((report for report in reports if report.failed), None)
            late_s = self.longest_s(began_s)
            if failed is None and again and any(report.skipped for report in reports):
                reports = before  # skipped is not passed
            if failed is None or late_s < HELD_UP_S or not tries_left:
                break
            before = reports
            why = (failed.longreprtext.strip() or "no words").splitlines()[-1]
            again.append(f"{item.nodeid}: the computer stood still for {late_s:.2f} s: {why}")
            self._begin_anew(item)
        reports[-1].user_properties += [(PROPERTY, line) for line in again]
        return reports

    def _begin_anew(self, item: pytest.Item) -> None:
        """All fixtures, also those of the module, what was captured, and the time that the test may take."""
        item.session._setupstate.teardown_exact(None)
        item._initrequest()  # type: ignore[attr-defined]
        item._report_sections.clear()
        item.user_properties.clear()
        if self._timeout is not None:
            item.ihook.pytest_timeout_cancel_timer(item=item)
            item.ihook.pytest_timeout_set_timer(item=item, settings=self._timeout)

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> None:
        """pytest-timeout sets one timer a test; what it set is set again for a second try."""
        self._timeout = settings

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Also where the tests ran in a worker of xdist."""
        self.again += [str(line) for name, line in report.user_properties if name == PROPERTY]

    @pytest.hookimpl(wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
        yield
        if self.again:
            terminalreporter.section("run again, for the computer was held up")
            for line in self.again:
                terminalreporter.line(line)

    def pytest_unconfigure(self) -> None:
        for process in self._watches:
            process.kill()
            process.wait()
        self._log.close()
