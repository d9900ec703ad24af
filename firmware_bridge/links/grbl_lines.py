"""What Grbl 1.1 says, line by line: bytes in, values out, no clock and no I/O.

Every reply line is one of: an answer (`ok`, `error:N`) to the oldest line that was sent, or something pushed between
the answers (a report, an alarm, a message, the banner). Nothing here guesses: a line that is not exactly one of these,
`o`, `k` or `ok` with a stray byte among them, is `Noise`, and what it stood for is for the link to find out.

Sources: gnea/grbl, doc/markdown/interface.md (message classes, report fields), doc/csv (texts of errors and alarms,
retold here), grbl/report.c and grbl/protocol.c (exact forms; spaces are dropped, letters raised, one answer a line).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

LINE_BYTES_MAX = 79
"""Of a line without its end: Grbl's line buffer has 80 places, one for the terminator; a longer one is `error:11`."""

REPLY_BYTES_MAX = 512
"""A reply line longer than this is noise: the longest of Grbl's own are reports of some 120 bytes."""

RX_BYTES = 128
PLANNER_BLOCKS = 15

ERRORS = {
    1: "a word is not a letter with a value: the letter is missing",
    2: "a number is missing or malformed",
    3: "this '$' command is not known",
    4: "a value is negative that must not be",
    5: "homing is switched off ($22)",
    6: "a step pulse must last at least 3 us",
    7: "the EEPROM could not be read; its defaults were restored",
    8: "this '$' command is taken only at rest (Idle)",
    9: "G-code is locked out in alarm or jog state",
    10: "soft limits need homing to be switched on",
    11: "the line is too long",
    12: "this setting would need over 30,000 steps a second",
    13: "the safety door is open",
    14: "the text is too long for the EEPROM",
    15: "the jog would leave the machine's travel",
    16: "the jog command has no '=' or holds a forbidden word",
    17: "laser mode needs a PWM output",
    20: "a command is not supported",
    21: "two commands of one modal group stand in a line",
    22: "no feed rate is set",
    23: "a command's value must be a whole number",
    24: "two commands of a line both want the axis words",
    25: "a word is repeated in a line",
    26: "a command lacks its axis words",
    27: "the line number is not within 1 to 9,999,999",
    28: "a command lacks a value word",
    29: "G59.1 to G59.3 are not supported",
    30: "G53 needs G0 or G1",
    31: "axis words stand where no motion mode uses them",
    32: "an arc has no axis words in its plane",
    33: "the target of the motion is not valid",
    34: "an arc's radius is not valid",
    35: "an arc has no offset words in its plane",
    36: "words are left over that no command uses",
    37: "G43.1 is given for another axis than the tool's",
    38: "the tool number is too large",
}

ALARMS = {
    1: "a limit switch was hit: the machine stopped at once, and its position is probably lost",
    2: "a target lies beyond the machine's travel (soft limit); the position is kept",
    3: "a reset came in motion: steps are probably lost",
    4: "the probe was not in its expected state before probing",
    5: "the probe touched nothing within its travel",
    6: "a reset came during homing",
    7: "the safety door was opened during homing",
    8: "homing could not clear the limit switch when pulling off",
    9: "homing found no limit switch within the search distance",
}


LOCKED = 9
"""The error of a controller in an alarm."""


def refusal_words(code: int, otherwise: str) -> str:
    """Why a line was refused that should not have been: `otherwise`, unless the controller is locked."""
    if code == LOCKED:
        return "it was not homed, has restarted since, or has stopped itself. Its place is unknown: home it first"
    return otherwise


def error_words(code: int) -> str:
    """`error:20 (a command is not supported)`, also for numbers that Grbl 1.1 does not have."""
    return f"error:{code} ({ERRORS.get(code, 'a number that Grbl 1.1 does not have')})"


def alarm_words(code: int) -> str:
    """`ALARM:1 (a limit switch was hit ...)`, also for numbers that Grbl 1.1 does not have."""
    return f"ALARM:{code} ({ALARMS.get(code, 'a number that Grbl 1.1 does not have')})"


class State(enum.Enum):
    """The machine's state, as the first field of a report names it."""

    IDLE = "Idle"
    RUN = "Run"
    HOLD = "Hold"
    JOG = "Jog"
    HOME = "Home"
    ALARM = "Alarm"
    CHECK = "Check"
    DOOR = "Door"
    SLEEP = "Sleep"


