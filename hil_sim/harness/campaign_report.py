"""A campaign as files: JUnit XML for CI, one HTML page for people, Parquet for whoever counts over many of them.

All three are made from the `Report` alone. JUnit and HTML say for every run how to repeat it.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
import statistics
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import jinja2
import msgspec

from control.errors import MoonkilnError
from hil_sim.harness.campaign import Report, Row
from hil_sim.harness.expectations import Expectation
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.trials import CRASHED
from hil_sim.harness.user_host import is_command
from hil_sim.world.faults import FAMILIES, KINDS
from slicer.whole_file import whole_file

VERDICTS = (*(verdict.value for verdict in Verdict), CRASHED)
BAD = (Verdict.SILENT.value, Verdict.HANG.value, Verdict.UNSAFE.value, CRASHED)
SLOWEST, BAD_SHOWN = 10, 50
_UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TEMPLATE = Path(__file__).with_name("campaign.html.j2")


def schedule_json(row: Row) -> str:
    """A row's schedule as one line of JSON."""
    return msgspec.json.encode(row.faults).decode()


def replay_command(report: Report, row: Row, kept: Mapping[int, Path], again: str) -> str:
    """One line that repeats a run: from its kept file, or from its seed.

    Args:
        kept: run files of seeds that have one.
        again: the campaign's own command, without seeds; or one that takes a single seed, with {seed} in its place.
    """
    if row.seed in kept:
        return replay_line(kept[row.seed], report.subject)
    if "{seed}" in again:
        return again.replace("{seed}", str(row.seed))
    return f"{again} --first {row.seed} -n 1"


def replay_line(path: Path, subject: Mapping[str, Any]) -> str:
    """The command that makes a kept run again, with the host that it was run with; of a command, which a replay's
    virtual time refuses, a sentence that says what to do instead.
    """
    host = subject.get("host")
    if host is not None and is_command(host):
        return (
            f"none, for a command lives in real time: run it once more on the wire, or let a callable make {path} again"
            " by `hil replay` with --host package.module:name"
        )
    return f"moonkiln hil replay {path}" + ("" if host is None else f" --host {shlex.quote(host)}")


def write_junit(report: Report, path: Path, *, kept: Mapping[int, Path], again: str) -> None:
    """JUnit XML: a test case a seed, with properties seed, digest, schedule, verdict, sim_s and replay; SILENT, HANG
    and UNSAFE are failures, CRASHED is an error. Each expectation that a run was held to, and each seed that was run
    twice, is a case of its own; a part of a campaign has one more, an error that says how far it came.
    """
    held_to = [expectation for row in report.rows for expectation in row.expectations]
    suite = ElementTree.Element(
        "testsuite",
        name=f"hil {report.subject_name}",
        tests=str(len(report.rows) + len(held_to) + len(report.twice) + bool(report.cut)),
        failures=str(
            sum(row.verdict in BAD[:3] for row in report.rows)
            + sum(not expectation.held for expectation in held_to)
            + len(report.unrepeatable)
        ),
        errors=str(sum(row.verdict == CRASHED for row in report.rows) + bool(report.cut)),
        time=f"{sum(row.wall_s for row in report.rows):.3f}",
    )
    about = {
        "generator_version": str(report.generator_version),
        "software": report.software,
        "python": report.python,
        "subject": msgspec.json.encode(report.subject).decode(),
    }
    _properties(suite, about)
    for row in report.rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"hil.{report.subject_name}", name=f"seed {row.seed}", time=f"{row.wall_s:.3f}"
        )
        replay = replay_command(report, row, kept, again)
        facts = {
            "seed": str(row.seed),
            "digest": row.digest,
            "schedule": schedule_json(row),
            "verdict": row.verdict,
            "sim_s": f"{row.sim_s:.6f}",
            "replay": replay,
        }
        _properties(case, facts)
        if row.verdict in BAD:
            tag = "error" if row.verdict == CRASHED else "failure"
            found = ElementTree.SubElement(case, tag, type=row.verdict, message=_clean(f"{row.verdict}: {first(row)}"))
            found.text = _clean("\n".join([*row.reasons[:20], f"replay: {replay}"]))
        for expectation in row.expectations:
            _expectation(suite, f"hil.{report.subject_name}.expect", expectation, replay)
    for pair in report.twice:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"hil.{report.subject_name}.twice", name=f"seed {pair.seed} again", time="0"
        )
        if not pair.is_same:
            message = f"two runs of seed {pair.seed} differ: {pair.first} and {pair.again}"
            ElementTree.SubElement(case, "failure", type="not repeatable", message=message)
    if report.cut:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"hil.{report.subject_name}", name="the campaign whole", time="0"
        )
        message = f"this is a part of a campaign; {report.cut}"
        ElementTree.SubElement(case, "error", type="cut", message=_clean(message))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    with whole_file(path) as stream:
        ElementTree.ElementTree(root).write(stream, encoding="utf-8", xml_declaration=True)


