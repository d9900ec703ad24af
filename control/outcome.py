"""How a run ended, as the run folder's `outcome.json` says it: written atomically, and last.

The schema is `docs/outcome.schema.json`. A simulator's oracle, a laboratory's scripts and the report read this file;
a run folder without it is a run whose host died.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Literal

import msgspec

from control.errors import MoonkilnError
from control.files import write_atomically

SCHEMA_VERSION = 1
NAME = "outcome.json"
NOT_SAFE_CODE = 4


class Status(Enum):
    """The four ways in which a run can end."""

    DONE = "done"
    STOPPED = "stopped"  # by the operator's stop, a trip, or an interruption: safe, resumable
    FAILED = "failed"  # by an error that was not a trip
    CANCELLED = "cancelled"  # the operator gave the run up


class Declared(msgspec.Struct, frozen=True):
    """Something that did not go as planned and that the run owns up to. Block -1 means the whole layer."""

    kind: Literal["interrupted", "re_exposed", "skipped", "recoated"]
    layer: int
    first_block: int
    last_block: int


class LayerOutcome(msgspec.Struct, frozen=True):
    """What the host believes of one layer. A block is one job vector, claimed after the M400 that follows its layer."""

    index: int
    committed: bool
    blocks_claimed: int
    energy_j: float


class Totals(msgspec.Struct, frozen=True):
    """Sums over the run, all its sessions together where the journal spans them."""

    layers: int
    blocks_claimed: int
    energy_j: float
    lines_sent: int
    polls: int
    duration_s: float  # of this session
    sessions: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of `outcome.json`.

    not_safe: what by the host's own word is not off, or not surely: devices' names, or sentences. Empty: all is off.
    """

    schema_version: int = SCHEMA_VERSION
    status: Status
    reason: str
    exit_code: int
    declared: list[Declared]
    layers: list[LayerOutcome]
    totals: Totals
    position_mm: tuple[float, float, float] | None  # where the motion controller says it is; None: not known
    dry_run: bool = False
    not_safe: list[str] = []

    def owning_up(self, devices: Sequence[str], sentence: str = "") -> Outcome:
        """This outcome of a run behind which not all is off: never done, and its reason says what.

        devices: those that could not be made safe, by name. sentence: what else is on, or may be.
        """
        devices = [name for name in devices if name not in self.not_safe]
        said = [f"{' and '.join(devices)} could not be made safe: look at the machine"] if devices else []
        said += [sentence] if sentence and sentence not in self.reason else []
        if not devices and not sentence:
            return self
        reason, link = self.reason, "and" if self.not_safe else "but"
        if said:
            reason = f"{reason.rstrip('.')}, {link} {', and '.join(said)}"
        failed = self.status is Status.FAILED
        return msgspec.structs.replace(
            self,
            status=self.status if failed else Status.STOPPED,
            exit_code=self.exit_code if failed else NOT_SAFE_CODE,
            reason=reason,
            not_safe=[*self.not_safe, *devices, *([sentence] if sentence else [])],
        )

    def write(self, run_dir: Path) -> None:
        """Leave `outcome.json` in `run_dir`: the whole file or none of it."""
        write_atomically(run_dir / NAME, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def read_outcome(run_dir: Path) -> Outcome:
    """The outcome in a run folder. Raises MoonkilnError: absent, damaged, or of another schema."""
    path = run_dir / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Outcome)
    except FileNotFoundError:
        raise MoonkilnError(f"{path} does not exist: the run's host died before its end; resume the run", 2) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise MoonkilnError(f"{path} cannot be read: {error}", 2) from error
