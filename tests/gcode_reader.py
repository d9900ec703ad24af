"""What a controller makes of a G-code file, worked out from the text alone: the tests' own reader.

It knows modal words (G0/G1, G90, G21, G4, M3/M4/M5, S, F, M67/M68), not the exporter. A vector is a G1; its power is
what the words in force say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

WORD = re.compile(r"([A-Z])(-?\d+(?:\.\d+)?)")


@dataclass
class Drawn:
    """Vectors in order with the share of full power, speed, and the wait just before each with the beam off."""

    vectors_mm: list = field(default_factory=list)
    share: list = field(default_factory=list)
    speed_mm_s: list = field(default_factory=list)
    wait_s: list = field(default_factory=list)
    ends_dark: bool = True
    longest_line: int = 0
    pauses: int = 0

    def arrays(self):
        return (
            np.array(self.vectors_mm).reshape(-1, 4),
            np.array(self.share),
            np.array(self.speed_mm_s),
            np.array(self.wait_s),
        )


def read(text: bytes, dialect: str, s_max: float) -> Drawn:
    """Draw a program. Raises ValueError for what this controller would not do or do wrongly."""
    drawn = Drawn()
    at = None
    feed = s = analog = None
    is_on = metric = absolute = last_exposed = False
    waited_s = 0.0
    for raw in text.decode("ascii").split("\n"):
        drawn.longest_line = max(drawn.longest_line, len(raw))
        line = raw.partition(";")[0].strip()
        if not line:
            continue
        words = [(letter, float(value)) for letter, value in WORD.findall(line)]
        if "".join(f"{a}" for a, _ in words) != re.sub(r"[^A-Z]", "", line.replace(" I", "")):
            raise ValueError(f"cannot read {raw!r}")
        values = dict(words)
        codes = [f"{a}{b:g}" for a, b in words if a in "GM"]
        feed = values.get("F", feed)
        s = values.get("S", s)
        for code in codes:
            if code == "G21":
                metric = True
            elif code == "G90":
                absolute = True
            elif code in ("M3", "M4"):
                is_on = True
            elif code == "M5":
                is_on = False
            elif code == "M452":
                if values["S"] != 0 or values["R"] != s_max:
                    raise ValueError("laser mode with another full power, or sticky power")
                is_on, s = True, 0.0
            elif code in ("M67", "M68"):
                analog = values["Q"]
            elif code in ("M0", "M226"):
                drawn.pauses += 1
                if last_exposed:
                    raise ValueError("a pause after an exposing move")
            elif code == "G4":
                if last_exposed:
                    raise ValueError("a dwell after an exposing move: the beam stands")
                waited_s += values["P"] / 1000 if dialect in ("marlin", "rrf") else values["P"]
            elif code in ("G0", "G1"):
                if not (metric and absolute):
                    raise ValueError("a move before G21 and G90")
                to = (values["X"], values["Y"])
                if code == "G0":
                    if dialect == "marlin" and values.get("S") != 0:
                        raise ValueError("Marlin's inline power must be said to be 0 in a jump")
                    if dialect == "linuxcnc" and analog != 0:
                        raise ValueError("LinuxCNC jumps with the beam on")
                    last_exposed = False
                else:
                    share = analog if dialect == "linuxcnc" else s / s_max
                    on = is_on or dialect == "rrf"
                    if at is None or not on or not 0 < share <= 1:
                        raise ValueError(f"{raw!r} exposes nothing, or from nobody knows where")
                    if dialect in ("marlin", "rrf") and "S" not in values:
                        raise ValueError("power that is not said in the move")
                    drawn.vectors_mm.append((*at, *to))
                    drawn.share.append(share)
                    drawn.speed_mm_s.append(feed / 60)
                    drawn.wait_s.append(waited_s)
                    waited_s = 0.0
                    last_exposed = True
                at = to
            elif code not in ("M400", "M2", "G94", "G17", "G64"):
                raise ValueError(f"{code} is no word of {dialect}")
    drawn.ends_dark = not last_exposed and (dialect == "rrf" or not is_on)
    return drawn
