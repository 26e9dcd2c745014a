"""Times to detect, kept by the fault tests for the table in docs/detection.md."""

import json
from pathlib import Path
from typing import Any

PLACE = Path(__file__).resolve().parents[2] / "build" / "detection"
"""Not under version control: every run measures anew."""


def keep(name: str, **measured: Any) -> None:
    """Keep what was measured for one fault, as in `changed-column:enum`."""
    PLACE.mkdir(parents=True, exist_ok=True)
    file = PLACE / f"{name.replace(':', '--')}.json"
    file.write_text(json.dumps({"name": name, **measured}) + "\n")


def kept() -> dict[str, dict[str, Any]]:
    """Read everything that was kept."""
    read = [json.loads(file.read_text()) for file in sorted(PLACE.glob("*.json"))]
    return {entry["name"]: entry for entry in read}
