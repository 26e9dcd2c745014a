"""What is written about the cutover is what the table says."""

import re
from pathlib import Path

from auditor.cutover.story import PROOF
from orchestrator.cutover import ABORT_STEPS, ALL_STEPS, ROLLBACK_STEPS, STEPS, Phase, mermaid

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "cutover.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[tuple[str, ...]]:
    """Give the cells of each table of steps, in order."""
    return [tuple(cell.strip() for cell in row) for row in re.findall(heading, TEXT)]


def test_every_step_is_listed_as_the_table_has_it() -> None:
    listed = rows(r"(?m)^\| `([a-z-]+)` \| ([A-Z_]+) \| ([0-9.]+) s \| (yes|) *\| (.+) \|$")
    own = [step for step in ROLLBACK_STEPS if step not in STEPS]
    wanted = [
        (step.name, str(step.phase), f"{step.seconds:g}", "yes" if step.holds_writes else "", step.does)
        for step in (*STEPS, *ABORT_STEPS, *own)
    ]
    assert listed == wanted
    assert {name for name, *_ in listed} == set(ALL_STEPS)


def test_the_diagram_is_drawn_from_the_table() -> None:
    assert f"```mermaid\n{mermaid()}\n```" in TEXT
    assert all(str(phase) in mermaid() for phase in Phase)


def test_every_link_of_the_proof_is_explained() -> None:
    assert [(name, proves) for name, proves in rows(r"(?m)^\| `([a-z-]+)` \| ([^|]+) \|$") if name in dict(PROOF)] == [
        *PROOF
    ]


def test_the_runbook_knows_the_steps_that_it_names() -> None:
    text = (DOCS / "runbook.md").read_text(encoding="utf-8").split("## STUCK")[0]
    named = re.findall(r"(?m)^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", text)
    assert {step for cell in named for step in re.findall("`([a-z-]+)`", cell)} <= set(ALL_STEPS)
    assert len(named) > 5
