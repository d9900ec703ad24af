"""What is wrong with a TOML file, for whoever wrote it."""

from __future__ import annotations

import tomllib

import msgspec

UNREADABLE = (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError)
"""What reading text as TOML and the TOML as a type raises."""


def what_is_wrong(error: Exception) -> str:
    """One of `UNREADABLE` as the end of a sentence that has named the file."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is no text (byte {error.start} is no UTF-8): give a TOML file"
    if isinstance(error, tomllib.TOMLDecodeError):
        return f"it is no TOML: {error}"
    if "missing required field" in str(error):
        return f"{error}: write it, as the shipped files do"
    return str(error)
