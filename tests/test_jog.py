"""Does every gantry jog within its travel and speed, from where it stands, and only where it knows where that is?"""

from __future__ import annotations

import math

import pytest
from map_helpers import virtually

from firmware_bridge.devices.gantry import Gantry, Place
from firmware_bridge.devices.motion import MotionController
from firmware_bridge.devices.motion_grbl import GrblMotionController
from firmware_bridge.errors import NotReady, Rejected
from firmware_bridge.signals import Quality


class Trial(Gantry):
    """Stands at `place` once it is idle; `moves` are the targets and speeds that it was sent."""

    def __init__(self, place: Place, reach_mm: float = 0.001) -> None:
        super().__init__((100.0, 50.0, 20.0), 30.0, "trial")
        self.reach_mm = reach_mm
        self.is_homed = True
        self.place: Place = (math.nan, math.nan, math.nan)
        self.place_at_rest = place
        self.moves: list[tuple[Place, float]] = []

    async def position(self) -> Place:
        return self.place

    async def wait_idle(self) -> None:
        self.place = self.place_at_rest

    def _knows_its_place(self) -> bool:
        return self.is_homed

    async def _move_to(self, target_mm: Place, speed_mm_s: float) -> Place:
        self.moves.append((target_mm, speed_mm_s))
        return target_mm


def test_a_jog_counts_from_where_the_machine_has_come_to_rest() -> None:
    async def main() -> None:
        trial = Trial((10.0, 20.0, 5.0))
        assert await trial.jog(1.0, -2.5, 0.0, speed_mm_s=30.0) == (11.0, 17.5, 5.0)
        assert trial.moves == [((11.0, 17.5, 5.0), 30.0)]

    virtually(main)


@pytest.mark.parametrize(
    ("move", "speed_mm_s", "said"),
    [
        ((90.1, 0.0, 0.0), 10.0, "x = 100.1 mm is refused: the axis goes from 0 to 100 mm"),
        ((0.0, -20.1, 0.0), 10.0, "y = -0.1 mm is refused"),
        ((0.0, 0.0, math.inf), 10.0, "z = inf mm is refused"),
        ((math.nan, 0.0, 0.0), 10.0, "x = nan mm is refused"),
        ((1.0, 0.0, 0.0), 30.1, "30.1 mm/s is refused: above 0 to 30 mm/s"),
        ((1.0, 0.0, 0.0), 0.0, "0 mm/s is refused"),
        ((1.0, 0.0, 0.0), math.nan, "nan mm/s is refused"),
    ],
)
def test_nothing_moves_beyond_the_travel_or_faster_than_it_may(move: Place, speed_mm_s: float, said: str) -> None:
    async def main() -> None:
        trial = Trial((10.0, 20.0, 5.0))
        with pytest.raises(Rejected, match=said):
            await trial.jog(*move, speed_mm_s=speed_mm_s)
        assert trial.moves == []

    virtually(main)


def test_a_gantry_that_was_not_homed_does_not_jog() -> None:
    async def main() -> None:
        trial = Trial((10.0, 20.0, 5.0))
        trial.is_homed = False
        with pytest.raises(NotReady, match="trial does not know where it stands"):
            await trial.jog(1.0, 0.0, 0.0, speed_mm_s=10.0)
        assert trial.moves == []

    virtually(main)


@pytest.mark.parametrize(("controller", "may_stand_off"), [(MotionController, False), (GrblMotionController, True)])
def test_a_place_that_is_rounded_to_steps_does_not_hold_a_grbl_fast_at_its_end(
    controller: type[Gantry], may_stand_off: bool
) -> None:
    async def main() -> None:
        trial = Trial((-0.0125, 50.0125, 5.0), controller.reach_mm)
        if may_stand_off:
            assert await trial.jog(0.0, 0.0, 1.0, speed_mm_s=10.0) == (-0.0125, 50.0125, 6.0)
        else:
            with pytest.raises(Rejected, match=r"x = -0\.0125 mm"):
                await trial.jog(0.0, 0.0, 1.0, speed_mm_s=10.0)

    virtually(main)


def test_the_place_as_readings() -> None:
    async def main() -> None:
        trial = Trial((10.0, 20.0, 5.0))
        await trial.wait_idle()
        readings = await trial.position_readings()
        assert {name: r.value for name, r in readings.items()} == {"x_mm": 10.0, "y_mm": 20.0, "z_mm": 5.0}
        assert {(r.unit, r.quality) for r in readings.values()} == {("mm", Quality.GOOD)}

    virtually(main)
