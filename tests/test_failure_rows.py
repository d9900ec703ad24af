"""Has every row of `docs/failure-rows.md` a test that is there and runs, and is no row of the list missing?

ROWS is the list: what the facts on hosts, Modbus and devices call a failure, a rule or a trap. A row that leaves the
page, a test that is renamed and a row without a test fail here. Where those facts are at hand, each row of their
tables of failures must stand on the page in its own words, so that one that is added there is missed here.
"""

from __future__ import annotations

import ast
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs" / "failure-rows.md"
REASON = "Does not apply: "
LONG_RUN = "(soak)"
FACTS = Path(os.environ.get("MOONKILN_DATA", REPOSITORY.parent / "shared" / "data")).parent / "facts"
TABLES_OF_FACTS = [  # page, heading, how many tables of failures stand under it
    ("hosts.md", "### 1d. Failure modes users report", 1),
    ("modbus_hal.md", "### 1.1 What people get wrong from memory", 1),
    ("modbus_hal.md", "### 1.3 Defects found here", 2),
    ("modbus_hal.md", "## 2. pyserial and ptys", 1),
]

ROWS = {
    "Reports of users, Marlin and Grbl": [
        "resend without ok", "endless resend, off by one", "line no longer in history", "resend storm",
        "tail of a broken line runs", "silence while it heats, probes or waits", "ok lost or damaged",
        "the host's count of buffered bytes drifts", "receive buffer overrun is death", "noise, USB drop",
        "printing on by itself after a drop", "Marlin's own power-loss recovery", "short segments starve the link",
        "stop after a hold runs the rest", "opening resets the board", "five faults at the fiftieth line",
    ],
    "Marlin's protocol": [
        "a line", "line numbers", "order of the checks", "error texts and older forks", "ok says planned",
        "wait, busy, unknown", "fatal errors", "emergency stop", "capabilities", "M114 is planned", "M155",
        "host actions", "motors, waits, laser, fan, filament", "every command of the list", "real buffers",
        "cold extrusion",
    ],
    "Grbl's protocol": [
        "real-time bytes", "buffers", "one answer for CR and one for LF", "reports", "banner, reset in motion",
        "errors and alarms by number", "settings", "laser mode", "character counting", "no checksum",
        "check mode first", "every line of the list", "hold with deceleration", "EEPROM outlives resets",
        "grblHAL, FluidNC",
    ],
    "RepRapFirmware and Klipper": [
        "CRC-16 lines", "a bad line has no word", "its answers", "Klipper's wire",
    ],
    "Noise on the wire": [
        "flip, drop, double, insert, delay, merge", "split and merged writes", "FF and NUL bytes",
        "answers late, lost, doubled", "unplugged, and back under the same name",
        "unplugged, and back under another number",
        "banner in the middle of a job, or lost",
    ],
    "Hosts of others on the emulated boards": [
        "printcore", "OctoPrint (soak)", "cncjs (soak)",
    ],
    "Motion: the worked examples": [
        "E1, E4: trapezoid and triangle", "E2: junction deviation, Grbl", "E2m: junction deviation, Marlin",
        "E3: Klipper's corner velocity", "E5: limits of each axis", "look-ahead and starvation",
    ],
    "A hostile Modbus peer": [
        "late: the value of the next register", "a duplicate of an earlier reply",
        "another function, count, unit or echo", "an exception of another function", "noise before a good frame",
        "bad CRC, half a frame", "cancellation leaves a reply behind", "recovery within two requests",
        "late, from slaves that others wrote",
    ],
    "What a Modbus master gets wrong": [
        "writes are repeated", "a dead unit holds the bus for 12 s", "a lost link lets calls wait out",
        "values and counts that do not fit", "no silence between frames", "several requests in flight on RTU",
        "a TLS chunk taken for a frame", "memory that wears out",
    ],
    "What a Modbus slave gets wrong": [
        "quantity limits", "past the end of the addresses", "FC05 values, byte counts", "bits that are only read",
        "unknown functions, made-up data", "03 is no word about the process", "foreign unit, bad CRC", "broadcast",
        "t1.5 and t3.5", "noise or a torn frame, then a good one", "pipelined and split TCP requests",
        "protocol id, unknown unit on TCP", "43/14", "masters of others agree",
    ],
    "Traps of devices": [
        "Eurotherm: 2, 24, 25 wear out", "Eurotherm: 26 times out", "Eurotherm: decimals, sign, sensor break",
        "Omron: two windows", "Omron: decimal point dropped", "Omron: commands refused until writing is enabled",
        "Watlow: low word first", "Watlow: Fahrenheit", "Watlow: pointer block",
        "Leadshine: high word first, odd addresses", "Leadshine: a jog lives 50 ms",
        "Leadshine: 1901h resets when read", "Leadshine: reply times", "Leadshine: the manual's own frames are wrong",
        "Leadshine: manuals disagree on exceptions", "Leadshine: no watchdog",
        "Delta: decimals of the current in 211Fh", "Delta: 09-02, 09-03", "Delta: command source, bit codes, 20 words",
        "Huanyang is no Modbus", "Riden: scale by model", "Riden: the sign has its own register",
        "Riden: calibration registers", "Riden: no watchdog", "Kipp & Zonen: the scale in the same block",
        "Kipp & Zonen: the deviation is latched by a read", "Kipp & Zonen: void, overflow, hardware error",
        "Eastron: 30001 is address 0", "Eastron: high word first, 30 parameters a read", "sentinels",
        "RoboClaw: CRC over what was sent", "RoboClaw: 10 ms between bytes", "RoboClaw: serial timeout",
        "RoboClaw: memory written at every start", "RoboClaw: units and status bits",
        "battery, vacuum, laser and galvo protocols",
    ],
    "Serial ports and ptys": [
        "port busy", "port absent", "permission denied", "parity and 7 bits on a pty", "stable names",
        "exclusive lock is advisory", "library exceptions leak", "the other end goes while reading or writing",
        "a master without a slave spins", "a fresh pty echoes and eats bytes",
        "a pty has no pace, a wrong baud rate no effect", "17 kB of buffer, then it blocks", "no DTR on a pty",
        "adapters that deliver late", "rfc2217 and spy URLs",
    ],
    "Loss of communication": [
        "beam head", "heater", "conveyor", "wheels", "a device without one", "arm and fire, a token that ends",
    ],
    "What would show a fake": [
        "hostile slave against every map", "conformance in both framings, for each device", "a killed controller",
        "manners are counted, and the drivers have them", "two devices on a bus, one dead",
        "a swapped word, an address off by one", "golden frames", "what a pty cannot show",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of the page. `tests`: (file, name); `reason`: why there is none."""

    key: str
    tests: tuple[tuple[str, str], ...]
    reason: str


def rows(page: str) -> dict[str, list[Row]]:
    """The page's tables, by the heading above them."""
    found: dict[str, list[Row]] = {}
    section = ""
    for line in page.splitlines():
        if line.startswith("## "):
            section = line[3:]
            found[section] = []
        elif line.startswith("| ") and not line.startswith("| row |"):
            key, _, cell = (part.strip() for part in line.strip("|").split("|"))
            tests = () if cell.startswith(REASON) else tuple(re.findall(r"`tests/(\w+\.py)::(test_\w+)`", cell))
            found[section].append(Row(key, tests, cell.removeprefix(REASON) if cell.startswith(REASON) else ""))
    return {heading: table for heading, table in found.items() if table}


def words_of_the_page(page: str) -> dict[str, str]:
    """`- *words*: row`: what somebody told, in his words, and the row it stands under, or why it stands under none."""
    return dict(re.findall(r"^- \*(.+?)\*: (.+)$", page, flags=re.MULTILINE))


def tables_under(page: str, heading: str) -> list[list[str]]:
    """The first cells of each table below a heading and above the next, without the marks of code and weight."""
    section = re.split(r"^#+ ", page.partition(f"\n{heading}")[2], maxsplit=1, flags=re.MULTILINE)[0]
    tables: list[list[str]] = []
    for block in re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE):
        cells = [re.split(r"(?<!\\)\|", line)[1] for line in block.splitlines()[2:]]
        tables.append([re.sub(r"[`*]", "", cell).strip() for cell in cells])
    return tables


@cache
def marks_in(file: str) -> dict[str, frozenset[str]]:
    """The tests that a file defines, each with the marks on it and on its module (`soak`, `skip`, `xfail`...)."""
    tree = ast.parse((REPOSITORY / "tests" / file).read_text(encoding="utf-8"))

    def marks(nodes: list[ast.expr]) -> set[str]:
        return {name for node in nodes for name in re.findall(r"mark\.(\w+)", ast.unparse(node))}

    of_all = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and any(getattr(at, "id", "") == "pytestmark" for at in node.targets)
    ]
    return {
        node.name: frozenset(marks(of_all) | marks(node.decorator_list))
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


TABLES = rows(PAGE.read_text(encoding="utf-8"))
ALL = [pytest.param(row, id=f"{section}: {row.key}") for section, table in TABLES.items() for row in table]


def test_the_page_has_the_rows_of_the_list_and_no_other() -> None:
    assert {section: [row.key for row in table] for section, table in TABLES.items()} == ROWS


def complaint(row: Row) -> str:
    """What is wrong with a row; "" if nothing."""
    if not row.tests:
        return "" if len(row.reason) > 40 else "it has neither a test nor a reason why it can have none"
    for file, name in row.tests:
        if not (REPOSITORY / "tests" / file).is_file():
            return f"there is no tests/{file}"
        if name not in marks_in(file):
            return f"tests/{file} has no {name}"
        if {"skip", "xfail"} & marks_in(file)[name]:
            return f"{name} is switched off"
    is_long = all("soak" in marks_in(file)[name] for file, name in row.tests)
    if is_long != row.key.endswith(LONG_RUN):
        return f"only `make soak` runs its tests: say {LONG_RUN}" if is_long else f"it says {LONG_RUN} and is not"
    return ""


@pytest.mark.parametrize("row", ALL)
def test_each_row_has_a_test_that_runs(row: Row) -> None:
    assert complaint(row) == ""


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("| a | b | `tests/test_docs.py::test_of_another_name` |", "has no test_of_another_name"),
        ("| a | b | `tests/test_nothing.py::test_x` |", "there is no tests/test_nothing.py"),
        ("| a | b | some day |", "neither a test nor a reason"),
        ("| a | b | Does not apply: no. |", "neither a test nor a reason"),
        ("| a | b | `tests/test_cncjs.py::test_cncjs_prints_to_the_end` |", r"say \(soak\)"),
        ("| a (soak) | b | `tests/test_docs.py::test_pictures_are_small` |", "and is not"),
    ],
)
def test_a_row_that_holds_nothing_would_be_found(line: str, word: str) -> None:
    (row,) = rows(f"## s\n{line}\n")["s"]
    assert re.search(word, complaint(row))


