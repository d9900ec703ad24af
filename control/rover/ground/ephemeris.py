"""Where the Sun and the Earth stand in the sky of a place on the Moon, without any kernel file.

The Moon's place is Meeus' series (Astronomical Algorithms, ch. 47: 10" in longitude, 4" in latitude), the Earth's the
main terms of VSOP87 (ch. 32, appendix), the Moon's rotation the IAU/WGCCRE series of 2009 (mean Earth / polar axis
frame, the one that lunar maps use). Together they are within 0.01 deg of DE421 in that frame for 2026 to 2035, which
the tests hold; a hundredth of a degree is a twenty-sixth of the Sun's radius.

Times are Unix seconds (UTC), one or many. Dynamical time is taken as UTC + 69.184 s, exact since 2017 and until the
next leap second. Azimuths are in degrees clockwise from north, elevations in degrees over the horizontal plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from control.errors import MoonkilnError
from control.rover.ground.dem import MOON_RADIUS_M
from control.rover.ground.ephemeris_series import EARTH_SERIES, MOON_LATITUDE, MOON_LONGITUDE

Floats = NDArray[np.float64]

J2000_S = 946_728_000.0  # 2000-01-01T12:00 as Unix seconds
TT_UTC_S = 69.184
AU_KM = 149_597_870.7
SUN_RADIUS_DEG = 0.265  # as seen from the Moon, to 2 % over the year
PIECE = 4096
VALID_S = (-631_152_000.0, 4_102_444_800.0)  # 1950 to 2100


class TimeError(MoonkilnError):
    """A time for which nothing can be said of the sky."""

    exit_code = 2


def unix_s(text: str) -> float:
    """Unix seconds of a date such as 2028-11-02 or 2028-11-02T06:00, UTC unless it says otherwise. TimeError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise TimeError(f"{text!r} is no date: write it as 2028-11-02 or 2028-11-02T06:00 (UTC)") from error
    seconds = (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()
    if not VALID_S[0] <= seconds <= VALID_S[1]:
        raise TimeError(f"{text} is outside 1950 to 2100, for which the Sun's place is known here")
    return seconds


def utc_text(t_s: float) -> str:
    """A time as 2028-11-02T06:00:00Z."""
    return datetime.fromtimestamp(round(t_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sun_direction(t_s: ArrayLike, lat_deg: float, lon_deg: float) -> tuple[Floats, Floats]:
    """Azimuth and elevation of the Sun's middle (deg) at a place on the Moon; latitude and east longitude in deg."""

    def from_moon_km(days: Floats) -> Floats:
        return _sun_km(days) - _moon_km(days, 15)  # light's travel is in the Sun's place already (aberration)

    return _seen(t_s, from_moon_km, lat_deg, lon_deg)


def earth_direction(t_s: ArrayLike, lat_deg: float, lon_deg: float) -> tuple[Floats, Floats]:
    """Azimuth and elevation of the Earth's middle (deg) at a place on the Moon. The Earth's radius is 0.95 deg."""
    return _seen(t_s, lambda days: -_moon_km(days), lat_deg, lon_deg)


def map_azimuth_rad(north_rad: float, az_deg: ArrayLike) -> Floats:
    """An azimuth (deg, clockwise from north) as a direction in a map where north is `north_rad` ccw from +x."""
    return np.asarray(north_rad - np.radians(np.asarray(az_deg, dtype=np.float64)))


# ---- inside: everything in the mean equator of J2000, km; arrays (3, n)


def _seen(
    t_s: ArrayLike, from_moon_km: Callable[[Floats], Floats], lat_deg: float, lon_deg: float
) -> tuple[Floats, Floats]:
    """Azimuth and elevation of a body at every time, worked out piece by piece so that the pieces stay in the cache."""
    seconds = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
    if not np.isfinite(seconds).all() or seconds.min() < VALID_S[0] or seconds.max() > VALID_S[1]:
        raise TimeError("a time outside 1950 to 2100, or none at all, has no sky here")
    azimuth, elevation = np.empty(seconds.size), np.empty(seconds.size)
    days = (seconds.reshape(-1) - J2000_S + TT_UTC_S) / 86400.0
    for low in range(0, days.size, PIECE):
        piece = slice(low, low + PIECE)
        azimuth[piece], elevation[piece] = _azimuth_elevation(days[piece], from_moon_km(days[piece]), lat_deg, lon_deg)
    shape = np.shape(t_s)
    return azimuth.reshape(shape), elevation.reshape(shape)


def _moon_km(days: Floats, terms: int = 1000) -> Floats:
    """The vector from the Earth to the Moon (3, n), at dynamical days since J2000 (n,), by the first terms of each
    series: 15 place it to 0.1 deg, which moves the Sun by 0.0003.
    """
    t = days / 36525.0
    mean = np.radians(218.3164477 + 481267.88123421 * t - 0.0015786 * t**2)
    angles = np.radians(
        np.array(
            [
                297.8501921 + 445267.1114034 * t - 0.0018819 * t**2,  # elongation
                357.5291092 + 35999.0502909 * t - 0.0001536 * t**2,  # the Sun's anomaly
                134.9633964 + 477198.8675055 * t + 0.0087414 * t**2,  # the Moon's
                93.2720950 + 483202.0175233 * t - 0.0036539 * t**2,  # argument of latitude
            ]
        )
    )
    flatter = 1 - 0.002516 * t - 0.0000074 * t**2
    a1, a2, a3 = np.radians((119.75 + 131.849 * t, 53.09 + 479264.290 * t, 313.45 + 481266.484 * t))
    moon, latitude = angles[2], angles[3]
    turns = _Turns(angles, flatter)
    along, distance, across = np.zeros_like(t), np.zeros_like(t), np.zeros_like(t)
    for *times, sine, cosine in MOON_LONGITUDE[:terms]:
        turn = turns.of(*times)
        along += sine * turn.imag
        if cosine:
            distance += cosine * turn.real
    along += 3958 * np.sin(a1) + 1962 * np.sin(mean - latitude) + 318 * np.sin(a2)
    for *times, sine in MOON_LATITUDE[:terms]:
        across += sine * turns.of(*times).imag
    across += -2235 * np.sin(mean) + 382 * np.sin(a3) + 175 * (np.sin(a1 - latitude) + np.sin(a1 + latitude))
    across += 127 * np.sin(mean - moon) - 115 * np.sin(mean + moon)
    place = _on_sphere(mean + np.radians(along * 1e-6), np.radians(across * 1e-6), 385000.56 + distance * 1e-3)
    return _to_j2000(place, t)


class _Turns:
    """exp(i (d D + m M + mm M' + f F)), scaled for the flattening of the Earth's orbit: products instead of sines."""

    def __init__(self, angles: Floats, flatter: Floats) -> None:
        self._powers = []
        for number, angle in enumerate(angles):
            one = np.exp(1j * angle)
            powers = {0: None, 1: one * flatter if number == 1 else one}
            for n in range(2, 5):
                powers[n] = powers[n - 1] * (powers[1] if number == 1 else one)
            self._powers.append(powers)

    def of(self, *times: int) -> NDArray[np.complex128]:
        """The turn of these multiples of the four angles."""
        product = None
        for powers, n in zip(self._powers, times, strict=True):
            power = powers[abs(n)]
            if power is None:
                continue
            factor = np.conj(power) if n < 0 else power
            product = factor if product is None else product * factor
        assert product is not None, "a term without an angle is no term"
        return product


def _sun_km(days: Floats) -> Floats:
    """The vector from the Earth to the Sun where its light comes from (3, n)."""
    t = days / 365250.0
    longitude, radius_au = (
        sum(
            (sum(a * np.cos(b + c * t) for a, b, c in terms) * t**power for power, terms in enumerate(series)),
            np.zeros_like(t),
        )
        * 1e-8
        for series in EARTH_SERIES
    )
    # to FK5, and by aberration to where it is seen
    seen = longitude + math.pi - np.radians(0.09033 / 3600) - np.radians(20.4898 / 3600) / radius_au
    return _to_j2000(_on_sphere(seen, np.zeros_like(seen), radius_au * AU_KM), days / 36525.0)


def _on_sphere(longitude: Floats, latitude: Floats, radius: Floats) -> Floats:
    level = radius * np.cos(latitude)
    return np.array([level * np.cos(longitude), level * np.sin(longitude), radius * np.sin(latitude)])


def _to_j2000(ecliptic_of_date: Floats, t: Floats) -> Floats:
    """From the mean ecliptic of date to the mean equator of J2000 (Meeus ch. 21 and 22)."""
    eta = np.radians((47.0029 * t - 0.03302 * t**2) / 3600)
    node = np.radians(174.876384 - (869.8089 * t - 0.03536 * t**2) / 3600)  # of the ecliptic of date on that of J2000
    moved = np.radians((5029.0966 * t + 1.11113 * t**2) / 3600)
    x, y, z = ecliptic_of_date
    # turn to the common node, tilt by eta, turn back: ecliptic of date -> ecliptic of J2000
    x, y = _turned(x, y, -(node + moved))
    y, z = _turned(y, z, eta)
    x, y = _turned(x, y, node)
    y, z = _turned(y, z, np.radians(23.4392911))
    return np.array([x, y, z])


def _turned(a: Floats, b: Floats, angle: Floats | float) -> tuple[Floats, Floats]:
    """A plane vector turned counter-clockwise."""
    c, s = np.cos(angle), np.sin(angle)
    return c * a - s * b, s * a + c * b


def _azimuth_elevation(days: Floats, vector_km: Floats, lat_deg: float, lon_deg: float) -> tuple[Floats, Floats]:
    """Of a body at `vector_km` (3, n) from the Moon's middle, seen from a place on its sphere."""
    if not (math.isfinite(lat_deg) and math.isfinite(lon_deg) and abs(lat_deg) <= 90):
        raise TimeError(f"there is no place at latitude {lat_deg!r}, longitude {lon_deg!r} deg")
    pole_ra, pole_dec, spin = _rotation(days)
    # to the Moon's own axes: z its pole, x its prime meridian
    x, y, z = vector_km
    x, y = _turned(x, y, -(pole_ra + math.pi / 2))
    y, z = _turned(y, z, -(math.pi / 2 - pole_dec))
    x, y = _turned(x, y, -spin)
    lat, lon = math.radians(lat_deg), math.radians(lon_deg)
    up = np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])
    north = np.array([-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)])
    east = np.array([-math.sin(lon), math.cos(lon), 0.0])
    here = np.array([x, y, z]) - up[:, None] * (MOON_RADIUS_M / 1000)
    e, n, u = east @ here, north @ here, up @ here
    return np.degrees(np.arctan2(e, n)) % 360.0, np.degrees(np.arctan2(u, np.hypot(e, n)))


