"""The family of errors that reach a user: one sentence each, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class MoonkilnError(Exception):
    """Something a user can act on. The message is a sentence: what is wrong, where, and what to do about it.

    Subclasses set the class attribute `exit_code` (the codes are listed in `docs/exit-codes.md`); a single error may
    carry its own. `figures` are what `--json` tells programs beside the sentence, as JSON knows it.
    """

    exit_code: int = 1

    def __init__(self, sentence: str, exit_code: int | None = None, figures: Mapping[str, Any] | None = None) -> None:
        super().__init__(sentence)
        if exit_code is not None:
            self.exit_code = exit_code
        self.figures = dict(figures or {})


class UsageError(MoonkilnError):
    """The command cannot be carried out as it was given."""

    exit_code = 2
