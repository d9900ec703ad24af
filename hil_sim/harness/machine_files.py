"""The user's own machine files: what a run was made with is kept with it, and a replay is made with what was kept.

A machine and its world are shipped names, or paths of TOML files that anybody may edit or leave behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hil_sim.harness.subjects import Subject

ROLES = ("machine", "world")
"""The host's machine file, and the emulated twin's."""


class MachineFile(msgspec.Struct, frozen=True):
    """A file that a run was made with: the path that named it, and the SHA-256 of what stood in it, in hex."""

    path: str
    sha256: str


def paths_in(subject: dict[str, Any]) -> dict[str, str]:
    """The paths among what a subject, as plain data, names as machine and world, by role."""
    owner = subject.get("scenario", subject)
    return {role: owner[role] for role in ROLES if Path(owner.get(role) or "").suffix == ".toml"}


def contents_of(subject: Subject) -> dict[str, tuple[str, bytes]]:
    """Path and content of the files that a subject names, by role; without those that nobody can read: the run says so
    itself.
    """
    paths = paths_in(subject.to_dict()).items()
    return {role: (path, Path(path).read_bytes()) for role, path in paths if Path(path).is_file()}


def renamed(subject: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """A subject as plain data with other paths for the files of some roles."""
    if "scenario" in subject:
        return {**subject, "scenario": {**subject["scenario"], **paths}}
    return {**subject, **paths}


def changed(files: Mapping[str, MachineFile]) -> list[str]:
    """A sentence for each that is another one now where it lay; one that lies there no more is missed by nobody."""
    return [
        f"{file.path} is not what it was when the run was kept: this is made with the {role} file that was kept"
        for role, file in files.items()
        if Path(file.path).is_file() and sha256(Path(file.path).read_bytes()) != file.sha256
    ]


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()
