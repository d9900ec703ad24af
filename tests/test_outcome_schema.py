"""Do docs/outcome.schema.json and docs/drive-outcome.schema.json say what runs and drives write?"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from report_helpers import outcome
from rover_drive_helpers import lane

from control.outcome import SCHEMA_VERSION, Outcome, Status, read_outcome
from control.rover.drive_record import not_driven
from control.rover.outcome import DriveOutcome, read_drive_outcome
from control.rover.route.route_file import read_route

DOCS = Path(__file__).resolve().parent.parent / "docs"
SCHEMA = DOCS / "outcome.schema.json"
SCHEMAS = {
    SCHEMA: (Outcome, "outcome.json: how a moonkiln run ended"),
    DOCS / "drive-outcome.schema.json": (DriveOutcome, "outcome.json: how a moonkiln drive ended"),
}


def expected(path: Path) -> str:
    """The page as it should stand: `python tests/test_outcome_schema.py` writes them."""
    kind, title = SCHEMAS[path]
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **msgspec.json.schema(kind)}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_the_written_schema_is_the_codes(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == expected(path), "run: python tests/test_outcome_schema.py"


def test_a_drives_outcome_keeps_its_schema(tmp_path: Path) -> None:
    route = read_route(lane(tmp_path / "r.json", 3.0))
    not_driven(route, "0" * 64, Status.FAILED, "no rover", 3).write(tmp_path)
    written = json.loads((tmp_path / "outcome.json").read_text(encoding="utf-8"))
    schema = json.loads((DOCS / "drive-outcome.schema.json").read_text(encoding="utf-8"))
    definition = schema["$defs"]["DriveOutcome"]
    assert set(definition["required"]) <= set(written) <= set(definition["properties"])
    assert read_drive_outcome(tmp_path).reason == "no rover"


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
    for page in SCHEMAS:
        page.write_text(expected(page), encoding="utf-8")
