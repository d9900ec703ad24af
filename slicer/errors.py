"""What can go wrong while a mesh becomes a job: one family of errors, each a sentence fit for an operator."""

from __future__ import annotations


class SlicerError(Exception):
    """A job cannot be planned from what was given; the message says what, where and what to do."""


class MeshError(SlicerError):
    """A mesh file cannot be read, or its surface cannot be cut, placed or trusted."""


class ScanError(SlicerError):
    """A layer cannot be filled with scan vectors by these parameters."""