@pytest.mark.parametrize(("page", "heading", "count"), TABLES_OF_FACTS)
def test_each_row_of_the_facts_stands_on_the_page_in_its_own_words(page: str, heading: str, count: int) -> None:
    if not FACTS.is_dir():
        pytest.skip(f"the facts on hosts and Modbus are absent: no {FACTS}")
    tables = tables_under((FACTS / page).read_text(encoding="utf-8"), heading)
    assert len(tables) == count and all(len(table) >= 5 for table in tables), "its tables are elsewhere now"
    told = words_of_the_page(PAGE.read_text(encoding="utf-8"))
    assert [words for table in tables for words in table if words not in told] == []


def test_what_somebody_told_stands_under_a_row_that_is_there() -> None:
    keys = {row.key for table in TABLES.values() for row in table}
    told = words_of_the_page(PAGE.read_text(encoding="utf-8"))
    assert len(told) >= 60
    assert {at for at in told.values() if at not in keys and not at.startswith(REASON[0].lower() + REASON[1:])} == set()


def test_a_row_that_is_added_to_the_facts_would_be_found() -> None:
    first = "| mode | rule |\n|---|---|\n| `x` lost \\| gone | 1 |\n| **y** | 2 |\n"
    facts = f"\n## a\ntext\n{first}\n| m |\n|---|\n| z |\n## b\n| q |\n"
    assert tables_under(facts, "## a") == [["x lost \\| gone", "y"], ["z"]]
    assert words_of_the_page("- *x lost*: a row\n- y\n") == {"x lost": "a row"}
