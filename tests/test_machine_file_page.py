"""Does the page on machine files know every key, kind and choice that the code reads, and no other?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control import config

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "machine-file.md").read_text(encoding="utf-8")
STRUCTS = {
    "Top level": config.MachineConfig,
    "`[envelope]`": config.EnvelopeConfig,
    "`[devices.*]`": config.DevicesConfig,
    "`[print]`": config.PrintConfig,
    "`[extra.NAME]`": config.ExtraConfig,
}


def struct_of(kind: Any) -> Any:
    """The struct of a field, which may be one that can be left out."""
    return next(t for t in getattr(kind, "types", (kind,)) if isinstance(t, msgspec.inspect.StructType))


DEVICES = {field.name: struct_of(field.type) for field in msgspec.inspect.type_info(config.DevicesConfig).fields}


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def keys(struct: Any) -> set[str]:
    return {field.name for field in msgspec.inspect.type_info(struct).fields}


def words(text: str) -> set[str]:
    return set(re.findall(r"`([a-z][a-z0-9_]*)`", text))


@pytest.mark.parametrize("title", STRUCTS)
def test_every_key_stands_in_its_section(title: str) -> None:
    assert keys(STRUCTS[title]) <= words(section(title))


@pytest.mark.parametrize("device", DEVICES)
def test_every_key_and_kind_of_a_device_is_told(device: str) -> None:
    text = section("`[devices.*]`")
    kind = DEVICES[device].cls
    fields = {field.name: field.type for field in msgspec.inspect.type_info(kind).fields}
    assert set(fields) <= words(text)
    row = next(line for line in text.splitlines() if line.startswith("|") and f"`{device}`" in line.split("|")[1])
    assert set(fields["kind"].values) == words(row.split("|")[2])
    common = {"kind", "wire", "unit", "map", "poll_hz", "stale_after_s"}
    assert set(fields) - common <= words(row)


def test_bounds_are_those_of_the_code() -> None:
    """Each row of the envelope says its upper bound."""
    for field in msgspec.inspect.type_info(config.EnvelopeConfig).fields:
        row = next(line for line in section("`[envelope]`").splitlines() if f"`{field.name}`" in line)
        assert f"to {field.type.le:g}" in row, row


def test_no_key_is_told_that_is_none() -> None:
    known = set().union(*map(keys, STRUCTS.values())) | set().union(*(keys(kind.cls) for kind in DEVICES.values()))
    silence = section("When the host falls silent")  # a table of kinds, not of keys
    for line in PAGE.replace(silence, "").splitlines():
        if line.startswith("| `") and "](" not in line:
            assert words(line.split("|")[1]) <= known, line
