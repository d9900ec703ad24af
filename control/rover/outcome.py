"""How a drive ended, as the run folder's `outcome.json` says it: written atomically, and last.

What it claims is what the host believes; in a simulated world the oracle holds it against the truth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from control.errors import MoonkilnError
from control.files import write_atomically
from control.outcome import NAME, Status

SCHEMA_VERSION = 1


class Held(msgspec.Struct, frozen=True):
    """A time in which the guard did not let the rover simply go on, and why."""

    action: Literal["SLOW", "HOLD", "BACK_OUT", "HAVEN", "HIBERNATE"]
    cause: str
    sentence: str
    from_s: float
    until_s: float


class DriveTotals(msgspec.Struct, frozen=True):
    """Sums over the drive. `fixes` of the tracker and `sightings` of tags that the filter believed."""

    commands: int
    polls: int
    fixes: int
    sightings: int
    duration_s: float
    odometer_m: float
    energy_wh: float


class DriveOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of a drive's `outcome.json`. Positions in the map's frame (m, rad).

    `progress_m` is along the way last followed (a detour's or a haven's has its own length); `map_watched`: the map was
    at hand, so that hazards, fence and havens were known; `haven_m`: the haven that it left its route for.
    """

    schema_version: int = SCHEMA_VERSION
    kind: Literal["drive"] = "drive"
    status: Status
    reason: str
    exit_code: int
    route_sha256: str
    route_length_m: float
    progress_m: float
    position_m: tuple[float, float] | None
    heading_rad: float | None
    sigma_m: float | None
    cross_track_rms_m: float
    cross_track_max_m: float
    held: list[Held]
    detours: int
    map_watched: bool
    haven_m: tuple[float, float] | None
    totals: DriveTotals

    def write(self, run_dir: Path) -> None:
        """Leave `outcome.json` in `run_dir`: the whole file or none of it."""
        write_atomically(run_dir / NAME, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")


def read_drive_outcome(run_dir: Path) -> DriveOutcome:
    """The outcome of a drive in a run folder. Raises MoonkilnError: absent, damaged, or not a drive's."""
    path = run_dir / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=DriveOutcome)
    except FileNotFoundError:
        raise MoonkilnError(f"{path} does not exist: the drive's host died before its end", 2) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise MoonkilnError(f"{path} cannot be read as a drive's outcome: {error}", 2) from error
