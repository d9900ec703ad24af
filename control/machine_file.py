"""A machine file as text and as plain data: where it lies, how it is read, and its wires named anew.

What one is of, a printer or a rover, is no matter here: `control.config` and `control.rover.config` know.
"""

from __future__ import annotations

import json
import re
import tomllib
import typing
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from control.errors import MoonkilnError
from slicer.words import did_you_mean

S = TypeVar("S", bound=msgspec.Struct)

MACHINES = Path(__file__).parent / "machines"
SCHEMA_VERSION = 1
BAUD_MIN, BAUD_MAX = 1200, 4_000_000


class ConfigError(MoonkilnError):
    """A machine file that cannot be used; the sentence names the file, the key and what is allowed there."""

    exit_code = 2


def machine_path(machine: str | Path) -> Path:
    """A machine's file: a path that exists, or the name of one that is shipped.

    Raises:
        ConfigError: neither; the sentence lists the shipped machines.
    """
    path = Path(machine)
    if path.suffix == ".toml":
        if not path.is_file():
            raise ConfigError(f"machine file {path} does not exist")
        return path
    shipped = {p.stem: p for p in sorted(MACHINES.glob("*.toml"))}
    if str(machine) in shipped:
        return shipped[str(machine)]
    raise ConfigError(
        f"there is no machine named {str(machine)!r}{did_you_mean(str(machine), shipped)}; shipped are"
        f" {', '.join(shipped)}, or give a path that ends in .toml"
    )


def read_document(path: Path) -> dict[str, Any]:
    """A machine file as plain data. Raises ConfigError: unreadable, not TOML, or of a newer schema."""
    try:
        document = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"machine file {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"machine file {path} is not valid TOML: {error}") from error
    version = document.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ConfigError(
            f"machine file {path} has schema version {version}, this moonkiln reads up to {SCHEMA_VERSION}: upgrade"
        )
    return document


@lru_cache(maxsize=16)
def _parsed(text: str) -> dict[str, Any]:
    """One text need be read once: a campaign's hosts all read the same. Nobody changes what is returned."""
    return tomllib.loads(text)


def converted(document: dict[str, Any], kind: type[S], path: Path) -> S:
    """The document as a frozen struct. Raises ConfigError with the place, and the nearest key where one is unknown."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"machine file {path}: {_sentence(error, kind)}") from error


def machine_text_with_urls(text: str, urls: dict[str, str]) -> str:
    """A machine file's text with its `[urls]` replaced; everything else, comments too, as it was."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(r"\s*\[\s*urls\s*\]\s*(#|$)", line)), None)
    if start is None:
        raise ConfigError("the machine file has no [urls] table to replace")
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    left = dict(urls)
    table, last = [], 0  # `last`: behind the table's last wire, where new ones go
    for line in lines[start + 1 : end]:
        found = _URL_LINE.match(line)
        if found is None:
            table.append(line)
            continue
        name = found["key"].strip("\"'")
        if name in left:
            table.append(f"{name} = {json.dumps(left.pop(name))}{found['comment']}")  # JSON's strings are TOML's
            last = len(table)
    table[last:last] = [f"{name} = {json.dumps(url)}" for name, url in left.items()]
    result = "\n".join([*lines[: start + 1], *table, *lines[end:]]) + "\n"
    if tomllib.loads(result)["urls"] != urls:
        raise ConfigError('the [urls] table is written in a way that cannot be replaced: one NAME = "URL" a line')
    return result


_URL_LINE = re.compile(
    r"""\s*(?P<key>[\w-]+|"[^"]*"|'[^']*')\s*=\s*(?:"(?:[^"\\]|\\.)*"|'[^']*')(?P<comment>\s*(?:\#.*)?)$"""
)


def baud_of(url: str) -> int:
    """The baud rate that a URL names; a wire that names none is counted as 9600, the slowest in use."""
    found = re.search(r"[?&]baud=(\d*)", url)
    if not found:
        return 9600
    baud = int(found.group(1) or 0)
    if not BAUD_MIN <= baud <= BAUD_MAX:
        raise ConfigError(f"the URL {url} asks for {baud} baud; serial lines run at {BAUD_MIN} to {BAUD_MAX}")
    return baud


def _sentence(error: msgspec.ValidationError, root: type) -> str:
    """msgspec's message with the place in front and, for an unknown key, the nearest known one."""
    text = str(error)
    message, _, place = text.partition(" - at ")
    place = place.strip("`$").lstrip(".") or "top level"
    unknown = re.search(r"unknown field `(\w+)`", message)
    if unknown:
        node: Any = root
        for part in [] if place == "top level" else place.split("."):
            node = next((f.type for f in msgspec.structs.fields(node) if f.encode_name == part), node)
            node = next((kind for kind in typing.get_args(node) if isinstance(kind, type(msgspec.Struct))), node)
        known = [f.encode_name for f in msgspec.structs.fields(node)]
        return f"[{place}] has an unknown key {unknown.group(1)!r}{did_you_mean(unknown.group(1), known)}"
    missing = re.search(r"missing required field `(\w+)`", message)
    if missing:
        return f"[{place}] lacks the key {missing.group(1)!r}"
    return f"{place}: {message[0].lower()}{message[1:]}"
