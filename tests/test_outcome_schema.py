"""Does docs/outcome.schema.json say what control.outcome writes?"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from report_helpers import outcome

from control.outcome import SCHEMA_VERSION, Outcome, read_outcome

SCHEMA = Path(__file__).resolve().parent.parent / "docs" / "outcome.schema.json"


def expected() -> str:
    """The page as it should stand: `python tests/test_outcome_schema.py` writes it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "outcome.json: how a moonkiln run ended",
        **msgspec.json.schema(Outcome),
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def test_the_written_schema_is_the_codes() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == expected(), "run: python tests/test_outcome_schema.py"


def test_an_outcome_keeps_its_schema(tmp_path: Path) -> None:
    outcome().write(tmp_path)
    assert read_outcome(tmp_path) == outcome()
    written = json.loads((tmp_path / "outcome.json").read_text(encoding="utf-8"))
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    definition = schema["$defs"]["Outcome"]
    assert set(definition["required"]) <= set(written) <= set(definition["properties"])
    assert written["schema_version"] == SCHEMA_VERSION
    assert written["status"] in schema["$defs"]["Status"]["enum"]


if __name__ == "__main__":
    SCHEMA.write_text(expected(), encoding="utf-8")
