"""Hosts of any making: ours, somebody's callable, somebody's command line.

The contract is the same for all: a job, a machine file and a folder in; `outcome.json` (docs/outcome.schema.json) in
that folder, or in one folder in there, at the end. A callable is `await host(job, machine_toml, run_dir) -> Outcome`:
what it returns is what it leaves, where it does both. A command gets the three as words, and ends with the exit code
that the outcome names.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import inspect
import re
import shlex
import shutil
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from control.errors import MoonkilnError
from control.host import DriveOutcome, Outcome, read_drive_outcome, read_outcome
from hil_sim.harness.blocked import broken_off_when_blocked

Host = Callable[[Path, Path, Path], Awaitable[Any]]
Left = Outcome | DriveOutcome
Kind = type[Outcome] | type[DriveOutcome]
OUTCOME_NAME = "outcome.json"
LOG_NAME = "host.log"
PLACES = ("{job}", "{machine}", "{run_dir}")
KILLING = frozenset({"crash", "torn_write"})
"""Kinds of fault of which a host dies, and can leave no outcome."""
MUTING = KILLING | {"enospc", "eio"}
"""Those, and the ones of its disk."""
END_S = 10.0  # how long a command that was told to end may take
_ENTRY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


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


def no_word(
    outcome: Left | None, struck: Iterable[str], ended: Callable[[], str] | None, *, is_heard: bool
) -> str | None:
    """Of a host that has ended without an outcome, a sentence: nobody can tell it from one that died. None: it left
    one, or some kind of fault that `struck` can keep it from that.

    is_heard: whether any device had a byte from it. ended: as of `UserHost`.
    """
    if outcome is not None or not MUTING.isdisjoint(struck):
        return None
    how = "" if ended is None else f"; {ended()}"
    if not is_heard:
        return f"left no outcome, and not one byte of it came to a device: nothing was tested{how}"
    return f"left no outcome, and nothing that struck kills it or its disk: it must say how it ended{how}"


@contextlib.contextmanager
def outliving_its_host() -> Iterator[None]:
    """A SystemExit of a task or a callback that a host has made ends its run and not us, of whom nobody would hear
    what became of the run: HostContractError.
    """
    try:
        yield
    except SystemExit as error:
        raise HostContractError(
            f"the host ended its process ({error.code!r}): it must return, or raise what went wrong"
        ) from error


def user_host(given: str | Sequence[str] | Callable[..., Any], folder: Path, kind: Kind = Outcome) -> UserHost:
    """A host from a callable, "package.module:name", a command line, or its words.

    A command is run in `folder`; `{job}`, `{machine}` and `{run_dir}` in its words are replaced, and where none of them
    is there the three are put behind. `kind` is what the host leaves.

    Raises:
        HostContractError: nothing that can be called with the three, or cannot be imported. The host raises it too, for
            what it returns or leaves against the contract.
    """
    if callable(given):
        name = getattr(given, "__qualname__", repr(given))
        return UserHost(_held(given, name, kind), False, name)
    if isinstance(given, str) and not is_command(given):
        return UserHost(_held(_imported(given), given, kind), False, given)
    words = shlex.split(given) if isinstance(given, str) else list(given)
    if not words or not all(isinstance(word, str) for word in words):
        raise HostContractError(f"{given!r} is no host: give a callable, 'package.module:name', or a command line")
    if not any(place in word for word in words for place in PLACES):
        words += PLACES

    said = "it was never started"

    async def command(job: Path, machine_toml: Path, run_dir: Path) -> Left | None:
        nonlocal said
        values = dict(zip(PLACES, (str(job), str(machine_toml), str(run_dir)), strict=True))
        code = await _run([_filled(word, values) for word in words], folder, run_dir)
        said = f"it ended with exit code {code}, and its words are in {run_dir / LOG_NAME}"
        outcome = _left(run_dir, kind)
        if outcome is not None and outcome.exit_code != code:
            raise HostContractError(
                f"the host ended with {code}, and its outcome says exit_code {outcome.exit_code} ({outcome.reason}): "
                f"they must be the same; its words are in {run_dir / LOG_NAME}"
            )
        return _at_its_place(outcome, run_dir)

    return UserHost(command, True, shlex.join(words), lambda: said)


def is_command(given: str) -> bool:
    """Whether a host's name is a command line, and not "package.module:name"."""
    return not _ENTRY.fullmatch(given)


