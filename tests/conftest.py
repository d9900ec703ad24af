"""What every test may ask for: the shared real data, and nothing else that hides what a test does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real meshes, pictures and physics tables (`MOONKILN_DATA`, or the one beside the checkout)."""
    folder = Path(os.environ.get("MOONKILN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"shared data folder {folder} is absent; set MOONKILN_DATA")
    return folder
