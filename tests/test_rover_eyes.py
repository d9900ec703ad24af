"""Does a driving rover find the site's tags with its camera, and is it led astray by none?"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rover_drive_helpers import HILLS, mapped_lane

from control.host import Status
from control.report_telemetry import decoder, messages
from control.rover.route.route_file import RouteFileError, Tag, read_route, write_route
from hil_sim.harness.drive_runner import DriveResult, DriveScenario, run_drive
from hil_sim.harness.oracle import Verdict
from hil_sim.world.plant.terrain import Ground

GROUND = Ground(HILLS.heights_m, HILLS.x_m, HILLS.y_m, HILLS.cell_m)


def tag(tag_id: int, x_m: float, y_m: float, facing_deg: float = 180.0) -> Tag:
    """A tag whose middle stands 0.6 m over the ground of the map."""
    return Tag(tag_id, x_m, y_m, GROUND.height(x_m, y_m) + 0.6, facing_deg, 0.3)


TAGS = [tag(3, 66.0, 101.5), tag(7, 67.0, 98.5), tag(11, 64.0, 102.5)]


def driven(folder: Path, tags: list[Tag], length_m: float = 1.6, **changes) -> DriveResult:  # type: ignore[no-untyped-def]
    path = mapped_lane(folder, length_m)
    write_route(msgspec.structs.replace(read_route(path), tags=tags), path)
    return run_drive(DriveScenario(seed=1, details=False), path, folder / "run", ground=HILLS, **changes)


def test_tags_on_the_way_are_seen_and_believed(tmp_path: Path) -> None:
    result = driven(tmp_path, TAGS)
    assert result.outcome is not None and result.outcome.status is Status.DONE, result.outcome
    assert result.outcome.totals.sightings > 10 and result.verdict is Verdict.EXACT, result.judgement.reasons
    assert result.judgement.cross_track_max_m < 0.12


def test_without_tags_nobody_asks_the_camera(tmp_path: Path) -> None:
    asked = []

    async def note(world) -> None:  # type: ignore[no-untyped-def]
        await asyncio.sleep(12.0)
        asked.append(world._pictures)

    result = driven(tmp_path, [], meddle=note)
    assert result.outcome is not None and result.outcome.totals.sightings == 0 and asked == [0]


def test_a_tag_that_was_moved_leads_nobody_astray(tmp_path: Path) -> None:
    """The map says two metres beside where it stands: the gate keeps it out, the tracker leads."""

    async def move(world) -> None:  # type: ignore[no-untyped-def]
        world._site_tags = tuple(replace(t, y_m=t.y_m + 2.0) for t in world._site_tags)

    result = driven(tmp_path, TAGS[:1], meddle=move)
    assert result.outcome is not None and result.outcome.status is Status.DONE
    assert result.judgement.cross_track_max_m < 0.2 and result.outcome.totals.sightings < 5


def test_a_camera_that_is_cut_off_is_told_of_and_the_drive_goes_on(tmp_path: Path) -> None:
    async def cut(world) -> None:  # type: ignore[no-untyped-def]
        await asyncio.sleep(6.0)
        world.wire("camera").hang_up()

    result = driven(tmp_path, TAGS, meddle=cut)
    assert result.outcome is not None and result.outcome.status is Status.DONE, result.outcome
    record = [item for item in messages(tmp_path / "run" / "telemetry.mcap", []) if not isinstance(item, dict)]
    said = [decoder(item.schema)(item.data).message for item in record if item.topic == "/events"]
    assert sum("the camera does not see" in sentence for sentence in said) == 1


@pytest.mark.parametrize("wrong", [[TAGS[0], TAGS[0]], [msgspec.structs.replace(TAGS[0], x_m=math.inf)]])
def test_tags_that_cannot_be_are_refused(tmp_path: Path, wrong: list[Tag]) -> None:
    path = mapped_lane(tmp_path, 3.0)
    with pytest.raises(RouteFileError):
        write_route(msgspec.structs.replace(read_route(path), tags=wrong), path)
