"""Hosts of any making: ours, somebody's callable, somebody's command line.

The contract is the same for all: a job, a machine file and a folder in; `outcome.json` (docs/outcome.schema.json) in
that folder at the end. A callable is `await host(job, machine_toml, run_dir) -> Outcome`; a command gets the three as
words, may leave the outcome in a folder of its own in there, and ends with the exit code that the outcome names.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.host import Outcome, read_outcome
from hil_sim.harness.runner import Host

OUTCOME_NAME = "outcome.json"
LOG_NAME = "host.log"
PLACES = ("{job}", "{machine}", "{run_dir}")
END_S = 10.0  # how long a command that was told to end may take
_ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class HostContractError(Exception):
    """A host that does not keep the contract; a sentence."""


@dataclass(frozen=True)
class UserHost:
    """A host, and whether it is a process of its own, which lives in real time only.

    ended: how the last run of a command ended, a sentence; None: it is no command.
    """

    run: Host
    is_command: bool
    name: str
    ended: Callable[[], str] | None = None


def user_host(given: str | Sequence[str] | Callable[..., Any], folder: Path) -> UserHost:
    """A host from a callable, "package.module:name", a command line, or its words.

    A command is run in `folder`; `{job}`, `{machine}` and `{run_dir}` in its words are replaced, and where none of them
    is there the three are put behind.

    Raises:
        HostContractError: nothing that can be called, or cannot be imported.
    """
    if callable(given):
        return UserHost(given, False, getattr(given, "__qualname__", repr(given)))
    if isinstance(given, str) and _ENTRY.fullmatch(given):
        return UserHost(_imported(given), False, given)
    words = shlex.split(given) if isinstance(given, str) else list(given)
    if not words or not all(isinstance(word, str) for word in words):
        raise HostContractError(f"{given!r} is no host: give a callable, 'package.module:name', or a command line")
    if not any(place in word for word in words for place in PLACES):
        words += PLACES

    said = "it was never started"

    async def command(job: Path, machine_toml: Path, run_dir: Path) -> Outcome | None:
        nonlocal said
        values = dict(zip(PLACES, (str(job), str(machine_toml), str(run_dir)), strict=True))
        code = await _run([_filled(word, values) for word in words], folder, run_dir)
        said = f"it ended with exit code {code}, and its words are in {run_dir / LOG_NAME}"
        return _left(run_dir, code)

    return UserHost(command, True, shlex.join(words), lambda: said)


def _imported(entry: str) -> Host:
    module, _, name = entry.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise HostContractError(f"the host {entry} cannot be imported: {error}") from error
    if not callable(found):
        raise HostContractError(f"the host {entry} is {type(found).__name__}, which cannot be called")
    return found


def _filled(word: str, values: dict[str, str]) -> str:
    return re.sub("|".join(map(re.escape, values)), lambda place: values[place[0]], word)


async def _run(words: list[str], folder: Path, run_dir: Path) -> int:
    """Run the command to its end, and return its exit code; what it says goes to `host.log` in the run's folder.

    Cancelled: it is told to end, then killed.
    """
    with (run_dir / LOG_NAME).open("wb") as log:
        try:
            process = await asyncio.create_subprocess_exec(*words, cwd=folder, stdout=log, stderr=log)
        except OSError as error:
            raise HostContractError(f"the host {shlex.join(words)} cannot be started: {error}") from error
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(END_S):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()


def _left(run_dir: Path, code: int) -> Outcome | None:
    """The outcome that a command left, which ended with `code`. None: it left none, as a host that was killed."""
    found = [
        path.parent for path in (run_dir / OUTCOME_NAME, *sorted(run_dir.glob(f"*/{OUTCOME_NAME}"))) if path.is_file()
    ]
    if not found:
        return None
    if len(found) > 1:
        raise HostContractError(f"the host left {len(found)} outcomes in {run_dir}: one run leaves one")
    outcome = read_outcome(found[0])
    if outcome.exit_code != code:
        raise HostContractError(
            f"the host ended with {code}, and its outcome says exit_code {outcome.exit_code} ({outcome.reason}): "
            f"they must be the same; its words are in {run_dir / LOG_NAME}"
        )
    return outcome