def _rotation(days: Floats) -> tuple[Floats, Floats, Floats]:
    """Right ascension and declination of the Moon's pole, and the turn of its prime meridian (IAU 2009), rad."""
    t = days / 36525.0
    base = np.array(
        [
            125.045,
            250.089,
            260.008,
            176.625,
            357.529,
            311.589,
            134.963,
            276.617,
            34.226,
            15.134,
            119.743,
            239.961,
            25.053,
        ]
    )
    rate = np.array(
        [-0.0529921, -0.1059842, 13.0120009, 13.3407154, 0.9856003, 26.4057084, 13.0649930, 0.3287146, 1.7484877,
         -0.1589763, 0.0036096, 0.1643573, 12.9590088]
    )  # fmt: skip
    e = np.radians(base[:, None] + rate[:, None] * days[None, :])
    sine, cosine = np.sin(e), np.cos(e)
    in_ra = np.array([-3.8787, -0.1204, 0.0700, -0.0172, 0, 0.0072, 0, 0, 0, -0.0052, 0, 0, 0.0043])
    in_dec = np.array([1.5419, 0.0239, -0.0278, 0.0068, 0, -0.0029, 0.0009, 0, 0, 0.0008, 0, 0, -0.0009])
    in_spin = np.array(
        [3.5610, 0.1208, -0.0642, 0.0158, 0.0252, -0.0066, -0.0047, -0.0046, 0.0028, 0.0052, 0.0040, 0.0019, -0.0044]
    )
    ra = 269.9949 + 0.0031 * t + in_ra @ sine
    dec = 66.5392 + 0.0130 * t + in_dec @ cosine
    spin = 38.3213 + 13.17635815 * days - 1.4e-12 * days**2 + in_spin @ sine
    return np.radians(ra), np.radians(dec), np.radians(spin)
