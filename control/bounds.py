"""Numbers of machine files with their bounds, which msgspec checks where a value is read."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Positive = Annotated[float, Meta(gt=0, le=1e6)]  # bounded: infinity is no setting
NonNegative = Annotated[float, Meta(ge=0, le=1e6)]
Hz = Annotated[float, Meta(gt=0, le=50)]
Unit = Annotated[int, Meta(ge=1, le=247)]