def _expectation(suite: ElementTree.Element, classname: str, expectation: Expectation, replay: str) -> None:
    """An expectation as a case: its sentence is its output, or its failure."""
    case = ElementTree.SubElement(
        suite, "testcase", classname=classname, name=_clean(f"{expectation.kind}: {expectation.that}"), time="0"
    )
    sentence = _clean(expectation.sentence)
    facts = {"held": str(expectation.held).lower()}
    if expectation.at_s is not None:
        facts["at_s"] = f"{expectation.at_s:.6f}"
    _properties(case, facts)
    if expectation.held:
        ElementTree.SubElement(case, "system-out").text = sentence
    else:
        failure = ElementTree.SubElement(case, "failure", type="expectation", message=sentence)
        failure.text = f"{sentence}\nreplay: {replay}"


def _properties(parent: ElementTree.Element, facts: Mapping[str, str]) -> None:
    block = ElementTree.SubElement(parent, "properties")
    for name, value in facts.items():
        ElementTree.SubElement(block, "property", name=name, value=_clean(value))


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold, and no page should: a reason may quote what a wire brought."""
    return _UNWRITABLE.sub("�", text)


def first(row: Row) -> str:
    """A row's first reason."""
    return row.reasons[0] if row.reasons else "no reason was given"


def write_html(report: Report, path: Path, *, kept: Mapping[int, Path], again: str) -> None:
    """One self-contained page: verdicts, kind x verdict, latency, coverage, slowest, and what went wrong."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        verdicts=VERDICTS,
        bad_verdicts=BAD,
        matrix=kind_matrix(report),
        latencies=latencies(report),
        coverage=coverage(report),
        slowest=sorted(report.rows, key=lambda row: (-row.wall_s, row.seed))[:SLOWEST],
        shown=[(row, replay_command(report, row, kept, again)) for row in report.bad[:BAD_SHOWN]],
        schedule_json=schedule_json,
        first=first,
    )
    with whole_file(path) as stream:
        stream.write(_clean(page).encode())


def kind_matrix(report: Report) -> dict[str, Counter[str]]:
    """Kind -> how the runs ended whose schedule holds it."""
    table: dict[str, Counter[str]] = {}
    for row in report.rows:
        for kind in row.kinds:
            table.setdefault(kind, Counter())[row.verdict] += 1
    return dict(sorted(table.items()))


class KindRow(NamedTuple):
    """A kind of fault in a campaign. struck: runs that it struck in; exact, degraded, detected, bad: how these ended.
    stopped_by: runs that it was the cause of the stop of; median_s, most_s: simulated seconds until the host noticed.
    """

    kind: str
    struck: int
    exact: int
    degraded: int
    detected: int
    bad: int
    stopped_by: int
    median_s: float | None
    most_s: float | None


def kind_rows(report: Report) -> list[KindRow]:
    """Detection and recovery, kind by kind of those that struck."""
    ends: dict[str, Counter[str]] = {}
    for row in report.rows:
        for kind in {kind for _, kind in row.struck}:
            ends.setdefault(kind, Counter())[row.verdict] += 1
    stops = {found.kind: found for found in latencies(report)}
    good = [verdict.value for verdict in Verdict if verdict.is_good]
    return [
        KindRow(
            kind,
            counts.total(),
            counts[Verdict.EXACT.value],
            counts[Verdict.DEGRADED.value],
            counts[Verdict.DETECTED.value],
            counts.total() - sum(counts[verdict] for verdict in good),
            0 if (stop := stops.get(kind)) is None else stop.runs,
            None if stop is None else stop.median_s,
            None if stop is None else stop.most_s,
        )
        for kind, counts in sorted(ends.items())
    ]


def write_kinds(report: Report, path: Path) -> None:
    """`kind_rows` as CSV, what they are of in every line; seconds to the millisecond."""
    head = ("subject", "generator_version", "seeds", *KindRow._fields)
    about = (report.subject_name, report.generator_version, len(report.rows))
    with whole_file(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(head)
        lines.writerows(
            (*about, *(f"{v:.3f}" if isinstance(v, float) else v for v in row)) for row in kind_rows(report)
        )
        text.detach()


class Latency(NamedTuple):
    """How long hosts took to notice a kind. runs: stopped for it; median_s, most_s: simulated seconds from its strike;
    bound: the catalogue's; late: how many took longer, None where the bound is no time.
    """

    kind: str
    runs: int
    median_s: float
    most_s: float
    bound: str
    late: int | None


def latencies(report: Report) -> list[Latency]:
    """Of each kind that a run was stopped for."""
    waits: dict[str, list[float]] = {}
    for row in report.rows:
        if row.cause is not None and (seconds := row.latency_s) is not None:
            waits.setdefault(row.cause[1], []).append(seconds)
    found = []
    for name, took_s in sorted(waits.items()):
        kind = KINDS[name]
        late = None if kind.bound_s is None else sum(seconds > kind.bound_s for seconds in took_s)
        found.append(Latency(name, len(took_s), statistics.median(took_s), max(took_s), kind.bound, late))
    return found


def holds(report: Report) -> list[tuple[str, int, float, float, float]]:
    """(kind, runs, median and most s from the strike to the hold, median s that it held) of runs that were held and
    ended well all the same, by the kind of the last strike before the first hold.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for row in report.rows:
        before = [(t_s, kind) for t_s, kind in row.struck if row.held and t_s <= row.held[0][0]]
        if row.verdict == Verdict.DEGRADED.value and before:
            (from_s, to_s), (t_s, kind) = row.held[0], before[-1]
            found.setdefault(kind, []).append((from_s - t_s, to_s - from_s))
    return [
        (
            kind,
            len(pairs),
            statistics.median(p[0] for p in pairs),
            max(p[0] for p in pairs),
            statistics.median(p[1] for p in pairs),
        )
        for kind, pairs in sorted(found.items())
    ]


