"""Write the table of docs/detection.md from what the fault tests measured: `python -m tests.fault.report`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auditor.demo.damage import CHANGES
from auditor.demo.faults import FAULTS, Fault
from tests.fault.times import kept

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "detection.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEAD = (
    "| fault | what happens | transaction audit | after | row audit | after | verdict |\n|---|---|---|---|---|---|---|"
)


def main() -> int:
    """Put the newest figures into the document; say which faults were not measured."""
    measured = kept()
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = "\n".join([HEAD, *(row(name, measured.get(name)) for name in names())])
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")
    missing = [name for name in names() if name not in measured]
    print(f"{len(names()) - len(missing)} faults written, not measured: {', '.join(missing) or 'none'}")
    return 1 if missing else 0


def names() -> list[str]:
    """List every fault, and each variant of a changed column."""
    plain = [name for name in FAULTS if name != "changed-column"]
    return [*(f"changed-column:{variant}" for variant in CHANGES), *plain]


def row(name: str, measured: dict[str, Any] | None) -> str:
    """Write one line of the table."""
    fault, variant = FAULTS[name.partition(":")[0]], name.partition(":")[2]
    what = f"{fault.what}: `{CHANGES[variant].table}.{CHANGES[variant].column}`" if variant else fault.what
    during = f"{fault.verdict_during}, then " if fault.verdict_during else ""
    verdict = f"{during}{fault.verdict}, exit {fault.expected_exit}"
    return f"| `{name}` | {what} | {transactions(fault, measured)} | {rows(fault, measured)} | {verdict} |"


def transactions(fault: Fault, measured: dict[str, Any] | None) -> str:
    """Write what the transaction audit, or where there is nothing to accuse the gate, says of a fault, and when."""
    if fault.early:
        return "nothing: it is in no log | -"
    found = kinds(fault.expected) or (
        f"none; {', '.join(f'`{one}`' for one in fault.conditions[:3])}" if fault.conditions else "none"
    )
    return f"{found} | {'not measured' if measured is None else duration(measured['milliseconds'])}"


def rows(fault: Fault, measured: dict[str, Any] | None) -> str:
    """Write what the row audit says of a fault, and when."""
    if not fault.in_rows:
        return "none | nothing to detect"
    field = "milliseconds" if fault.early else "rows_milliseconds"
    known = measured is not None and field in measured
    return f"{kinds(fault.in_rows)} | {duration(measured[field]) if known and measured else 'not measured'}"


def kinds(names: Sequence[str]) -> str:
    """Write kinds of findings."""
    return ", ".join(f"`{kind}`" for kind in names)


def duration(milliseconds: float | None) -> str:
    """Write a time as people say it."""
    if milliseconds is None:
        return "nothing to detect"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
