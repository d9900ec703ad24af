"""A conversation with Grbl 1.1: character counting without a checksum, and nothing believed that was not looked at.

Grbl gives one `ok` or `error:N` a line, has no checksum, no line number check and no resend. What a damaged byte may
do, and by what it is noticed (`grbl_program` says how the lines are told, `grbl_talk` how they are proven):

* another number, sign or axis, a lost point, a line dropped, doubled, refused or cut: the place is off, in all later
  reports, and when the machine comes to rest;
* another motion word, feed, power or spindle state: `$G` behind each change tells, most often before it is carried out;
* two lines in one: N is repeated, `error:25`; a line in two: a piece without a letter, `error:1` or `error:2`, or a
  place that is off; bytes that overflow the receive buffer: the same;
* a real-time byte made of another: '!' and door show as a state nobody asked for, 0x18 as a banner, overrides in `Ov`,
  '?' as a report too many;
* `error:N`, `ALARM:N`: named in words, the machine held, then reset, so that what is buffered never runs;
* an answer lost, doubled or damaged (`o`, `k`, `ok` with a stray byte): seen at the next `$G`; the stream pauses until
  mode and place have proven what was done.

What cannot be noticed: less than a step of an axis (and 0.005 mm); less than half a unit of F or S, which `$G` prints
without decimals; several faults whose displacements cancel before the next look; a damaged N in builds that do not
report it (it changes nothing); a fault in a report or a `$G` answer that undoes exactly what another did on the way
there; how far the beam follows the S that the controller puts out, which is the beam head's to tell. A wrong line may
have been carried out by the time it is noticed: "stopped with the reason", never "done".

The plan's waits (G4) are counted by the host, at rest. Grbl's line: LF only, for CR and LF each end a line.
Sources: gnea/grbl (files named in each module), shared by `grbl_lines`, `grbl_flight`, `grbl_track`, `grbl_wire`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from firmware_bridge.errors import (
    BridgeError,
    DeviceHalted,
    LinkError,
    LinkTimeout,
    NotReady,
    Rejected,
    Unverified,
    WrongModel,
)
from firmware_bridge.links.grbl_lines import MOVING, Build, Message, Point, Setting, State, parse_build
from firmware_bridge.links.grbl_port import REPORT_BUSY_S
from firmware_bridge.links.grbl_program import Kind, Planned, millimetres, plain
from firmware_bridge.links.grbl_stream import GrblStream
from firmware_bridge.links.grbl_talk import Talk, only
from firmware_bridge.links.grbl_wire import (
    JOG_CANCEL,
    OVERRIDES_100,
    RESUME,
    GrblCounters,
    GrblWire,
)
from firmware_bridge.links.marlin_flight import StreamJournal
from firmware_bridge.transport import Transport, open_transport

__all__ = ["Expected", "GrblCounters", "GrblLink", "StreamJournal"]

HOME_TIMEOUT_S = 120.0
SETTINGS_TIMEOUT_S = 5.0
RESUME_LIMIT_S = 2.0
FIRST_REPORTS = 40  # work offset and overrides come with the first two


@dataclass(frozen=True)
class Expected:
    """What the host takes for granted of this controller, checked against `$$` before it is used.

    `s_max`: S of full power. `needs_soft_limits`: without them a lost decimal point is a move a thousand times as long.
    """

    s_max: float = 1000.0
    needs_soft_limits: bool = True


class GrblLink:
    """One Grbl on one transport. Made by `open`; a fatal error leaves the link failed and says why.

    Places are in the work frame (G54), mm.
    """

    def __init__(self, expected: Expected | None = None) -> None:
        self.expected = expected or Expected()
        self.settings: dict[int, float] = {}
        self.is_homed = False
        self._wire = GrblWire()
        self._talk = Talk(self._wire)

    # -- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, url: str, *, expected: Expected | None = None, boot_timeout_s: float = 10.0) -> GrblLink:
        """Open `url`, wait for what still moves, reset, and read who answers and how it is set.

        Raises TransportError; LinkTimeout when nobody answers; WrongModel or Rejected (the sentence names the setting)
        for a controller that must not be given a beam. A controller that is locked (ALARM) is opened: `home` it.
        """
        link = cls(expected)
        link.attach(await open_transport(url, link._wire, timeout_s=boot_timeout_s))
        try:
            await link.handshake(boot_timeout_s)
        except BaseException:
            link.close()
            raise
        return link

    def attach(self, transport: Transport) -> None:
        """Speak over `transport`, whose receiver is `receiver`."""
        self._wire.attach(transport)

    @property
    def receiver(self) -> GrblWire:
        """Who listens to the transport."""
        return self._wire

    async def handshake(self, boot_timeout_s: float) -> None:
        """From an unknown state to a known one. See `open`."""
        wire = self._wire
        deadline_s = wire.loop.time() + boot_timeout_s
        while wire.report is None:
            wire.raise_if_failed()
            if wire.loop.time() > deadline_s:
                raise LinkTimeout(
                    f"{wire.url} does not answer '?' within {boot_timeout_s:g} s. Check power, cable and baud rate; a "
                    "controller that has hit a limit switch answers nothing until it is reset."
                )
            await wire.news(REPORT_BUSY_S)
        if (await wire.next_report()).state in MOVING:
            await wire.rest()  # what a host that died left behind: let it end, for its place is worth keeping
        await self._reset()
        wire.is_booting = False
        try:
            wire.build = parse_build(only(await self._talk.ask(b"$I", repeats=True), Message))
        except ValueError as error:
            raise WrongModel(f"{wire.url} is no Grbl 1.1: {error}.") from error
        if not wire.build.version.startswith("1.1"):
            raise WrongModel(f"{wire.url} is Grbl {wire.build.version or 'of no version'}, and not Grbl 1.1.")
        wire.flight.window_bytes = min(127, wire.build.rx_bytes - 1)
        await self._read_settings()
        if reason := self._unsuited():
            raise Rejected(f"{wire.url} is not set for this machine: {reason}")
        for _ in range(FIRST_REPORTS):
            report = await wire.next_report()
            if wire.overrides is not None and (wire.wco_mm is not None or not report.is_machine):
                break
        else:
            raise LinkError(f"{wire.url} reports neither work offset nor overrides: its build leaves them out.")
        await self._talk.adopt()

    async def _reset(self) -> None:
        if not await self._wire.reset():
            raise LinkTimeout(f"{self._wire.url} does not restart when told to: is it Grbl? Switch it off and on.")
        await self._wire.next_report()

    async def _read_settings(self) -> None:
        replies = await self._talk.ask(b"$$", timeout_s=SETTINGS_TIMEOUT_S, repeats=True)
        self.settings = {setting.number: setting.value for setting in only(replies, Setting)}
        steps = [self.settings.get(number, 0.0) for number in (100, 101, 102)]
        if min(steps) > 0:
            self._talk.step_mm = (1 / steps[0], 1 / steps[1], 1 / steps[2])

    def _unsuited(self) -> str:
        """The first setting that must not be as it is, as a sentence; "" if all suit."""
        wanted = self.expected
        rows = [
            (10, lambda v: int(v) & 2, "reports must carry the buffers: send $10=3"),
            (13, lambda v: v == 0, "reports must be in millimetres: send $13=0"),
            (30, lambda v: v == wanted.s_max, f"full power must be S{wanted.s_max:g}: send $30={wanted.s_max:g}"),
            (31, lambda v: v == 0, "no power may be lifted to a least one: send $31=0"),
            (32, lambda v: v == 1, "laser mode must be on, or the beam stays on at rest: send $32=1"),
        ]
        if wanted.needs_soft_limits:
            why = "or a damaged number drives the machine into its end"
            rows.append((22, lambda v: int(v) & 1, f"homing must be on, {why}: send $22=1"))
            rows.append((20, lambda v: v == 1, f"soft limits must be on, {why}: send $20=1"))
        rows += [(axis, lambda v: v > 0, "it is no number of steps per mm") for axis in (100, 101, 102)]
        for number, suits, reason in rows:
            value = self.settings.get(number)
            if value is None:
                return f"${number} could not be read; ask again."
            if not suits(value):
                return f"${number} is {value:g}, and {reason}."
        return ""

    def close(self) -> None:
        """Give the port back. Whoever still waits gets a TransportError."""
        self._wire.close()

    # -- what there is to know ----------------------------------------------------------------------------------

    @property
    def error(self) -> BridgeError | None:
        """Why this link is unusable, or None."""
        return self._wire.error

    @property
    def identity(self) -> Build:
        """What `$I` told."""
        return self._wire.build

    @property
    def counters(self) -> GrblCounters:
        """What went by since the link was opened."""
        return self._wire.counters

    @property
    def heard_s(self) -> float:
        """When anything last came."""
        return self._wire.heard_s

    @property
    def is_locked(self) -> bool:
        """Whether the controller is in alarm: `home`, or `unlock` at the operator's word."""
        return self._wire.is_locked

    @property
    def is_homing(self) -> bool:
        """Whether it homes just now: it says nothing meanwhile."""
        return self._wire.is_mute

    @property
    def is_stopped(self) -> bool:
        """Whether a failed link has reset its controller and seen it stand: output off, nothing planned."""
        return self._wire.is_stopped

    async def is_moving(self) -> bool:
        """Whether it moves, or has anything planned or unread."""
        report = await self._wire.next_report()
        build = self._wire.build
        return report.state in MOVING or (report.planner_free, report.rx_free) != (build.planner_blocks, build.rx_bytes)

    async def state(self) -> State:
        """The machine's state now."""
        return (await self._wire.next_report()).state

    async def position(self) -> Point:
        """x, y, z in mm now: where the machine is, not where its plan ends."""
        return self._wire.place_mm(await self._wire.next_report())

    # -- what callers ask ---------------------------------------------------------------------------------------

    async def stream(
        self, lines: Sequence[bytes], journal: StreamJournal, *, cancelled: Callable[[], bool] | None = None
    ) -> int:
        """Send `lines` (the exporter's Grbl words) in order, each only after `journal` has noted it.

        Returns how many are proven done, with the machine at rest: all, or fewer if `cancelled()` became true. Raises
        as `GrblStream.run` does; the machine then stands, and this link is failed. Cancelling the task stops sending
        and leaves what was sent to run: `abort` drops it.
        """
        self._check_free()
        if self.is_locked:
            raise NotReady(f"{self._wire.url} is locked by an alarm: home it first.")
        wire = self._wire
        if wire.overrides != (100, 100, 100):
            await self._level_overrides()
        await self._talk.stand_here()
        await self._talk.set_modes(self._talk.program.tell_start())
        wire.is_dynamic = False
        return await GrblStream(self._talk, lines, journal, cancelled).run()

    async def wait_idle(self, *, timeout_s: float = 120.0) -> None:
        """Return when every move has ended. LinkTimeout after `timeout_s` in which nothing changes."""
        await self._wire.rest(stall_s=timeout_s)

    async def beam_off(self) -> None:
        """S = 0 once the planned moves have ended (M5), seen in the parser's state and in a report.

        A locked controller takes no line: its alarm or restart has switched the output off, and the report must say so.
        """
        self._check_free()
        report = await self._wire.rest()
        if self.is_locked and not report.power_s:
            return
        await self._talk.set_modes(self._talk.program.tell_beam(Planned(Kind.BEAM, spindle="M5", power_s=0.0)))
        report = await self._wire.next_report()
        if report.power_s:
            raise Unverified(
                f"{self._wire.url} was told M5 and still puts out S{report.power_s:g}: use the beam's own stop."
            )

    async def home(self) -> None:
        """`$H`: home all axes; returns when the machine stands there. Rejected where homing is switched off."""
        self._check_free()
        self.is_homed = False
        wire = self._wire
        await wire.rest()
        wire.is_mute = True
        try:
            await self._talk.ask(b"$H", timeout_s=HOME_TIMEOUT_S)
        finally:
            wire.is_mute = False
        await self._talk.adopt()
        self.is_homed = True

    async def unlock(self) -> None:
        """`$X`, at the operator's explicit word only: the position may be wrong from now on."""
        self._check_free()
        await self._talk.ask(b"$X")
        self.is_homed = False
        await self._talk.adopt()

    async def set_setting(self, number: int, value: float) -> None:
        """Write one `$` setting, at rest and alone on the line, and read it back. Wears the EEPROM."""
        self._check_free()
        await self._wire.rest()
        await self._talk.ask(f"${number}={plain(value)}".encode())
        await self._read_settings()
        got = self.settings.get(number)
        if got is None or not math.isclose(got, value, abs_tol=0.0005):
            raise Unverified(f"{self._wire.url}: ${number} was set to {value:g} and reads back as {got}.")

    async def jog(self, target_mm: Point, *, speed_mm_s: float) -> Point:
        """Move to a place with the beam off and return where the machine stands. Cancelling the task stops the jog.

        Rejected beyond the machine's travel (error:15); Unverified if it did not come there.
        """
        self._check_free()
        wire, talk = self._wire, self._talk
        await self.beam_off()  # a jog keeps the spindle state
        words = "".join(f"{axis}{millimetres(round(mm * 1000))}" for axis, mm in zip("XYZ", target_mm))
        try:
            await talk.ask(
                f"$J=G21G90{words}F{plain(speed_mm_s * 60)}".encode(), repeats=True
            )  # absolute: twice is once
            await wire.rest()
        except asyncio.CancelledError:
            wire.write(JOG_CANCEL)
            raise
        await talk.stand_here()
        there = await self.position()
        for at, wanted, step_mm in zip(there, target_mm, talk.step_mm):
            if abs(at - wanted) > step_mm + 0.005:
                raise Unverified(
                    f"{wire.url} was sent to {target_mm} mm and says it stands at {there} mm. Home it again."
                )
        return there

    # -- standing still -----------------------------------------------------------------------------------------

    async def hold(self) -> None:
        """`!`, until the machine stands. It can be resumed. LinkTimeout if it does not stand in time."""
        self._wire.raise_if_failed()
        if not await self._wire.stand():
            self._wire.is_holding = False
            raise LinkTimeout(f"{self._wire.url} was told to hold and did not stand in time: stop it.")

    async def resume(self) -> None:
        """`~`, until the machine is out of its hold."""
        wire = self._wire
        deadline_s = wire.loop.time() + RESUME_LIMIT_S
        wire.raise_if_failed()
        while wire.loop.time() < deadline_s:
            wire.write(RESUME)
            if (await wire.next_report()).state is not State.HOLD:
                wire.is_holding = False
                return
        raise LinkTimeout(f"{wire.url} was told to go on and stays in its hold: a door or a switch may keep it there.")

    async def abort(self) -> Point:
        """Cancel: hold, stand, reset. What was planned never runs; the link goes on, and the place is returned.

        A reset that has to come before the machine stands costs the position: then the controller is locked.
        """
        wire = self._wire
        wire.raise_if_failed()
        if wire.is_streaming:
            raise LinkError(f"{wire.url} is streaming: end the stream first (cancel its task), then abort.")
        stood = await wire.stand()
        wire.is_booting = True  # its banner is asked for
        try:
            await self._reset()
        finally:
            wire.is_booting = False
        if not stood:
            self.is_homed = False
        await self._talk.adopt()
        return await self.position()

    async def is_down(self) -> None:
        """Return when a failed link has made its machine stand, or has given up on that."""
        await self._wire.is_down()

    def emergency_stop(self) -> None:
        """0x18, ahead of everything queued: output off in the receive interrupt. The link is failed afterwards."""
        self.is_homed = False
        self._wire.stop(
            DeviceHalted(
                f"the software stop (reset) was sent to {self._wire.url}: the beam output is off, what was planned is "
                "gone, and its position is unknown; open the line again and home."
            )
        )

    # -- inside -------------------------------------------------------------------------------------------------

    def _check_free(self) -> None:
        self._wire.raise_if_failed()
        if self._wire.is_streaming:
            raise LinkError(f"{self._wire.url} is streaming already: one thing at a time.")

    async def _level_overrides(self) -> None:
        wire = self._wire
        wire.write(OVERRIDES_100)
        for _ in range(FIRST_REPORTS):
            await wire.next_report()
            if wire.overrides == (100, 100, 100):
                return
        raise LinkError(f"{wire.url} keeps its overrides at {wire.overrides}: set them to 100 % and try again.")