def coverage(report: Report) -> list[tuple[str, list[tuple[str, int | None]]]]:
    """Family by family of the catalogues: each kind, and in how many runs it struck; None where this subject has no
    place for it.
    """
    struck = Counter(kind for row in report.rows for kind in {kind for _, kind in row.struck})

    def runs(kind: str) -> int | None:
        patterns = KINDS[kind].points
        has_place = any(fnmatchcase(point, pattern) for point in report.points for pattern in patterns)
        return struck[kind] if has_place or struck[kind] else None

    return [(family, [(kind, runs(kind)) for kind in kinds]) for family, kinds in FAMILIES.items()]


def parquet_writer() -> tuple[Any, Any]:
    """pyarrow and its module for Parquet. Raises MoonkilnError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MoonkilnError(
            "Parquet needs the package pyarrow: pip install 'moonkiln[parquet]', or leave --parquet", 2
        ) from None
    return pyarrow, pyarrow.parquet


def write_parquet(report: Report, path: Path) -> None:
    """One row a run, zstd; of a part of a campaign the file's metadata say so (`cut`). Raises MoonkilnError where
    pyarrow is not installed.
    """
    pyarrow, parquet = parquet_writer()
    schema = pyarrow.schema([(name, _column(pyarrow, kind)) for name, kind in COLUMNS.items()])
    table = pyarrow.Table.from_pylist([flat(report, row) for row in report.rows], schema)
    if report.cut:
        table = table.replace_schema_metadata({"cut": report.cut})
    with whole_file(path) as stream:
        parquet.write_table(table, stream, compression="zstd")


def _column(pyarrow: Any, kind: type) -> Any:
    """A column's type in Arrow's words."""
    return {
        str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), list: pyarrow.list_(pyarrow.string()),
    }[kind]  # fmt: skip


COLUMNS = {
    "subject": str, "generator_version": int, "software": str, "python": str, "seed": int, "verdict": str,
    "reason": str, "kinds": list, "struck": list, "faults": int, "schedule": str, "digest": str, "cause": str,
    "noticed_s": float, "latency_s": float, "sim_s": float, "timers": int, "attempt": int, "runs": int, "wall_s": float,
}  # fmt: skip
"""The same whatever the rows hold, so that tables of many campaigns can be read as one; cells may be empty."""


def flat(report: Report, row: Row) -> dict[str, Any]:
    """A run as columns."""
    return {
        "subject": report.subject_name,
        "generator_version": report.generator_version,
        "software": report.software,
        "python": report.python,
        "seed": row.seed,
        "verdict": row.verdict,
        "reason": first(row),
        "kinds": row.kinds,
        "struck": [kind for _, kind in row.struck],
        "faults": len(row.faults),
        "schedule": schedule_json(row),
        "digest": row.digest,
        "cause": None if row.cause is None else row.cause[1],
        "noticed_s": row.noticed_s,
        "latency_s": row.latency_s,
        "sim_s": row.sim_s,
        "timers": row.timers,
        "attempt": row.attempt,
        "runs": row.runs,
        "wall_s": row.wall_s,
    }
