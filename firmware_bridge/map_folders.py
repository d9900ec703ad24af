"""Where register maps are found by name: those that are shipped, the user's own folder, and folders named for a run.

The user's folder is `$XDG_CONFIG_HOME/moonkiln/maps` (`~/.config/moonkiln/maps`). No map hides another: a name that is
in two places is refused by `firmware_bridge.register_map.load_map`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

_named: list[Path] = []


def use_folders(folders: Iterable[Path]) -> None:
    """Look in these folders as well, from now on and in this process (`moonkiln --maps DIR`)."""
    _named[:] = folders


def user_folder() -> Path:
    """The user's own folder of maps, whether it is there or not."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "moonkiln" / "maps"


def places_of(name: str) -> list[Traversable]:
    """Every file that a map of this name is in: one, if all is well."""
    return [entry for entry in _entries() if entry.name == f"{name}.toml"]


def known_names() -> list[str]:
    """Every name that a map can be loaded by."""
    return sorted({entry.name.removesuffix(".toml") for entry in _entries()})


def _entries() -> Iterable[Traversable]:
    yield from _shipped()
    for folder in dict.fromkeys(folder.resolve() for folder in (user_folder(), *_named) if folder.is_dir()):
        yield from _maps_in(folder)


@lru_cache(maxsize=1)
def _shipped() -> tuple[Traversable, ...]:
    """They stay while a process runs, and a machine file is checked against them thousands of times in a campaign."""
    return tuple(_maps_in(resources.files("firmware_bridge.maps")))


def _maps_in(folder: Traversable) -> Iterable[Traversable]:
    return (entry for entry in folder.iterdir() if entry.name.endswith(".toml"))
