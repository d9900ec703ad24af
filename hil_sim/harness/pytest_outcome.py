"""What the pytest plugin says of a run: why its test fails though nobody looked, how to repeat it, what happened."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Collection
from typing import Any

import pytest

from hil_sim.harness.hil_case import LAST_FRAMES, HilCase
from hil_sim.harness.pytest_mark import BAD_VERDICTS, UNJUDGED, allowed


def why_it_fails(case: HilCase, mark: dict[str, Any], fixtures: Collection[str]) -> str | None:
    """What a test that came to its end has overlooked, a sentence; None: nothing. `fixtures`: what it asked for."""
    called = "host.drive(ROUTE)" if case.is_rover else "host.print(JOB)"
    if case.was_forgotten:
        return f"{called} was called and hil.run() was not: nothing was tested"
    is_judged = UNJUDGED not in allowed(mark)
    if is_judged and not case.was_begun and ("host" in fixtures or not case.was_looked_into):
        return (
            f"{called} was never called, so that no run began: nothing was tested\n"
            f"(a test that only looks at what it is given says pytest.mark.hil(allow={UNJUDGED!r}))"
        )
    if sentence := _bad_verdict(case, mark):
        return sentence
    if case.was_left and is_judged:
        return (
            "the run was left before its end, so that nobody judged it: end with hil.run(), which goes on until the "
            f"host has ended\n(a test that is meant to leave says pytest.mark.hil(allow={UNJUDGED!r}))"
        )
    if case.no_word is not None and case.ended_with not in BAD_VERDICTS and is_judged:
        return f"{case.no_word}\n(a test of a host that does nothing says pytest.mark.hil(allow={UNJUDGED!r}))"
    if sentence := _unmet(case):
        return sentence
    idle = [json.dumps(fault.to_dict()) for fault in case.must_strike]
    if idle and not mark.get("allow_idle", False):
        return (
            f"{'; '.join(idle)}: never struck, so that the test has not seen what it is about: anchor it where the run "
            "comes by\n(where it may pass the run by, say pytest.mark.hil(allow_idle=True))"
        )
    return None


def why_it_ended_badly(case: HilCase, mark: dict[str, Any]) -> str | None:
    """What a run that came to its end shows, a sentence, whatever its test says behind it; None: nothing bad."""
    return _bad_verdict(case, mark) or _unmet(case)


def _bad_verdict(case: HilCase, mark: dict[str, Any]) -> str | None:
    verdict = case.ended_with
    if verdict not in BAD_VERDICTS or case.was_expected or verdict in allowed(mark):
        return None
    reasons = "; ".join(case.judgement.reasons[:5])
    return f"{verdict}: {reasons}\n(a test that is meant to end so says pytest.mark.hil(allow={verdict!r}))"


def _unmet(case: HilCase) -> str | None:
    return f"scenario {case.scenario.name}: {'; '.join(case.unmet)}" if case.unmet else None


def name_of(item: pytest.Item) -> str:
    """A test as the command line takes it: older versions of xdist put its group behind it, for their own use."""
    name = item.nodeid
    if item.config.getoption("loadgroup", False) and (mark := item.get_closest_marker("xdist_group")):
        group = mark.args[0] if mark.args else mark.kwargs.get("name", "default")
        name = name.removesuffix(f"@{group}")
    return name


def replay_command(item: pytest.Item, case: HilCase, *, is_replay: bool) -> str:
    """The line that runs this test with this seed again, from the folder in which pytest was called; of a replay the
    line that repeats that."""
    config = item.config
    place, colons, rest = name_of(item).partition("::")
    path = os.path.relpath(config.rootpath / place, config.invocation_params.dir)
    words = ["pytest", path + colons + rest, "--hil-seed", str(case.seed)]
    if case.mode != "virtual" and not case.is_command:
        words += ["--hil-mode", case.mode]
    if case.mode == "paced":
        words += ["--hil-pace", f"{case.settings.pace:g}"]
    if is_replay:
        words = ["pytest", path, "--hil-replay", str(config.option.hil_replay)]
    return shlex.join(words)


def story(case: HilCase, test: str, replayed: dict[str, Any] | None) -> str:
    """What a failing run came to: verdict, reasons, faults, the last frames; of a replay whether it was the same."""
    record = case.record(test)
    rows = [
        f"verdict: {record['verdict'] or 'none, the run has not ended'} after {record['sim_s']:g} s, seed {case.seed}"
    ]
    rows += [f"  {reason}" for reason in record["reasons"][:5]]
    idle = [fault.to_dict() for fault in case.never_struck()]
    rows += [f"fault: {json.dumps(row)}{'  (it never struck)' if row in idle else ''}" for row in record["faults"]]
    rows.append(f"folder: {case.run_dir}")
    if case.mode == "wire":
        rows.append("real time is never the same twice: a replay may end otherwise")
    if replayed is not None and (sentence := other_files(case, replayed)) is not None:
        rows.append(sentence)
    if replayed is not None and case.mode == replayed["mode"] != "wire":
        same = replayed["wire_digest"] == record["wire_digest"]
        rows.append(
            f"on the wires: {'byte for byte as recorded' if same else 'not as recorded: other code, faults or Python'}"
        )
    rows.append(f"the last of {case.trace.count} chunks on the wires:")
    rows += [f"  {frame}" for frame in case.trace.last(LAST_FRAMES)]
    return "\n".join(rows)


def other_files(case: HilCase, replayed: dict[str, Any]) -> str | None:
    """The sentence for files of a replay that are not those of the run that it repeats; None: they are."""
    ours, theirs = case.file_hashes(), replayed.get("files")
    if theirs is None or ours == theirs:
        return None
    names = [what for what in sorted({*ours, *theirs}) if ours.get(what) != theirs.get(what)]
    return f"this is not the run that was recorded: its {', '.join(names)} is another file now, or has changed since"


def properties(case: HilCase, test: str, again: str) -> list[tuple[str, object]]:
    """What the JUnit file says of a run; `again` repeats it."""
    record = case.record(test)
    return [
        ("hil_seed", case.seed),
        ("hil_mode", case.mode),
        ("hil_verdict", record["verdict"] or UNJUDGED),
        ("hil_sim_s", round(record["sim_s"], 3)),
        ("hil_schedule", json.dumps(record["faults"])),
        ("hil_digest", record["digest"]),
        ("hil_wire_digest", record["wire_digest"]),
        ("hil_replay", again),
    ]
