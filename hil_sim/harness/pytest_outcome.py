"""What the pytest plugin says of a run: why its test fails though nobody looked, how to repeat it, what happened."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

import pytest

from hil_sim.harness.hil_case import LAST_FRAMES, HilCase

BAD_VERDICTS = ("SILENT", "HANG", "UNSAFE")
UNJUDGED = "none"
"""The verdict of a run that did not come to its end; a mark allows with it that nothing was judged."""


def why_it_fails(case: HilCase, marked: dict[str, Any], test: str) -> str | None:
    """What a test that came to its end has overlooked, a sentence; None: nothing."""
    if case.was_forgotten:
        called = "drive(ROUTE)" if case.is_rover else "print(JOB)"
        return f"host.{called} was called and hil.run() was not: nothing was tested"
    verdict = case.record(test)["verdict"]
    allow = marked.get("allow", ())
    allowed = (allow,) if isinstance(allow, str) else tuple(allow)
    if verdict in BAD_VERDICTS and not case.was_expected and verdict not in allowed:
        reasons = "; ".join(case.judgement.reasons[:5])
        return f"{verdict}: {reasons}\n(a test that is meant to end so says pytest.mark.hil(allow={verdict!r}))"
    if case.was_left and UNJUDGED not in allowed:
        return (
            "the run was left before its end, so that nobody judged it: end with hil.run(), which goes on until the "
            f"host has ended\n(a test that is meant to leave says pytest.mark.hil(allow={UNJUDGED!r}))"
        )
    if case.never_worked is not None and verdict not in BAD_VERDICTS and UNJUDGED not in allowed:
        return f"{case.never_worked}\n(a test of a host that does nothing says pytest.mark.hil(allow={UNJUDGED!r}))"
    if case.unmet:
        return f"scenario {case.scenario.name}: " + "; ".join(case.unmet)
    idle = [json.dumps(fault.to_dict()) for fault in case.must_strike]
    if idle and not marked.get("allow_idle", False):
        return (
            f"{'; '.join(idle)}: never struck, so that the test has not seen what it is about: anchor it where the run "
            "comes by\n(where it may pass the run by, say pytest.mark.hil(allow_idle=True))"
        )
    return None


def replay_command(item: pytest.Item, case: HilCase, *, is_replay: bool) -> str:
    """The line that runs this test with this seed again, from the folder in which pytest was called; of a replay the
    line that repeats that."""
    config = item.config
    place, colons, rest = item.nodeid.partition("::")
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
