"""The truth of a run on disk: `truth.mcap` (what was executed, laid, struck) and `truth_maps.npz` (the bed).

The MCAP holds JSON messages with their schemas, one topic a kind: `/truth/blocks`, `/truth/dwells`, `/truth/powder`,
`/truth/faults`, `/truth/breaches`, `/truth/end`. `log_time` is the run's start plus the loop's seconds. Both files are
closed whole or are not there at all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.writer import Writer

from hil_sim.world.build import Truth, World
from slicer.whole_file import whole_file

MCAP_NAME, MAPS_NAME = "truth.mcap", "truth_maps.npz"


class TraceError(ValueError):
    """A truth file that is absent, cut short or not ours."""


class Block(msgspec.Struct, frozen=True):
    """One executed move with S > 0: where, when, and what left the head. Lengths in mm, times in loop seconds."""

    t0_s: float
    t1_s: float
    start_mm: tuple[float, float]
    end_mm: tuple[float, float]
    energy_j: float
    nominal_mm_s: float
    plane_drop_mm: float


class StillBeam(msgspec.Struct, frozen=True):
    """A beam that stood: how much it gave, and after which block (-1: before any)."""

    t0_s: float
    t1_s: float
    at_mm: tuple[float, float]
    energy_j: float
    after_block: int


class Powder(msgspec.Struct, frozen=True):
    """A strip of powder that was laid."""

    t_s: float
    x_from_mm: float
    x_to_mm: float
    plane_drop_mm: float
    fill_fraction: float


class Strike(msgspec.Struct, frozen=True):
    """A fault that struck."""

    t_s: float
    point: str
    kind: str


class Breach(msgspec.Struct, frozen=True):
    """A safety rule that was broken in truth: from when until when, which rule, and a sentence."""

    t0_s: float
    t1_s: float
    rule: str
    sentence: str


class End(msgspec.Struct, frozen=True):
    """How the world stood when it was closed; what a record did not keep is None, or 0 W.

    gantry_mm: x, y, z. heater_w: what the plate's controller asked of its heater; heated_w: what that gave, asked or
    not. plate_lit_c: the plate's least and greatest temperature under light, None as well where it was dark throughout.
    source_w: light that the beam's source made, be it against its shutter. supply_w: what a supply gave to
    its load. heated_since_s, bright_since_s: since when, without a break, the heater has given anything, and the source
    more than a faint light.
    """

    end_s: float
    beam_energy_j: float
    beam_live: bool
    crashes: int
    facts: dict[str, float]
    gantry_mm: tuple[float, float, float] | None = None
    heater_w: float = 0.0
    plate_lit_c: tuple[float, float] | None = None
    heated_w: float = 0.0
    source_w: float = 0.0
    supply_w: float = 0.0
    heated_since_s: float | None = None
    bright_since_s: float | None = None


class Record(msgspec.Struct, frozen=True):
    """A whole truth, as written and as read back."""

    blocks: list[Block]
    still: list[StillBeam]
    powder: list[Powder]
    faults: list[Strike]
    end: End
    breaches: list[Breach] = []


_TOPICS: dict[str, tuple[str, type]] = {
    "blocks": ("/truth/blocks", Block),
    "still": ("/truth/dwells", StillBeam),
    "powder": ("/truth/powder", Powder),
    "faults": ("/truth/faults", Strike),
    "breaches": ("/truth/breaches", Breach),
}
_END_TOPIC = "/truth/end"


def record_of(truth: Truth) -> Record:
    """A world's truth as the record that goes to disk."""
    return Record(
        blocks=[
            Block(b.t0_s, b.t1_s, b.start_mm[:2], b.end_mm[:2], b.energy_j, b.nominal_mm_s, drop)
            for b, drop in zip(truth.executed, truth.plane_drop_mm, strict=True)
        ],
        still=[StillBeam(d.t0_s, d.t1_s, d.at_mm[:2], d.energy_j, d.after_block) for d in truth.dwells],
        powder=[Powder(p.t_s, p.x_from_mm, p.x_to_mm, p.plane_drop_mm, p.fill_fraction) for p in truth.laid],
        faults=[Strike(*strike) for strike in truth.strikes],
        end=End(
            truth.end_s,
            truth.beam_energy_j,
            truth.beam_live_at_end,
            truth.crashes,
            truth.facts,
            truth.gantry_mm,
            truth.heater_w,
            truth.plate_lit_c,
            truth.heated_w,
            truth.source_w,
            truth.supply_w,
            truth.heated_since_s,
            truth.bright_since_s,
        ),
    )


async def close_truth(
    world: World, folder: Path, start_ns: int, watch: Callable[[float], list[Breach]] | None = None
) -> Record:
    """Solve the world to the present and write its truth into `folder`; the record is returned as well.

    `watch`: asked at the end (loop time) for the safety rules that the finished world broke.
    """
    record = record_of(await world.finish())
    if watch is not None:
        record = msgspec.structs.replace(record, breaches=watch(record.end.end_s))
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / MCAP_NAME) as file:
        file.write(_mcap_bytes(record, start_ns))
    with whole_file(folder / MAPS_NAME) as file:
        np.savez_compressed(file, **world.maps())
    return record


def read_truth(folder: Path) -> Record:
    """The truth in a folder. Raises TraceError with what is wrong."""
    path = folder / MCAP_NAME
    found: dict[str, list[Any]] = {name: [] for name in _TOPICS}
    kinds = {topic: (name, kind) for name, (topic, kind) in _TOPICS.items()}
    end: End | None = None
    try:
        with open(path, "rb") as file:
            for _, channel, message in make_reader(file).iter_messages():
                if channel.topic == _END_TOPIC:
                    end = msgspec.json.decode(message.data, type=End)
                elif channel.topic in kinds:
                    name, kind = kinds[channel.topic]
                    found[name].append(msgspec.json.decode(message.data, type=kind))
    except FileNotFoundError:
        raise TraceError(f"{path} does not exist: this folder holds no simulated truth") from None
    except (OSError, McapError, msgspec.MsgspecError, EOFError, ValueError) as error:
        raise TraceError(
            f"{path} cannot be read ({error}): the world was not closed, or the file was cut short"
        ) from error
    if end is None:
        raise TraceError(f"{path} has no end: the world was not closed")
    return Record(found["blocks"], found["still"], found["powder"], found["faults"], end, found["breaches"])


def _mcap_bytes(record: Record, start_ns: int) -> bytes:
    stream = io.BytesIO()
    writer = Writer(stream)
    writer.start(profile="moonkiln", library="moonkiln")

    def channel(topic: str, kind: type) -> int:
        schema = json.dumps({**msgspec.json.schema(kind), "type": "object"}).encode()
        schema_id = writer.register_schema(f"moonkiln.{kind.__name__}", "jsonschema", schema)
        return writer.register_channel(topic, "json", schema_id)

    for name, (topic, kind) in _TOPICS.items():
        number = channel(topic, kind)
        for row in getattr(record, name):
            time_ns = start_ns + round((row.t0_s if hasattr(row, "t0_s") else row.t_s) * 1e9)
            writer.add_message(number, time_ns, msgspec.json.encode(row), time_ns)
    end_ns = start_ns + round(record.end.end_s * 1e9)
    writer.add_message(channel(_END_TOPIC, End), end_ns, msgspec.json.encode(record.end), end_ns)
    writer.finish()
    return stream.getvalue()
