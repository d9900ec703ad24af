"""Subjects without a host or a world, for tests of what campaigns do with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hil_sim.harness.digest import RunDigest
from hil_sim.harness.generator import Generator, load_generator
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.subjects import Run
from hil_sim.world.faults import Fault, FaultSchedule

Rule = Callable[[tuple[Fault, ...], int], tuple[Verdict, str]]
SHORT = MotionSubject(vectors=12)


@dataclass(frozen=True)
class Scripted:
    """`rule(faults, length)` says how it ends. Every fault strikes, one a second."""

    rule: Rule
    length: int = 40
    name: str = "scripted"
    own_seed: int = 0
    has_faults: bool = False

    def shorter(self, length: int) -> Scripted:
        return replace(self, length=length)

    def points(self) -> list[str]:
        return ["motion.to_device", "motion.to_host"]

    def run(self, schedule: FaultSchedule, seed: int, *, heard: RunDigest | None = None, **options: Any) -> Run:
        verdict, reason = self.rule(schedule.faults, self.length)
        struck = tuple((float(n), fault) for n, fault in enumerate(schedule.faults))
        digest = (heard or RunDigest()).close(reason, [fault.to_dict() for fault in schedule.faults], None)
        events = dict.fromkeys(self.points(), 50)
        return Run(verdict, (reason,), digest, struck, 100.0, 100.0, 7, events)

    def to_dict(self) -> dict[str, Any]:
        return {"subject": self.name, "length": self.length}

    def job_bytes(self) -> bytes | None:
        return None


def scripted(rule: Rule, length: int = 40) -> Scripted:
    return Scripted(rule, length)


def generator(tmp_path: Path, text: str) -> Generator:
    path = tmp_path / "generator.toml"
    path.write_text(text, encoding="utf-8")
    return load_generator(path)
