"""Is a test of real time run again where the computer stood still, and only there?"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from held_up import HeldUp

pytest_plugins = ["pytester"]

FAILS_ONCE = """
import pathlib, pytest
tries = pathlib.Path(__file__).with_name("tries")

@pytest.fixture
def fresh():
    return []

@pytest.mark.real_time
def test_late(fresh):
    fresh.append(1)
    assert fresh == [1]
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    assert len(tries.read_text()) >= {passes_at}, "too late"
"""


def results(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, late_s: float, passes_at: int) -> tuple:
    """What pytest says of a test that passes at its nth try; how often it was tried."""
    monkeypatch.setattr(HeldUp, "longest_s", lambda self, since_s: late_s)
    pytester.makeini("[pytest]\nmarkers = real_time")
    path = pytester.makepyfile(textwrap.dedent(FAILS_ONCE.format(passes_at=passes_at)))
    result = pytester.inline_run("-p", "no:xdist", "-p", "no:moonkiln_hil", plugins=[HeldUp()])
    return result, len(Path(path).with_name("tries").read_text())


def test_a_failure_while_the_computer_stood_still_is_tried_again(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result, tries = results(pytester, monkeypatch, 0.4, 2)
    result.assertoutcome(passed=1)
    assert tries == 2
    assert "test_late: the computer stood still for 0.40 s: " in capsys.readouterr().out


def test_a_failure_on_a_computer_that_kept_up_counts_at_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, tries = results(pytester, monkeypatch, 0.0, 2)
    result.assertoutcome(failed=1)
    assert tries == 1


def test_three_failures_are_a_failure_wherever(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result, tries = results(pytester, monkeypatch, 0.4, 4)
    result.assertoutcome(failed=1)
    assert tries == 3


def test_a_core_that_stood_still_is_seen() -> None:
    import os
    import signal
    import time

    held_up = HeldUp()
    try:
        held_up.watch()
        time.sleep(0.5)  # the watches start
        began_s = time.monotonic()
        os.kill(held_up._watches[0].pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(held_up._watches[0].pid, signal.SIGCONT)
        time.sleep(0.1)
        assert held_up.longest_s(began_s) >= 0.25
        assert held_up.longest_s(time.monotonic()) == 0.0
    finally:
        held_up.pytest_unconfigure()
