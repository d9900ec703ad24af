"""What several commands ask of their arguments: settings as KEY=VALUE, and outputs that cost nobody an input.

Nothing heavy is imported here: `moonkiln COMMAND --help` passes through this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from control.errors import UsageError


def overrides_of(settings: tuple[str, ...], example: str) -> dict[str, str]:
    """What `--set KEY=VALUE` says, by key. `example` is one that the command knows.

    Raises:
        UsageError: a text that is none, or a key given twice: nobody could tell which of its values was meant.
    """
    overrides: dict[str, str] = {}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not (key and equals and value):
            raise UsageError(f"--set {setting}: write it as KEY=VALUE, for example --set {example}")
        if key in overrides:
            raise UsageError(f"--set {key} is given twice, as {overrides[key]} and as {value}: give it once")
        overrides[key] = value
    return overrides


def check_output(
    output: Path, *, inputs: Iterable[Path | str | None] = (), endings: tuple[str, ...] = (), what: str = "it"
) -> None:
    """Refuse early what would fail late, or would overwrite what the command reads.

    Args:
        output: the file to write.
        inputs: all that is read. A text is a name or a path, as `--recipe` and `--machine` take them: it is a path if
            it ends in .toml. None is what was not given.
        endings: of the file, in lower case; any if empty. `what` is written in it.

    Raises:
        UsageError: another ending, no such folder, or one of the inputs. OSError: something that is no file.
    """
    from slicer.whole_file import check_replaceable

    if endings and output.suffix.lower() not in endings:
        raise UsageError(f"{output}: {what} is written as {' or '.join(endings)}; name the file so")
    if not output.parent.is_dir():
        raise UsageError(f"{output}: the folder {output.parent} does not exist")
    check_replaceable(output)
    for path in _files(inputs):
        if output.exists() and path.exists() and output.samefile(path):
            raise UsageError(f"{output} is the file that is read; name another one to write")


def check_output_folder(folder: Path, names: Iterable[str], *, inputs: Iterable[Path | str | None] = ()) -> None:
    """The same for a folder that is made where it is not there yet, and the files that are written into it.

    Raises:
        UsageError: a file stands where the folder or one above it is to be, or one of `names` in it is read.
    """
    standing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not standing.is_dir():
        raise UsageError(f"{folder}: {standing} is no folder; name another one")
    inputs = tuple(inputs)
    for name in names if folder.is_dir() else ():
        if not (folder / name).is_dir():
            check_output(folder / name, inputs=inputs)


def _files(inputs: Iterable[Path | str | None]) -> Iterable[Path]:
    for given in inputs:
        if isinstance(given, Path):
            yield given
        elif given is not None and given.endswith(".toml"):
            yield Path(given)
