"""PgBouncer's file leads where it should, and keeps every byte that is not ours."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.errors import SettingInvalid
from orchestrator.adapters.pgbouncer_file import (
    EntryMissing,
    lead,
    parse_place,
    read_place,
    replace_file,
    settle_file,
    stage_file,
)

SOURCE, TARGET = {"host": "10.0.0.1", "port": "5432"}, {"host": "10.0.0.2", "port": "6543"}
PLACES = [SOURCE, TARGET]

words = st.text(alphabet="abz019 ._-/'", min_size=1, max_size=8)
places = st.fixed_dictionaries({"host": words, "port": st.integers(1, 65535).map(str)})
others = st.dictionaries(st.sampled_from(["pool_size", "connect_query", "user"]), words, max_size=3)
space = st.sampled_from(["", " ", "  "])


def quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    pairs = {**draw(places), **draw(others)}
    order = draw(st.permutations(sorted(pairs)))
    line = " ".join(f"{key}{draw(space)}={draw(space)}{quoted(pairs[key])}" for key in order)
    return f"{draw(space)}app{draw(space)}={draw(space)}{line}{draw(space)}", pairs


@given(lines(), places, st.lists(st.sampled_from(["", "; app = host=no", "other = host=10.0.0.9", "# x"]), max_size=4))
def test_only_the_place_changes(line: tuple[str, dict[str, str]], to: dict[str, str], around: list[str]) -> None:
    text, pairs = line
    before, after = ["[databases]", *around], ["z = host=10.0.0.9", "[pgbouncer]", "app = host=mine"]
    led = lead("\n".join([*before, text, *after]), ["app"], to, [to])
    assert {**pairs, **to} == read_place(led, "app")
    assert (before, after) == (led.split("\n")[: len(before)], led.split("\n")[len(before) + 1 :])


@given(lines(), places, places)
def test_there_and_back_is_the_same_file(
    line: tuple[str, dict[str, str]], source: dict[str, str], target: dict[str, str]
) -> None:
    text = lead(f"[databases]\n{line[0]}\n", ["app"], source, [source, target])
    there = lead(text, ["app"], target, [source, target])
    assert text == lead(there, ["app"], source, [source, target])
    assert there == lead(there, ["app"], target, [source, target])


@given(places)
def test_a_place_is_read_as_it_is_written(place: dict[str, str]) -> None:
    assert place == parse_place(" ".join(f"{key}={quoted(value)}" for key, value in place.items()))


def test_what_only_the_other_place_names_is_left_out() -> None:
    text = "[databases]\napp = host=10.0.0.1 dbname=old pool_size=5\n"
    led = lead(text, ["app"], {"host": "10.0.0.2", "port": "6543"}, [{"host": "10.0.0.1", "dbname": "old"}])
    assert "[databases]\napp = host=10.0.0.2 pool_size=5 port=6543\n" == led


def test_several_databases_are_led_and_others_are_not() -> None:
    text = "[databases]\na = host=10.0.0.1\nb = host=10.0.0.1\nab = host=10.0.0.1\n"
    led = lead(text, ["a", "b"], {"host": "10.0.0.2"}, PLACES)
    assert "[databases]\na = host=10.0.0.2\nb = host=10.0.0.2\nab = host=10.0.0.1\n" == led


def test_of_two_lines_the_last_one_counts_as_it_does_for_pgbouncer() -> None:
    text = "[databases]\napp = host=first\napp = host=last\n"
    assert {"host": "last"} == read_place(text, "app")
    assert "first" in lead(text, ["app"], {"host": "10.0.0.2"}, PLACES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[databases]\n* = host=10.0.0.1\n",
        "[databases]\n;app = host=10.0.0.1\n",
        "[databases]\n%include other.ini\n",
        "[databases]\n[pgbouncer]\napp = host=10.0.0.1\n",
    ],
)
def test_a_database_without_a_line_of_its_own_is_told(text: str) -> None:
    with pytest.raises(EntryMissing, match="app has no line"):
        lead(text, ["app"], TARGET, PLACES)


@pytest.mark.parametrize(
    "text", ["", "port=5432", "host=a password=b", "host=a host=b", "host", "host=a 'b'", "host=''"]
)
def test_a_place_that_cannot_be_read_back_is_refused(text: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        parse_place(text)
    assert "=b" not in str(refused.value)


def test_a_linked_file_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.ini", tmp_path / "pgbouncer.ini"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    replace_file(link, "new")
    assert link.is_symlink()
    assert ("new", 0o640) == (real.read_text(), real.stat().st_mode & 0o7777)


@pytest.mark.parametrize("staged", ["new", "something else", "", None])
def test_what_was_staged_before_is_taken_only_where_it_is_the_same(tmp_path: Path, staged: str | None) -> None:
    config = tmp_path / "pgbouncer.ini"
    config.write_text("old")
    if staged is not None:
        stage_file(config, staged)
        assert "old" == config.read_text()
    replace_file(config, "new")
    assert "new" == config.read_text()
    stage_file(config, "never used")
    settle_file(config)
    assert [config] == list(tmp_path.iterdir())
