"""The sweep's benchmark: what it takes, the form of what it prints, and what it counts as found."""

import json

import pytest

from benchmarks.report import Report
from benchmarks.sweep import PARTS, arguments, over
from benchmarks.sweep_data import GAPS, ITEMS, SHAPES
from benchmarks.sweep_peers import share
from benchmarks.sweep_traffic import p99


def test_without_arguments_everything_is_measured_on_ten_million_rows() -> None:
    args = arguments([])

    assert (10_000_000, PARTS, False) == (args.rows, args.only, args.json)


def test_parts_are_chosen_by_name() -> None:
    assert ("limit", "sweep") == arguments(["--only", "limit,sweep"]).only


def test_an_unknown_part_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--only", "limit,swep"])

    assert "swep: not among" in capsys.readouterr().err


def test_the_last_line_is_json_of_the_agreed_form(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("sweep", {"rows": 20.0})
    report.ratio("clean_vs_limit", 0.91236, 0.85)

    report.show(as_json=False)

    ratios = {"clean_vs_limit": {"value": 0.9124, "target": 0.85, "better": "higher"}}
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"name": "sweep", "figures": {"rows": 20.0}, "ratios": ratios} == last


def test_a_peer_that_is_missing_is_named_and_its_ratio_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("sweep")
    report.not_measured["pg_comparator"] = "it is not installed"
    report.ratio("clean_vs_pg_comparator", over(None, 1.0), 2.0)

    report.show(as_json=False)

    lines = capsys.readouterr().out.splitlines()
    assert "NOT MEASURED" in lines[0]
    assert "pg_comparator: not measured: it is not installed" == lines[1]
    last = json.loads(lines[-1])
    assert None is last["ratios"]["clean_vs_pg_comparator"]["value"]
    assert {"pg_comparator": "it is not installed"} == last["not_measured"]


def test_a_wrong_finding_outweighs_a_right_one() -> None:
    assert share({"1", "2"}, {"1", "2"}) == 1.0
    assert share({"1"}, {"1", "2"}) == 0.5
    assert share({"1", "3"}, {"1", "2"}) == 0.0
    assert share({"1"}, {"1", "2"}, counted=1) == 1.0


def test_p99_is_a_time_that_one_in_a_hundred_exceeds() -> None:
    assert p99([float(n) for n in range(1, 101)]) == 99.0


def test_tables_have_the_columns_that_they_promise() -> None:
    widths = {shape.name: len(shape.columns.replace("(12,2)", "").split(", ")) for shape in (ITEMS, *SHAPES)}

    assert {"items": 8, "wide": 250, "narrow": 2, "text_key": 3, "composite_key": 4} == widths
    assert f"i % ({{rows}} / {GAPS}) > 0" == ITEMS.where
