"""What every test may ask for: the shared real data, and nothing else that hides what a test does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from held_up import HeldUp
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent

# A shell that starts a job in the background has it ignore Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run: a test that fails on some days teaches people to run it again.
settings.register_profile("moonkiln", derandomize=True, deadline=None)
settings.load_profile("moonkiln")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real meshes, pictures and physics tables (`MOONKILN_DATA`, or the one beside the checkout)."""
    folder = Path(os.environ.get("MOONKILN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"shared data folder {folder} is absent; set MOONKILN_DATA")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(HeldUp(), "held_up")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the soak runs are: CI takes a few of what `make soak` takes many of."""
    parser.addoption("--kills", default="30", help="how many hosts are killed and resumed (soak)")
    parser.addoption("--schedules", default="3000", help="how many schedules of stream faults are tried (soak)")
    parser.addoption("--breaks", default="1000", help="how often each board is reset or unplugged (soak)")
    parser.addoption("--wire-out", default="", help="leave a line for each scenario on the wire in this file (soak)")
    parser.addoption("--rover-seeds", default="200", help="how many rovers drive (soak)")
    parser.addoption("--rover-terrains", default="10000", help="how many terrains are driven (soak)")
    parser.addoption("--rover-first", default="0", help="the first of them (soak)")
    parser.addoption("--rover-out", default="", help="leave a line for each rover in this file (soak)")
    parser.addoption("--rover-length", default="500", help="how far each of them drives, m (soak)")
