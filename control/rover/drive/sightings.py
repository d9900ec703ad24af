"""Where the rover is by the tags that its camera sees: a map of tags, sightings in the rover's frame, fixes.

A tag's distance and direction are always worth something; the way it faces only when it is near. So a sighting goes to
the filter as a landmark (`Localiser.landmark`), and becomes a whole fix (x, y, heading) only where the facing is sure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from control.rover.drive.kinematics import wrapped
from control.rover.drive.localise import Localiser
from vision.camera_model import CameraModel
from vision.opencv import Picture
from vision.tags import find_tags

SURVEY_SIGMA_M = 0.01  # of the tags' places on the map
BEARING_SIGMA_RAD = 0.001  # of one tag against another; what turns the whole camera shows as heading
FACING_SIGMA_MAX_RAD = 0.10  # a fix is made of a tag whose direction is known better than this


@dataclass(frozen=True, slots=True)
class TagPlace:
    """A tag on the map: centre (m), the map azimuth that it faces (rad, ccw from +x), side (m). It stands upright."""

    x_m: float
    y_m: float
    facing_rad: float
    side_m: float = 0.30

    def __post_init__(self) -> None:
        if not (all(map(math.isfinite, (self.x_m, self.y_m, self.facing_rad))) and 0.01 <= self.side_m <= 5.0):
            raise ValueError(f"a tag needs finite numbers and a side of 0.01 to 5 m, not {self}")


@dataclass(frozen=True, slots=True)
class CameraMount:
    """Where the camera sits on the rover (m ahead, left, up of its centre) and how far it looks down (rad)."""

    ahead_m: float = 0.2
    left_m: float = 0.0
    up_m: float = 0.8
    down_rad: float = 0.10


@dataclass(frozen=True, slots=True)
class TagSighting:
    """A tag in the levelled frame of the rover; facing_rad is against the rover's heading (sigma inf: not known)."""

    tag_id: int
    time_s: float
    ahead_m: float
    left_m: float
    facing_rad: float
    range_sigma_m: float
    bearing_sigma_rad: float
    facing_sigma_rad: float


@dataclass(frozen=True, slots=True)
class TagFix:
    """Place and heading of the rover by one tag."""

    tag_id: int
    time_s: float
    x_m: float
    y_m: float
    heading_rad: float
    sigma_m: float
    heading_sigma_rad: float


class TagFixes:
    """Pictures in, sightings and fixes out."""

    def __init__(self, places: Mapping[int, TagPlace], camera: CameraModel, mount: CameraMount | None = None) -> None:
        self.places, self.camera, self.mount = dict(places), camera, mount or CameraMount()

    def look(
        self, image: Picture | bytes, time_s: float, *, roll_rad: float = 0.0, pitch_rad: float = 0.0
    ) -> list[TagSighting]:
        """The tags of the map in a JPEG (or BGR picture) taken at `time_s`; roll: right side down, pitch: nose down.

        Raises vision.opencv.PictureError for what is no picture of this camera.
        """
        sides = {tag_id: place.side_m for tag_id, place in self.places.items()}
        c, s = math.cos(self.mount.down_rad), math.sin(self.mount.down_rad)
        body = np.array([[0.0, -s, c], [-1.0, 0.0, 0.0], [0.0, -c, -s]])  # camera -> rover
        c, s = math.cos(roll_rad), math.sin(roll_rad)
        roll = np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        c, s = math.cos(pitch_rad), math.sin(pitch_rad)
        level = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]) @ roll
        eye = level @ [self.mount.ahead_m, self.mount.left_m, self.mount.up_m]
        sightings = []
        for tag in find_tags(image, self.camera, sides):
            at = level @ body @ tag.at_m + eye
            out = level @ body @ tag.turn[:, 2]
            sightings.append(TagSighting(
                tag.tag_id, time_s, float(at[0]), float(at[1]), math.atan2(out[1], out[0]),
                math.hypot(tag.range_sigma_m, SURVEY_SIGMA_M),
                math.hypot(tag.bearing_sigma_rad, BEARING_SIGMA_RAD, SURVEY_SIGMA_M / float(np.linalg.norm(tag.at_m))),
                tag.facing_sigma_rad,
            ))  # fmt: skip
        return sightings

    def fix(self, sighting: TagSighting) -> TagFix | None:
        """Place and heading by one tag alone; None where the way it faces is not sure enough."""
        place = self.places[sighting.tag_id]
        if not sighting.facing_sigma_rad <= FACING_SIGMA_MAX_RAD:
            return None
        heading = wrapped(place.facing_rad - sighting.facing_rad)
        c, s = math.cos(heading), math.sin(heading)
        away = math.hypot(sighting.ahead_m, sighting.left_m)
        turn = math.hypot(sighting.facing_sigma_rad, sighting.bearing_sigma_rad)
        return TagFix(
            sighting.tag_id, sighting.time_s,
            place.x_m - (c * sighting.ahead_m - s * sighting.left_m),
            place.y_m - (s * sighting.ahead_m + c * sighting.left_m),
            heading, math.hypot(sighting.range_sigma_m, away * turn), turn,
        )  # fmt: skip

    def into(self, localiser: Localiser, sightings: list[TagSighting], now_s: float) -> int:
        """Give sightings to the filter; how many it believed."""
        believed = 0
        for seen in sightings:
            place = self.places[seen.tag_id]
            believed += localiser.landmark(
                place.x_m, place.y_m, seen.ahead_m, seen.left_m, age_s=now_s - seen.time_s,
                range_sigma_m=seen.range_sigma_m, bearing_sigma_rad=seen.bearing_sigma_rad,
            )  # fmt: skip
        return believed
