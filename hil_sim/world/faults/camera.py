"""Faults of a camera and its light. Point: `camera`, whose events are the pictures, counted from 0 (the host's first
identifies the camera); in a window every picture is struck.
"""

from __future__ import annotations

from hil_sim.world.faults.argument import Arg, number, share, word
from hil_sim.world.faults.schedule import Kind

CAMERA = "camera"

_TEST = "tests/test_camera_faults.py::test_each_kind_changes_the_picture_as_it_says"
_UNKNOWN = "it cannot be judged and says so: it is unknown, never good; the run stops, or goes on as the file says"


def _kind(models: str, args: dict[str, Arg], reaction: str = _UNKNOWN, limit: str = "") -> Kind:
    return Kind(models, (CAMERA,), args, reaction, "1 layer", _TEST, "at_event", limit)


KINDS: dict[str, Kind] = {
    "blur": _kind("the lens is out of focus", {"radius_px": number("of the blur, px", 6, 0.1, 200)}),
    "dust": _kind(
        "dust lies on the lens: dark soft spots that stand where they are",
        {"share": share("of the picture that they cover", 0.2)},
        "the spots are taken for thin powder, or the picture cannot be judged: one more stroke, then the run stops",
        "a spot beside what the layer exposes is not looked at",
    ),
    "glare": _kind(
        "something reflects the light: a bright spot",
        {"x": number("where over the bed, mm", 55, -1000, 1000), "y": number("mm", 55, -1000, 1000)},
        limit="a spot beside what the layer exposes is not looked at",
    ),
    "no_frame": _kind(
        "the camera does not answer",
        {},
        "the picture is waited for within its bound and asked for again, three times at most; the run stops",
    ),
    "frozen": _kind("the camera gives its last picture again", {}, "the same grain as before: unknown, never good"),
    "exposure_step": _kind(
        "the exposure or the light jumps",
        {"factor": number("of brightness", 0.15, 0.0, 100.0)},
        "the markers' paper tells the light: judged as before, or unknown where it is too dark or too bright",
    ),
    "misaligned": _kind(
        "the camera has been knocked: everything is shifted",
        {"dx_px": number("px", 12, -10_000, 10_000), "dy_px": number("px", 7, -10_000, 10_000)},
        "the markers stand in the picture: it is rectified by them and judged as before, or unknown where one is lost",
    ),
    "bad_jpeg": _kind(
        "the file is cut short or damaged in the camera",
        {
            "how": word(
                "cut short, cut and patched with an end mark, or with zeros in its middle", "cut", "patched", "zeros"
            )
        },
        "the file is found not to be whole and the picture is asked for again, three times at most; the run stops",
        "a bit of a coefficient's own value: the file is whole, and a patch of 8 by 8 pixels, at worst the brightness"
        " of what follows, is another",
    ),
    "wrong_size": _kind(
        "the camera has fallen back to another resolution",
        {"factor": number("of each side", 0.25, 0.01, 2.0)},
        "judged by its markers where they can still be read, else unknown",
    ),
}
