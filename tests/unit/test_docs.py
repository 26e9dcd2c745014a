"""The documentation keeps to the product: commands parse, links lead somewhere, every condition is explained."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.cli import build_parser
from auditor.settings import problems
from comparators.checklist import GROUPS
from comparators.findings import Kind, State
from orchestrator.conditions import CONDITIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|/bin/|compose run --rm )auditor +(.+)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def shell_lines(text: str) -> Iterator[str]:
    """Give the single commands of a page's blocks of shell, without their comments."""
    for language, block in FENCE.findall(text):
        if language in ("sh", "ini"):
            for line in block.splitlines():
                command = re.split(r"\s#|&&|\|| > ", line)[0].strip()
                yield re.sub(r"^scripts/demo", "auditor demo", command)


def inline(text: str) -> list[str]:
    """Give what stands between single backticks, with line breaks as blanks."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", FENCE.sub("", text))]


def quoted(page: Path) -> Iterator[tuple[str, bool]]:
    """Give the arguments of every `auditor` command on a page, and whether they must be complete."""
    text = page.read_text()
    for line in shell_lines(text):
        if found := COMMAND.search(line):
            yield found[1], True
    for code in inline(text):
        if found := COMMAND.match(re.sub(r"^scripts/demo", "auditor demo", code)):
            yield re.split(r"&&|\|| > ", found[1])[0].replace("...", "").strip(), False


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_the_documentation_parses(page, capsys):
    for words, complete in quoted(page):
        try:
            args = build_parser().parse_args(shlex.split(words))
        except SystemExit:
            said = capsys.readouterr().err
            if not complete and "are required" in said:  # mentioned by its name only
                continue
            pytest.fail(f"{name_of(page)}: auditor {words}: {said}")
        assert hasattr(args, "run") or not complete, f"{name_of(page)}: auditor {words} does nothing"


def test_the_documentation_quotes_commands_at_all():
    """Guards the test above: a page's form may change so that nothing is found any more."""
    complete = [words for page in PAGES for words, whole in quoted(page) if whole]
    assert {"prepare", "run", "teardown"} <= {words.split()[0] for words in complete}
    assert len(complete) > 20


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name_of(page)}: {link}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{name_of(page)}: {link}"


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_concepts_explain_every_condition_kind_and_state():
    text = (ROOT / "docs/concepts.md").read_text()
    for name in [*(condition.name for condition in CONDITIONS), "dwell"]:
        assert f"| `{name}` |" in text
    for word in [*State, *Kind]:
        assert f"`{word}`" in text


def test_the_troubleshooting_knows_every_condition_by_its_sentence():
    text = (ROOT / "docs/operations.md").read_text().split("## Troubleshooting")[1]
    for condition in CONDITIONS:
        assert f"`{condition.sentence}: " in text
    assert "`All conditions hold together: " in text


def test_the_configuration_of_the_readme_is_valid(tmp_path):
    blocks = [block for language, block in FENCE.findall((ROOT / "README.md").read_text()) if language == "yaml"]
    assert blocks
    for block in blocks:
        file = tmp_path / "auditor.yaml"
        file.write_text(block)
        assert [] == problems(file)[1]


def test_the_index_lists_every_decision_and_the_code_names_none_that_is_missing():
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()
    records = {page.name for page in folder.glob("[0-9]*.md")}
    assert records == set(re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", index))
    for package in ("auditor", "orchestrator", "samplers", "comparators"):
        for file in (ROOT / package).rglob("*.py"):
            for number in re.findall(r"decision (\d{4})", file.read_text()):
                assert any(record.startswith(number) for record in records), f"{file.name}: decision {number}"


def test_the_checklist_page_has_every_group_and_item_as_they_are():
    text = (ROOT / "docs/preflight.md").read_text()
    sections = dict(re.findall(r"(?ms)^## (\S+)\n(.*?)(?=^## |\Z)", text))
    assert list(sections) == list(GROUPS)
    for name, group in GROUPS.items():
        rows = re.findall(r"(?m)^\| `([^`]+)` \| (.+) \| (yes|no) \|$", sections[name])
        assert rows == [(check.name, check.what, "yes" if check.overridable else "no") for check in group.checks]
        assert f"Known for {group.max_age:g} s." in sections[name]