def check_program(host: UserHost, folder: Path) -> None:
    """Raises HostContractError for a command, to be run in `folder`, whose first word is no program: a run would tell
    of it only when its world stands, and as if the host had been judged.
    """
    word = shlex.split(host.name)[0]
    if any(place in word for place in PLACES):  # the run alone knows where that is
        return
    if shutil.which(folder / word if "/" in word else word) is None:
        where = f"in {folder}" if "/" in word else "on the PATH"
        raise HostContractError(
            f"the host {host.name!r} cannot be started: there is no program {word!r} {where} that may be run; name one,"
            " or a callable as package.module:name"
        )


def _held(host: Callable[..., Any], name: str, kind: Kind) -> Host:
    """A callable that is held to the contract: its arguments, what it returns, and that its file says the same."""
    try:
        inspect.signature(host).bind(*PLACES)
    except TypeError as error:
        raise HostContractError(
            f"the host {name} must be `async def host(job, machine_toml, run_dir)`, and cannot be called so: {error}"
        ) from None
    except ValueError:
        pass  # of a builtin nobody knows the arguments before it is called

    async def held(job: Path, machine_toml: Path, run_dir: Path) -> Left | None:
        try:
            with broken_off_when_blocked(asyncio.get_running_loop()):  # type: ignore[arg-type]
                answer = host(job, machine_toml, run_dir)
                if not inspect.isawaitable(answer):
                    raise HostContractError(
                        f"the host {name} must be `async def host(job, machine_toml, run_dir)`: what it gave back when "
                        f"it was called, {type(answer).__name__}, cannot be awaited"
                    )
                returned = await answer
        except SystemExit as error:  # it would end us, and nobody would be judged
            raise HostContractError(
                f"the host {name} ended its process ({error.code!r}): it must return, or raise what went wrong"
            ) from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise HostContractError(
                f"the host {name} let out a CancelledError of something that it had cancelled itself: it must return, "
                "or raise what went wrong"
            ) from error
        if returned is not None and not isinstance(returned, kind):
            raise HostContractError(
                f"the host {name} returned {type(returned).__name__}: it must be its {kind.__name__}, or None where "
                f"{OUTCOME_NAME} says all"
            )
        left = _left(run_dir, kind)
        if returned is None:
            return _at_its_place(left, run_dir)
        said = _as_written(returned, name)
        if left is not None:
            _refuse_two_words(left, said, name)
        return _at_its_place(said, run_dir)

    return held


def _at_its_place(outcome: Left | None, run_dir: Path) -> Left | None:
    """An outcome that was returned alone, or left in a folder below, is put where every run has it."""
    if outcome is not None and not (run_dir / OUTCOME_NAME).is_file():
        outcome.write(run_dir)
    return outcome


def _as_written(outcome: Left, name: str) -> Left:
    """An outcome as its file would hold it: nobody checks the types of one that is made in Python."""
    try:
        return msgspec.json.decode(msgspec.json.encode(outcome), type=type(outcome))
    except (msgspec.MsgspecError, TypeError, UnicodeEncodeError) as error:
        raise HostContractError(f"what the host {name} returned cannot be its {OUTCOME_NAME}: {error}") from error


def _refuse_two_words(left: Left, said: Left, name: str) -> None:
    for field in left.__struct_fields__:
        there, here = (msgspec.json.encode(getattr(outcome, field)).decode() for outcome in (left, said))
        if there != here:
            raise HostContractError(
                f"the host {name} returned an outcome with {field} {here:.80}, "
                f"and its {OUTCOME_NAME} says {there:.80}: they must be the same"
            )


def _imported(entry: str) -> Callable[..., Any]:
    module, _, name = entry.partition(":")
    try:
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise HostContractError(f"the host {entry} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # whatever its module does when it is loaded
        raise HostContractError(f"the host {entry} cannot be imported: {type(error).__name__}: {error}") from error
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


def _left(run_dir: Path, kind: Kind) -> Left | None:
    """The outcome that a host left. None: it left none, as one that was killed."""
    found = [
        path.parent for path in (run_dir / OUTCOME_NAME, *sorted(run_dir.glob(f"*/{OUTCOME_NAME}"))) if path.is_file()
    ]
    if not found:
        return None
    if len(found) > 1:
        raise HostContractError(f"the host left {len(found)} outcomes in {run_dir}: one run leaves one")
    try:
        return read_outcome(found[0]) if kind is Outcome else read_drive_outcome(found[0])
    except MoonkilnError as error:
        raise HostContractError(f"what the host left is no outcome: {error}") from error
