"""Is a test of real time run again where the computer stood still, and only there?"""

from __future__ import annotations

from pathlib import Path

import pytest
from held_up import HeldUp

pytest_plugins = ["pytester"]

FAILS = """
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
    assert len(tries.read_text()) >= PASSES_AT, "too late"
"""


MODULE = """
import pathlib, pytest
tries = pathlib.Path(__file__).with_name("tries")

@pytest.fixture(scope="module")
def peer():
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) == 1:
        raise OSError("the peer did not start")

@pytest.mark.real_time
def test_late(peer):
    pass

@pytest.mark.real_time
def test_behind(peer):
    pass
"""
SKIPS = """
import pathlib, pytest
tries = pathlib.Path(__file__).with_name("tries")

@pytest.mark.real_time
def test_late():
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) > 1:
        pytest.skip("somebody has taken the port")
    assert False
"""
HANGS = """
import pathlib, pytest, time
tries = pathlib.Path(__file__).with_name("tries")

@pytest.mark.real_time
@pytest.mark.timeout(1)
def test_late():
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    time.sleep(60)
"""


def results(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, late_s: float, passes_at: int = 0, text: str = FAILS
) -> tuple:
    """What pytest says of a test that passes at its nth try; how often it was tried."""
    monkeypatch.setattr(HeldUp, "longest_s", lambda self, since_s: late_s)
    pytester.makeini("[pytest]\nmarkers = real_time")
    path = pytester.makepyfile(text.replace("PASSES_AT", str(passes_at)))
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


def test_two_failures_are_a_failure_wherever(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result, tries = results(pytester, monkeypatch, 0.4, 3)
    result.assertoutcome(failed=1)
    assert tries == 2


def test_what_the_module_shares_is_made_anew(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result, tries = results(pytester, monkeypatch, 0.4, text=MODULE)
    result.assertoutcome(passed=2)
    assert tries == 2


def test_a_second_try_that_is_skipped_does_not_hide_the_first(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, tries = results(pytester, monkeypatch, 0.4, text=SKIPS)
    result.assertoutcome(failed=1)
    assert tries == 2


def test_each_try_has_its_own_time_and_no_more(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    result, tries = results(pytester, monkeypatch, 0.4, text=HANGS)
    result.assertoutcome(failed=1)
    assert tries == 2


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
