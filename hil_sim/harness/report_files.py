"""The files that runs are to leave: tried before hours are spent on them, and written as soon as they are judged."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from control.command_line import sentence_of
from control.commands.arguments import check_output, check_output_folder
from control.errors import MoonkilnError, UsageError

if TYPE_CHECKING:
    from hil_sim.harness.campaign import Report


@dataclass(frozen=True)
class ReportFiles:
    """Where reports go, None: not wanted; `keep`: the folder of bad runs, made when there is one."""

    junit: Path | None
    html: Path | None
    parquet: Path | None
    kinds: Path | None
    keep: Path

    def check(self, read: Iterable[Path | str | None]) -> None:
        """Raise UsageError, MoonkilnError or OSError: one of them could not be written at the end either, lies where
        another is to, or where one lies that is `read` (as `check_output` takes them).
        """
        options = {"--junit": self.junit, "--html": self.html, "--parquet": self.parquet, "--kinds": self.kinds}
        inputs, taken = tuple(read), dict[Path, str]()
        for option, path in options.items():
            if path is None:
                continue
            check_output(path, inputs=inputs)
            _check_writable(path, path.parent)
            other = taken.setdefault(path.resolve(), option)
            if other != option:
                raise UsageError(f"{other} and {option} both name {path}, and one would be lost: name two files")
        _check_folder(self.keep, self.keep)
        if self.parquet is not None:
            from hil_sim.harness.campaign_report import parquet_writer

            parquet_writer()

    def write(self, report: Report, kept: Mapping[int, Path], again: str) -> list[str]:
        """Write them all, whatever becomes of one; why one could not be written, a sentence each."""
        from hil_sim.harness.campaign_report import write_html, write_junit, write_kinds, write_parquet

        writers: list[tuple[Path | None, Callable[[Path], None]]] = [
            (self.junit, lambda path: write_junit(report, path, kept=kept, again=again)),
            (self.html, lambda path: write_html(report, path, kept=kept, again=again)),
            (self.parquet, lambda path: write_parquet(report, path)),
            (self.kinds, lambda path: write_kinds(report, path)),
        ]
        failed = []
        for path, write in writers:
            if path is not None:
                try:
                    write(path)
                except (OSError, MoonkilnError) as error:
                    failed.append(f"{path} was not written: {sentence_of(error)[0]}")
        return failed


def check_run_file(path: Path, *, inputs: Iterable[Path] = ()) -> None:
    """Raise UsageError or OSError: no run could be kept there, or one of `inputs` lies there. Its folder is made."""
    _check_folder(path, path.parent)
    if path.parent.is_dir():
        check_output(path, inputs=inputs)


def _check_folder(path: Path, folder: Path) -> None:
    """A folder that is made where there is none."""
    check_output_folder(folder, ())
    _check_writable(path, next(it for it in (folder, *folder.absolute().parents) if it.exists()))


def _check_writable(path: Path, folder: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):  # tried, since the rights alone do not tell of a read-only disk
            pass
    except OSError as error:
        raise UsageError(
            f"{path}: nothing may be written into {folder} ({error.strerror}); name another place"
        ) from error
