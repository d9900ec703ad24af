"""A reader of Open Vector Format files: protoc's decoder for the messages, the published file layout around them."""

from __future__ import annotations

import importlib.util
import struct
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SCHEMA = Path(__file__).parent / "ovf" / "ovf_subset.proto"


def compile_schema(folder: Path, schema: Path = SCHEMA):
    """The Python module that protoc makes of a schema."""
    from grpc_tools import protoc

    failed = protoc.main(["protoc", f"-I{schema.parent}", f"--python_out={folder}", schema.name])
    assert not failed, f"protoc refuses {schema}"
    name = f"{schema.stem}_pb2"
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class OvfFile:
    """The job's shell, and its planes as (shell, blocks)."""

    job: object
    planes: list


def read(data: bytes, schema) -> OvfFile:
    """Follow the tables from the file's first bytes; every byte must belong to something. Raises ValueError."""
    if data[:4] != b"LVF!":
        raise ValueError("not an OVF file")
    used = [(0, 12)]

    def delimited(at, message):
        begin, size, shift = at, 0, 0
        while True:
            byte = data[at]
            size |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not byte & 0x80:
                break
        if at + size > len(data):
            raise ValueError(f"a message at {begin} runs over the end")
        message.ParseFromString(data[at : at + size])
        if message.SerializeToString(deterministic=True) != _known_only(message):
            raise ValueError(f"a message at {begin} has fields that the schema does not know")
        used.append((begin, at + size))
        return message

    job_lut = delimited(struct.unpack_from("<q", data, 4)[0], schema.JobLUT())
    job = delimited(job_lut.jobShellPosition, schema.Job())
    planes = []
    for position in job_lut.workPlanePositions:
        used.append((position, position + 8))
        lut = delimited(struct.unpack_from("<q", data, position)[0], schema.WorkPlaneLUT())
        blocks = [delimited(at, schema.VectorBlock()) for at in lut.vectorBlocksPositions]
        planes.append((delimited(lut.workPlaneShellPosition, schema.WorkPlane()), blocks))
    used.sort()
    if any(end != begin for (_, end), (begin, _) in pairwise(used)) or used[-1][1] != len(data):
        raise ValueError("bytes that no table leads to, or that two lead to")
    return OvfFile(job, planes)


def _known_only(message) -> bytes:
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.SerializeToString(deterministic=True)


def vectors(blocks):
    """(key, laser, area, skin, wait_us, x0, y0, x1, y1) of every vector in order."""
    rows, wait = [], {}
    for block in blocks:
        which = block.WhichOneof("vector_data")
        if which == "exposure_pause":
            wait[block.laser_index] = wait.get(block.laser_index, 0) + block.exposure_pause.pause_in_us
            continue
        points = list(getattr(block, which).points)
        if which == "_hatches":
            lines = [points[i : i + 4] for i in range(0, len(points), 4)]
        else:
            lines = [points[i : i + 4] for i in range(0, len(points) - 2, 2)]
        about = block.lpbf_metadata
        for line in lines:
            waited = wait.pop(block.laser_index, 0)
            rows.append((block.marking_params_key, block.laser_index, about.part_area, about.skin_type, waited, *line))
    return rows
