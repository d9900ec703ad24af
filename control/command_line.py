"""What every command shares: exit codes, the boundary that turns errors into sentences, `--json`, and progress.

Nothing heavy is imported here: `moonkiln --help` passes through this file.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import click

from control.errors import MoonkilnError

OWN_PACKAGES = ("slicer", "firmware_bridge", "vision", "control", "hil_sim")


class ExitCode(enum.IntEnum):
    """What a program that calls moonkiln can tell from its exit; `docs/exit-codes.md` explains each."""

    OK = 0
    REFUSED = 1  # a check failed, a job was refused, or moonkiln itself is at fault
    BAD_INPUT = 2  # usage, files, recipes, machine files
    DEVICE = 3  # a device or the wire to it
    SAFETY_STOP = 4
    INTERRUPTED = 130  # Ctrl-C


@dataclass
class Settings:
    """What the command line asked of moonkiln as a whole; the `obj` of every click context."""

    debug: bool = False
    as_json: bool = False


# ---- options that commands share


def _note_json(context: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    if value and isinstance(context.obj, Settings):
        context.obj.as_json = True
    return value


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` (argument `as_json`): one JSON object on stdout, errors as well."""
    words = "Print one JSON object for programs."
    return click.option("--json", "as_json", is_flag=True, is_eager=True, callback=_note_json, help=words)(command)


def say_json(value: Any) -> None:
    """Print one JSON object. NaN is refused: no reader could take it."""
    click.echo(json.dumps(value, indent=1, allow_nan=False, default=str))


# ---- the boundary


class MoonkilnGroup(click.Group):
    """A click group whose `main` ends every way of failing in a sentence on stderr and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        settings = Settings()
        extra.setdefault("obj", settings)
        try:
            with _ended_as_by_ctrl_c() if standalone_mode else contextlib.nullcontext():
                result = super().main(
                    args,
                    prog_name,
                    complete_var,
                    standalone_mode=False,
                    windows_expand_args=windows_expand_args,
                    **extra,
                )
        except BaseException as error:
            if not standalone_mode or isinstance(error, SystemExit):
                raise
            sys.exit(report_error(error, settings))
        if not standalone_mode:
            return result
        sys.exit(result if isinstance(result, int) else ExitCode.OK)


@contextlib.contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM (of a service manager, of a CI job that is cancelled) do what Ctrl-C does: what is done is kept.

    It is passed on as SIGINT, to whoever listens for that at the moment.
    """
    try:
        before = signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    except ValueError:  # signals belong to the main thread: whoever calls from another one keeps his
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def report_error(error: BaseException, settings: Settings) -> int:
    """Say an error as a sentence on stderr (with the traceback under `--debug`) and return its exit code."""
    if settings.debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, click.UsageError):
        error.show()
        sentence, code = error.format_message(), int(ExitCode.BAD_INPUT)
    else:
        sentence, code = sentence_of(error)
        if isinstance(error, BrokenPipeError):
            return code
        click.echo(f"moonkiln: {sentence}", err=True)
    if settings.as_json:
        figures = error.figures if isinstance(error, MoonkilnError) else {}
        with contextlib.suppress(OSError):  # where stdout itself is full or gone: stderr has said it
            say_json({"error": sentence, "exit_code": code, **figures})
    return code


def sentence_of(error: BaseException) -> tuple[str, int]:
    """An error as a sentence for a user, and the exit code that goes with it."""
    from firmware_bridge.errors import BadAddress, BridgeError
    from slicer.errors import SlicerError

    if isinstance(error, MoonkilnError):
        return str(error), int(error.exit_code)
    if isinstance(error, SlicerError | BadAddress):
        return str(error), int(ExitCode.BAD_INPUT)
    if isinstance(error, BridgeError):
        return str(error), int(ExitCode.DEVICE)
    if isinstance(error, click.ClickException):
        return error.format_message(), int(ExitCode.BAD_INPUT)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted; no half-written file was left behind", int(ExitCode.INTERRUPTED)
    if isinstance(error, OSError):
        return _os_sentence(error), int(ExitCode.BAD_INPUT)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in OWN_PACKAGES:
        return f"the package {error.name} is not installed: run `make setup`", int(ExitCode.REFUSED)
    if isinstance(error, MemoryError):
        return "not enough memory for this part: use thicker layers or a wider hatch", int(ExitCode.REFUSED)
    return (
        f"this is a fault of moonkiln itself: {type(error).__name__}: {error}; run `moonkiln --debug ...` to see where,"
        " and please report it",
        int(ExitCode.REFUSED),
    )


def _os_sentence(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}the disk is full: free some space and run the command again; nothing was overwritten"
    reason = error.strerror or str(error) or type(error).__name__
    return f"{where}{reason[:1].lower()}{reason[1:]}"


# ---- progress


class Progress:
    """How far a long command is: a bar on a terminal, now and then a plain line elsewhere, nothing under `--json`.

    `clock` gives seconds (a loop's `time`); with it a plain line comes every `every_s`, without it at every tenth of
    the way. The bar is drawn only from `update`, so no thread runs.
    """

    def __init__(
        self, label: str, *, quiet: bool = False, clock: Callable[[], float] | None = None, every_s: float = 10.0
    ) -> None:
        self._label = label
        self._quiet = quiet
        self._clock = clock
        self._every_s = every_s
        self._next_s = float("-inf")
        self._tenths = 0
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
                get_time=self._clock,
            )
            self._task = self._bar.add_task(self._label, total=None, detail="")
            self._bar.start()
        return self

    def update(self, done: int, total: int, detail: str = "", share: float | None = None) -> None:
        """Say that `done` of `total` is done; `detail` is a few words such as the layer and its temperature.

        `share` (0 to 1) says it more finely than whole steps can.
        """
        if self._quiet:
            return
        if share is None:
            share = done / total if total else 0.0
        if self._bar is not None:
            self._bar.update(self._task, completed=share * total, total=total, detail=detail)
            self._bar.refresh()
        elif self._due(done, total):
            click.echo(f"{self._label}: {share:.0%}, {done} of {total}{', ' + detail if detail else ''}", err=True)

    def _due(self, done: int, total: int) -> bool:
        if self._clock is not None:
            now_s = self._clock()
            if now_s < self._next_s and done < total:
                return False
            self._next_s = now_s + self._every_s
            return True
        tenths = 10 * done // total if total else 0
        due, self._tenths = tenths > self._tenths, max(tenths, self._tenths)
        return due

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