MOVING = frozenset({State.RUN, State.JOG, State.HOME})

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Ok:
    """The oldest unanswered line was taken."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The oldest unanswered line was refused, whole: nothing of it was carried out."""

    code: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """The controller has stopped itself."""

    code: int


@dataclass(frozen=True, slots=True)
class Banner:
    """The controller has started."""

    version: str


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of `$$`."""

    number: int
    value: float


@dataclass(frozen=True, slots=True)
class ParserState:
    """`[GC:...]`: what the parser takes for granted in the next line. `program`: "" or M0, M2, M30."""

    motion: str = "G0"
    offset: str = "G54"
    plane: str = "G17"
    units: str = "G21"
    distance: str = "G90"
    feed_mode: str = "G94"
    program: str = ""
    spindle: str = "M5"
    coolant: str = "M9"
    feed_mm_min: float = 0.0
    power_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """Any other line in brackets, a startup line (`>`) or a startup setting (`$N`): kind and the rest."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """`<...>`. Fields that this report does not carry are None.

    Attributes:
        position_mm: of the machine (`is_machine`) or of the work, which is `wco_mm` less.
        planner_free, rx_free: free blocks and bytes.
        line: N of the block that is being prepared for the motors.
        feed_mm_min, power_s: of the same block, now.
        overrides: feed, rapid, spindle in per cent.
        accessories: letters of `A:`; "" when overrides were told and nothing is on.
    """

    state: State
    substate: int | None
    position_mm: Point
    is_machine: bool
    planner_free: int | None = None
    rx_free: int | None = None
    line: int | None = None
    feed_mm_min: float | None = None
    power_s: float | None = None
    pins: str = ""
    wco_mm: Point | None = None
    overrides: tuple[int, int, int] | None = None
    accessories: str | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """A line that is nothing Grbl says, as printable text."""

    text: str


Reply = Ok | Refused | Alarm | Banner | Setting | ParserState | Message | Report | Noise

_NUMBER = r"-?\d{1,9}(?:\.\d{0,4})?"
_POINT = re.compile(rf"({_NUMBER}),({_NUMBER}),({_NUMBER})")
_ERROR = re.compile(r"error:(\d{1,3})")
_ALARM = re.compile(r"ALARM:(\d{1,2})")
_BANNER = re.compile(r"Grbl(HAL)? (\d+\.\d+[a-z]?)(?: .*)?")
_SETTING = re.compile(rf"\$(\d{{1,3}})=({_NUMBER})")
_REPORT = re.compile(r"<([A-Z][a-z]+)(?::(\d))?\|([MW])Pos:([^|<>]+)((?:\|[^|<>]+)*)>")
_PARSER = re.compile(
    r"\[GC:(G[0123]|G80|G38\.[2345]) (G5[4-9]) (G1[789]) (G2[01]) (G9[01]) (G9[34])(?: (M0|M2|M30))? (M[345])"
    rf"((?: M[789]| M56)+) T\d{{1,3}} F({_NUMBER}) S({_NUMBER})\]"
)
_FIELDS = {
    "Bf": re.compile(r"(\d{1,3}),(\d{1,5})"),
    "Ln": re.compile(r"(\d{1,8})"),
    "FS": re.compile(rf"({_NUMBER}),({_NUMBER})"),
    "F": re.compile(rf"({_NUMBER})"),
    "Pn": re.compile(r"([A-Z]+)"),
    "WCO": _POINT,
    "Ov": re.compile(r"(\d{1,3}),(\d{1,3}),(\d{1,3})"),
    "A": re.compile(r"([A-Z]+)"),
}


def parse_reply(line: bytes) -> Reply | None:
    """One reply line, without its LF (a CR is stripped here). None for an empty line, as before the banner."""
    text = line.removesuffix(b"\r").decode("latin-1")
    if text == "ok":
        return Ok()
    if not text:
        return None
    if not text.isascii() or not text.isprintable():
        return Noise(clean(line))
    return _parse(text) or Noise(text)


def _parse(text: str) -> Reply | None:
    first = text[0]
    if first == "<":
        return _parse_report(text)
    if first == "[":
        if found := _PARSER.fullmatch(text):
            return _parser_state(found)
        if text.startswith("[GC:") or not text.endswith("]"):
            return None
        kind, _, rest = text[1:-1].partition(":")
        return Message(kind, rest)
    if found := _ERROR.fullmatch(text):
        return Refused(int(found[1]))
    if found := _ALARM.fullmatch(text):
        return Alarm(int(found[1]))
    if found := _SETTING.fullmatch(text):
        return Setting(int(found[1]), float(found[2]))
    if found := _BANNER.fullmatch(text):
        return Banner(found[2])
    if first == ">" or text.startswith("$N"):
        return Message(text[:1] if first == ">" else "$N", text[1:])
    return None


def _parser_state(found: re.Match[str]) -> ParserState:
    motion, offset, plane, units, distance, feed_mode, program, spindle, coolant, feed, power = found.groups()
    return ParserState(
        motion,
        offset,
        plane,
        units,
        distance,
        feed_mode,
        program or "",
        spindle,
        coolant.strip(),
        float(feed),
        float(power),
    )


def _parse_report(text: str) -> Report | None:
    """Every field that is known must be whole, and stand there once: a damaged report is none."""
    found = _REPORT.fullmatch(text)
    if found is None:
        return None
    name, substate, frame, place, rest = found.groups()
    position = _POINT.fullmatch(place)
    if position is None or name not in _STATES:
        return None
    values: dict[str, tuple[str, ...]] = {}
    for field in rest.split("|")[1:]:
        key, _, value = field.partition(":")
        form = _FIELDS.get(key)
        if form is None:
            continue  # a newer firmware's field, for somebody else
        match = form.fullmatch(value)
        if match is None or key in values:
            return None
        values[key] = match.groups()
    buffers, speeds = values.get("Bf"), values.get("FS")
    wco, overrides, accessories = values.get("WCO"), values.get("Ov"), values.get("A")
    feed = speeds[0] if speeds else values["F"][0] if "F" in values else None
    return Report(
        state=State(name),
        substate=int(substate) if substate else None,
        position_mm=_point(position.groups()),
        is_machine=frame == "M",
        planner_free=int(buffers[0]) if buffers else None,
        rx_free=int(buffers[1]) if buffers else None,
        line=int(values["Ln"][0]) if "Ln" in values else None,
        feed_mm_min=float(feed) if feed is not None else None,
        power_s=float(speeds[1]) if speeds else None,
        pins=values["Pn"][0] if "Pn" in values else "",
        wco_mm=_point(wco) if wco else None,
        overrides=(int(overrides[0]), int(overrides[1]), int(overrides[2])) if overrides else None,
        accessories=(accessories[0] if accessories else "") if overrides else None,
    )


_STATES = frozenset(state.value for state in State)


def _point(texts: tuple[str, ...]) -> Point:
    x, y, z = map(float, texts)
    return x, y, z


def clean(line: bytes) -> str:
    """A reply line as text: everything outside printable ASCII dropped."""
    return bytes(byte for byte in line if 0x20 <= byte < 0x7F).decode("ascii")


@dataclass(frozen=True, slots=True)
class Build:
    """What `$I` told. `planner_blocks` and `rx_bytes` are Grbl's usual ones where an older build does not say."""

    version: str = ""
    name: str = ""
    options: str = ""
    planner_blocks: int = PLANNER_BLOCKS
    rx_bytes: int = RX_BYTES

    @property
    def tells_line_numbers(self) -> bool:
        """Whether reports carry `Ln` (a build with USE_LINE_NUMBERS)."""
        return "N" in self.options


def parse_build(messages: list[Message]) -> Build:
    """`$I`'s messages (`VER`, `OPT`) -> Build. ValueError if either is absent or its numbers are none."""
    texts = {message.kind: message.text for message in messages}
    if "VER" not in texts or "OPT" not in texts:
        raise ValueError("$I was answered without [VER:...] and [OPT:...]")
    version, _, name = texts["VER"].partition(":")
    options, *numbers = texts["OPT"].split(",")
    if len(numbers) < 2:
        return Build(version, name, options)
    blocks, rx_bytes = int(numbers[0]), int(numbers[1])
    if not (1 <= blocks <= 1000 and 16 <= rx_bytes <= 65536):
        raise ValueError(f"[OPT:{texts['OPT']}] tells of {blocks} blocks and {rx_bytes} bytes")
    return Build(version, name, options, blocks, rx_bytes)
