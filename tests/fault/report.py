"""Write the table of docs/detection.md from what the fault tests measured: `python -m tests.fault.report`."""

import sys
from pathlib import Path
from typing import Any

from auditor.demo.damage import CHANGES
from auditor.demo.faults import FAULTS
from tests.fault.times import kept

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "detection.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEAD = "| fault | what happens | finding | verdict | detected after |\n|---|---|---|---|---|"


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
    found = ", ".join(f"`{kind}`" for kind in fault.expected) or (
        f"none; {', '.join(f'`{one}`' for one in fault.conditions[:3])}" if fault.conditions else "none"
    )
    during = f"{fault.verdict_during}, then " if fault.verdict_during else ""
    after = "not measured" if measured is None else duration(measured["milliseconds"])
    return f"| `{name}` | {what} | {found} | {during}{fault.verdict}, exit {fault.expected_exit} | {after} |"


def duration(milliseconds: float | None) -> str:
    """Write a time as people say it."""
    if milliseconds is None:
        return "nothing to detect"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
