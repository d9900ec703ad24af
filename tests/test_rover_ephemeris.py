"""Do the Sun and the Earth stand where DE421 says, over the Moon's own horizon?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from sky_helpers import reference

from control.rover.ground.ephemeris import (
    TimeError,
    earth_direction,
    map_azimuth_rad,
    sun_direction,
    unix_s,
    utc_text,
)

MONS_MOUTON = -84.6, 31.0
TIMES = np.random.default_rng(1).uniform(unix_s("2026-01-01"), unix_s("2036-01-01"), 300)
DIRECTIONS = {"sun": sun_direction, "earth": earth_direction}


@pytest.mark.parametrize("body", ["sun", "earth"])
@pytest.mark.parametrize("place", [MONS_MOUTON, (-88.81, 123.7), (-45.0, 200.0), (85.4, -31.0)])
def test_within_a_hundredth_of_a_degree_of_de421_for_ten_years(body: str, place: tuple[float, float]) -> None:
    azimuth, elevation = DIRECTIONS[body](TIMES, *place)
    true_azimuth, true_elevation = reference(body, TIMES, *place)
    assert abs(elevation - true_elevation).max() < 0.01
    aside = (azimuth - true_azimuth + 180.0) % 360.0 - 180.0
    assert abs(aside * np.cos(np.radians(elevation))).max() < 0.01


def test_the_sun_at_mons_mouton_rises_to_seven_degrees_and_no_more() -> None:
    """Facts: -6.92 to +6.96 deg over 366 days from 2028-08-01, above the horizon 0.514 of the time."""
    hours = unix_s("2028-08-01") + 3600.0 * np.arange(366 * 24)
    _, elevation = sun_direction(hours, *MONS_MOUTON)
    assert (elevation.min(), elevation.max()) == pytest.approx((-6.92, 6.96), abs=0.01)
    assert (elevation > 0).mean() == pytest.approx(0.514, abs=0.002)


def test_the_earth_at_mons_mouton_sets_for_a_quarter_of_the_time() -> None:
    hours = unix_s("2028-08-01") + 3600.0 * np.arange(366 * 24)
    _, elevation = earth_direction(hours, *MONS_MOUTON)
    assert (elevation.min(), elevation.max()) == pytest.approx((-2.56, 11.35), abs=0.02)
    assert (elevation > 0).mean() == pytest.approx(0.761, abs=0.002)


def test_one_time_is_as_good_as_many() -> None:
    t_s = unix_s("2028-11-02")
    one, many = sun_direction(t_s, *MONS_MOUTON), sun_direction([t_s, t_s + 60.0], *MONS_MOUTON)
    assert one[0].shape == () and (float(one[0]), float(one[1])) == (many[0][0], many[1][0])


def test_many_pieces_are_as_good_as_one() -> None:
    times = unix_s("2028-11-02") + 60.0 * np.arange(9000)
    whole = sun_direction(times, *MONS_MOUTON)[1]
    assert whole[5000:5010] == pytest.approx(sun_direction(times[5000:5010], *MONS_MOUTON)[1], abs=1e-12)


def test_north_and_east_on_a_map() -> None:
    assert float(map_azimuth_rad(math.pi / 2, 0.0)) == pytest.approx(math.pi / 2)
    assert float(map_azimuth_rad(math.pi / 2, 90.0)) == pytest.approx(0.0)


def test_dates_are_utc_unless_they_say_otherwise() -> None:
    assert unix_s("2028-11-02T06:00") == unix_s("2028-11-02T07:00+01:00") == unix_s("2028-11-02") + 6 * 3600
    assert utc_text(unix_s("2028-11-02T06:00")) == "2028-11-02T06:00:00Z"


@pytest.mark.parametrize("text", ["tomorrow", "2028-13-01", "1890-01-01", ""])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(TimeError):
        unix_s(text)


@pytest.mark.parametrize("t_s", [math.nan, 1e12, [0.0, math.inf]])
def test_a_time_without_a_sky_is_refused(t_s: object) -> None:
    with pytest.raises(TimeError):
        sun_direction(t_s, *MONS_MOUTON)  # type: ignore[arg-type]


def test_a_place_that_is_none_is_refused() -> None:
    with pytest.raises(TimeError):
        sun_direction(0.0, 91.0, 0.0)
