"""What the kill matrix measured, kept by its tests, and the table made of it: `python -m tests.fault.kills`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.cutover import ALL_STEPS

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "kills"
"""Not under version control: every run measures anew."""
DOCUMENT = ROOT / "docs" / "kill-matrix.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COLUMNS = {
    "kill": "orchestrator killed",
    "stop": "stopped, woken as a zombie",
    "cut": "cut from the journal",
    "source": "source killed",
    "target": "target killed",
    "journal": "journal killed",
    "proxy": "pooler killed",
}


def keep(step: str, victim: str, **measured: Any) -> None:
    """Keep what became of one case."""
    PLACE.mkdir(parents=True, exist_ok=True)
    (PLACE / f"{step}--{victim}.json").write_text(json.dumps({"step": step, "victim": victim, **measured}) + "\n")


def kept() -> dict[tuple[str, str], dict[str, Any]]:
    """Read everything that was kept."""
    read = [json.loads(file.read_text()) for file in sorted(PLACE.glob("*.json"))]
    return {(entry["step"], entry["victim"]): entry for entry in read}


def table(measured: dict[tuple[str, str], dict[str, Any]]) -> str:
    """Write the matrix: a line for each step, a column for whom it hits."""
    lines = ["| step | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for step in ALL_STEPS:
        lines.append(f"| `{step}` | " + " | ".join(_cell(measured.get((step, one))) for one in COLUMNS) + " |")
    return "\n".join(lines)


def _cell(case: dict[str, Any] | None) -> str:
    if case is None:
        return "-"
    if case["dangers"]:
        return "**" + "; ".join(case["dangers"]) + "**"
    return f"{case['end']}, {case['lost']} lost, {case['seconds']:.0f} s"


def main(arguments: Sequence[str]) -> int:
    """Put the newest table into the document; say how many cases there are and whether any was unsafe."""
    measured = kept()
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(measured)}\n{END}{after}", encoding="utf-8")
    bad = sorted(key for key, case in measured.items() if case["dangers"])
    print(f"{len(measured)} cases written, unsafe: {bad or 'none'}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
