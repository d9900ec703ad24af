"""G-code dialects: what each controller calls the same few things. One row a controller, each with its source.

All share what a scan needs: millimetres, absolute positions, feeds in mm/min, `G0` with the beam off to a vector's
start, `G1` along it. They differ in how the power is said, what a dwell is counted in, how a program pauses between
layers, and how long a line may be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slicer.envelope import Envelope


@dataclass(frozen=True)
class Dialect:
    """The words of one controller.

    Attributes:
        name, title: for a command line and for people.
        line_bytes_max: of a line without its end.
        job_header: lines before the first layer; `opening` fills in what the machine decides.
        pause: line at which the program waits for the layer's powder; empty where the host that streams it does that.
        layer_header, layer_footer: lines around a layer's moves; before and after them the beam is off.
        job_footer: lines after the last layer.
        says_power_in_moves: power is the S word of each `G1`, and S0 of each `G0` if `says_dark_in_jumps`; else it is
            a line before the move, `power_line`, and `dark_line` before a jump.
        says_feed_in_jumps: `G0` runs at its F word, else as fast as the machine can.
        dwell: seconds -> line of a wait that begins when the moves before it have ended.
    """

    name: str
    title: str
    line_bytes_max: int
    job_header: tuple[str, ...]
    pause: bytes
    layer_header: tuple[bytes, ...]
    layer_footer: tuple[bytes, ...]
    job_footer: tuple[bytes, ...]
    says_power_in_moves: bool
    says_dark_in_jumps: bool
    says_feed_in_jumps: bool
    dwell: Callable[[float], bytes]
    power_line: Callable[[float], bytes] | None = None
    dark_line: bytes = b""

    def opening(self, envelope: Envelope) -> list[bytes]:
        """The job's header on a machine of this envelope."""
        corner_mm = decimals(envelope.junction_deviation_mm, 6).decode()
        return [line.format(s_max=envelope.s_max, corner_mm=corner_mm).encode() for line in self.job_header]

    def exposing_tail(self, speed_mm_s: float, s_word: int) -> bytes:
        """What follows the place in the line of a vector."""
        return b" F%b S%d" % (feed(speed_mm_s), s_word) if self.says_power_in_moves else b" F%b" % feed(speed_mm_s)

    def jump_tail(self, speed_mm_s: float) -> bytes:
        """What follows the place in the line of a jump."""
        tail = b" F%b" % feed(speed_mm_s) if self.says_feed_in_jumps else b""
        return tail + b" S0" if self.says_dark_in_jumps else tail


def feed(speed_mm_s: float) -> bytes:
    """mm/s as mm/min, three decimals at most and no idle zeros."""
    return decimals(speed_mm_s * 60.0, 3)


def decimals(value: float, places: int) -> bytes:
    """A number with so many decimals at most and no idle zeros."""
    return f"{value:.{places}f}".rstrip("0").rstrip(".").encode()


def _milliseconds(wait_s: float) -> bytes:
    return b"G4 P%d" % round(wait_s * 1000.0)


def _seconds(wait_s: float) -> bytes:
    return b"G4 P" + decimals(wait_s, 3)


# Marlin, laser build (Marlin's Configuration_adv.h, comments on LASER_FEATURE; queue.cpp: MAX_CMD_SIZE 96, and a line
# number and checksum come on top): `M4 I` makes S ride in the planner's blocks with power following the feed, `M5 I`
# ends it. G4 P is in milliseconds and waits for the moves before it (Marlin, G4.cpp). The host that streams pauses.
MARLIN = Dialect(
    name="marlin",
    title="Marlin, laser build",
    line_bytes_max=90,
    job_header=("G21", "G90", "M5 I"),
    pause=b"",
    layer_header=(b"M4 I S0",),
    layer_footer=(b"M5 I", b"M400"),
    job_footer=(),
    says_power_in_moves=True,
    says_dark_in_jumps=True,
    says_feed_in_jumps=True,
    dwell=_milliseconds,
)

# RepRapFirmware 3 (Duet3D/RepRapFirmware: GCodes2.cpp case 452, M452 selects laser mode, S0 lets no power outlive its
# G1, R is the S of full power; DDA.cpp scales the power with the actual speed; DDARing.cpp turns the beam off when no
# move is under way. Duet's G-code dictionary: G0 is dark and as fast as the axes may, G4 P is in milliseconds, M226
# pauses as a program asks for it, M400 waits). Which pin the beam hangs on (M452 C) is config.g's matter.
RRF = Dialect(
    name="rrf",
    title="RepRapFirmware 3 in laser mode",
    line_bytes_max=200,
    job_header=("G21", "G90", "M452 S0 R{s_max}", "M5"),
    pause=b"M226",
    layer_header=(b"M5",),
    layer_footer=(b"M5", b"M400"),
    job_footer=(),
    says_power_in_moves=True,
    says_dark_in_jumps=True,
    says_feed_in_jumps=False,
    dwell=_milliseconds,
)

# Grbl 1.1 with $32=1 (gnea/grbl, doc/markdown/laser_mode.md: M4 scales power with the actual speed and is dark at rest,
# G0 is always dark, S changes do not stop the motion; $30 is the S of full power; interface.md and protocol.h: a line
# has 80 bytes with its end). G4 P is in seconds; M0 holds until the cycle starts again; M2 ends.
GRBL = Dialect(
    name="grbl",
    title="Grbl 1.1 in laser mode",
    line_bytes_max=79,
    job_header=("G21", "G90", "G94", "M5"),
    pause=b"M0",
    layer_header=(b"M4 S0",),
    layer_footer=(b"M5",),
    job_footer=(b"M2",),
    says_power_in_moves=True,
    says_dark_in_jumps=False,
    says_feed_in_jumps=False,
    dwell=_seconds,
)

# LinuxCNC 2.9 (docs/src/gcode/m-code.adoc: M67 sets an analog output at the start of the next move, in step with motion
# and without a stop; M68 sets it at once; g-code.adoc: G64 P is the blending tolerance in mm, G4 P is in seconds). The
# output motion.analog-out-00 is the share of the beam's set-point, 0 to 1; M3 S1 closes the beam's enable through
# spindle.0.on. Lines up to 255 bytes (linuxcnc: LINELEN).
LINUXCNC = Dialect(
    name="linuxcnc",
    title="LinuxCNC 2.9, power on motion.analog-out-00",
    line_bytes_max=250,
    job_header=("G21 G17 G90 G94", "G64 P{corner_mm}", "M68 E0 Q0", "M5"),
    pause=b"M0",
    layer_header=(b"M68 E0 Q0", b"M3 S1"),
    layer_footer=(b"M68 E0 Q0", b"M5"),
    job_footer=(b"M2",),
    says_power_in_moves=False,
    says_dark_in_jumps=False,
    says_feed_in_jumps=False,
    dwell=_seconds,
    power_line=lambda share: b"M67 E0 Q" + decimals(share, 6),
    dark_line=b"M67 E0 Q0",
)

DIALECTS = {dialect.name: dialect for dialect in (MARLIN, RRF, GRBL, LINUXCNC)}
