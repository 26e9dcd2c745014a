"""The demo's last words: a fault counts as found only when everything it promises came true."""

import json
from dataclasses import replace
from typing import Any

import pytest

from auditor.demo.command import list_faults
from auditor.demo.coverage import Coverage, coverage
from auditor.demo.faults import FAULTS, find
from auditor.demo.stage import Harm
from auditor.demo.summary import Ending, Injected, document, exit_code, judge, words
from auditor.demo.transactions import Client
from auditor.demo.view import line, lines
from auditor.demo.watch import Figures, Picture, Turn, figures
from auditor.demo.world import Plan, merged
from comparators.errors import SettingInvalid

AT = 1_800_000_000.0
FINDING: dict[str, Any] = {
    "id": "f_0123456789abcdef", "kind": "row-different", "state": "confirmed", "detector": "transaction",
    "table": "public.products", "columns": ["name"], "count": 1, "first_seen": "2027-01-15T08:00:00.100Z",
    "settled_at": "2027-01-15T08:00:00.250Z", "sentence": "public.products: 1 row differs",
}  # fmt: skip
READ = Coverage(tables=2, swept=2, verified=600, through=256, at=AT - 3)


def picture(verdict: str = "FAIL", *findings: dict[str, Any], person: bool = False) -> Picture:
    said = {"verdict": verdict, "reasons": ["because"], "needs_person": person, "sample": {"in_window_share": 0.99}}
    confirmed = {finding["id"]: AT + 0.25 for finding in findings if finding["state"] == "confirmed"}
    return Picture(said, Figures(committed=9, sampled=8, matched=7, at=AT, coverage=READ), findings, confirmed)


def injected(name: str = "changed-column", table: str | None = "public.products", *columns: str) -> Injected:
    return Injected(FAULTS[name], "", Harm(AT, table, frozenset(columns)))


def ending(of: Picture, fault: Injected | None = None, *turns: Turn) -> Ending:
    return Ending(30.04, of, turns, fault, {"lag-ms": 500.0}, "memory")


def test_a_finding_of_the_right_kind_table_and_column_is_as_expected():
    judged = judge(injected("changed-column", "public.products", "name"), picture("FAIL", FINDING), ())
    assert judged.as_expected
    assert judged.detected_after_ms == pytest.approx(250, abs=1)


@pytest.mark.parametrize(
    "findings",
    [
        (),
        ({**FINDING, "state": "suspect"},),
        ({**FINDING, "table": "public.orders"},),
        ({**FINDING, "columns": ["price"]},),
        ({**FINDING, "kind": "row-missing"},),
        (FINDING, {**FINDING, "kind": "foreign-write"}),
        ({**FINDING, "detector": "row"},),
        (FINDING, {**FINDING, "kind": "row-extra", "detector": "row"}),
    ],
    ids=[
        "none",
        "only a suspect",
        "another table",
        "another column",
        "another kind",
        "one too many",
        "the other audit",
        "one too many by the other audit",
    ],
)
def test_anything_else_is_not_as_expected_and_exits_4(findings):
    fault = injected("changed-column", "public.products", "name")
    assert not judge(fault, picture("FAIL", *findings), ()).as_expected
    assert exit_code(ending(picture("FAIL", *findings), fault)) == 4


def test_what_a_fault_leaves_in_the_rows_may_be_found_by_the_row_audit_too():
    foreign = {**FINDING, "kind": "foreign-write", "columns": []}
    row = {**FINDING, "kind": "row-extra", "detector": "row"}
    assert judge(injected("foreign-insert"), picture("FAIL", foreign, row), ()).as_expected
    assert not judge(injected("foreign-insert"), picture("FAIL", row), ()).as_expected


def test_damage_from_before_the_audit_is_owed_by_the_row_audit():
    fault = injected("untouched-row", "public.tax_rates", "percent")
    found = {**FINDING, "detector": "row", "table": "public.tax_rates", "columns": ["percent"]}
    assert judge(fault, picture("FAIL", found), ()).as_expected
    assert not judge(fault, picture("FAIL", {**found, "detector": "transaction"}), ()).as_expected


def test_the_workload_never_writes_the_row_that_is_damaged_before_the_audit():
    clients = [Client(number, 2, 1, prepared=True) for number in range(2)]
    scripts = [next(client) for client in clients for _ in range(3000)]
    scripts += [rare() for client in clients for rare in (client.large, client.new_day, client.long)]
    assert not [text for script in scripts for text, _ in script.statements if "tax_rates" in text]


def test_a_right_finding_with_another_verdict_is_not_as_expected():
    assert not judge(injected(), picture("PASS", FINDING), ()).as_expected


def test_a_trouble_that_passes_must_have_closed_the_gate_first():
    fault, after = injected("target-stalled", None), Turn(AT + 1, "INCONCLUSIVE", ("lag-bytes",))
    before = replace(after, at=AT - 1)
    assert judge(fault, picture("PASS"), [before, after]).detected_after_ms == pytest.approx(1000)
    assert not judge(fault, picture("PASS"), [before]).as_expected
    assert not judge(fault, picture("PASS", FINDING), [after]).as_expected


def test_a_trouble_that_calls_for_a_person_must_do_so():
    fault, turn = injected("unpublished-table", None), Turn(AT + 1, "INCONCLUSIVE", ("scope-complete",))
    assert judge(fault, picture("INCONCLUSIVE", person=True), [turn]).as_expected
    assert not judge(fault, picture("INCONCLUSIVE"), [turn]).as_expected


@pytest.mark.parametrize(("verdict", "code"), [("PASS", 0), ("FAIL", 1), ("INCONCLUSIVE", 3)])
def test_the_exit_code_follows_the_verdict(verdict, code):
    assert exit_code(ending(picture(verdict))) == code


def test_the_json_line_has_what_the_interface_promises():
    said = document(ending(picture("FAIL", FINDING), injected("changed-column", "public.products", "name")))
    assert json.loads(json.dumps(said)) == said
    assert said["transactions"] == {"source": 9, "sampled": 8, "matched": 7}
    assert {"verdict", "seconds", "in_window_share", "lag_ms", "lag_bytes", "apply_delay_ms", "findings"} <= set(said)
    assert said["coverage"] == {
        "tables": 2, "tables_swept": 2, "rows_verified": 600, "rows_unverified": 0, "rows_hot": 0,
        "oldest_through": "0/100", "age_seconds": 3.0,
    }  # fmt: skip
    assert said["fault"]["injected_at"].startswith("2027-01-15T08:00:00")
    assert {"name": "changed-column", "expected": ["row-different"], "found_as_expected": True}.items() <= said[
        "fault"
    ].items()


def test_a_show_without_a_fault_has_none_in_its_json():
    assert document(ending(picture("PASS")))["fault"] is None


def test_the_words_name_verdict_reasons_findings_fault_and_relaxed_limits():
    said = words(ending(picture("FAIL", FINDING), injected("changed-column", "public.products", "name")))
    for part in (
        "FAIL",
        "because",
        "1 row differs",
        "changed-column",
        "found as expected, noticed after 250 ms",
        "lag-ms 500",
    ):
        assert part in said


def test_every_fault_is_listed_with_what_it_promises(capsys):
    assert list_faults(True) == 0
    listed = {fault["name"]: fault for fault in json.loads(capsys.readouterr().out)["faults"]}
    assert set(listed) == set(FAULTS)
    codes = {"PASS": {0}, "FAIL": {1}, "INCONCLUSIVE": {3, 4}}
    for fault in listed.values():
        assert {"name", "what", "expected", "detector", "expected_verdict", "expected_exit"} <= set(fault)
        assert fault["expected_exit"] in codes[fault["expected_verdict"]]
        assert bool(fault["expected"]) == (fault["expected_verdict"] == "FAIL") == bool(fault["in_rows"])


def test_faults_are_listed_for_people_too(capsys):
    assert list_faults(False) == 0
    assert "changed-column" in capsys.readouterr().out


def test_a_fault_is_found_by_name_and_variant():
    assert find("changed-column:toast-byte") == (FAULTS["changed-column"], "toast-byte")


@pytest.mark.parametrize("name", ["nonsense", "changed-column:nonsense", "row-lost:enum"])
def test_an_unknown_fault_is_refused(name):
    with pytest.raises(SettingInvalid, match=r"no fault|no variant"):
        find(name)


def test_a_small_sample_relaxes_its_limit_and_says_so():
    assert "sample-size" not in Plan().limits
    assert Plan(rate=0.01).limits["sample-size"] == 10
    assert Plan(config={"gate": {"limits": {"in-window-share": 0.3}}}).limits["in-window-share"] == 0.3


def test_configurations_are_laid_over_each_other_level_by_level():
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"d": {"e": 4}}) == {"a": {"b": 3, "c": 2}, "d": {"e": 4}}


def test_figures_count_sampled_and_differing_transactions():
    records: dict[str, dict[str, Any]] = {
        "progress/0": {"tallies": {"transactions": 10, "changes": 40}},
        "progress/1": {"tallies": {"transactions": 5, "changes": 20}},
        "sampler/target": {"lag_ms": {"p95": 2.0}, "lag_bytes": 9},
        "suspect/f_1": {
            "id": "f_1", "kind": "row-different", "state": "confirmed", "detector": "transaction", "table": "public.t",
            "keys": [], "count": 1, "columns": [], "source_position": 77, "target_position": 88, "first_seen": AT,
            "subscription": "s", "partition": 0,
        },
    }  # fmt: skip
    records["suspect/f_2"] = {**records["suspect/f_1"], "id": "f_2", "detector": "row", "source_position": 99}
    seen = figures(records, 20, Figures(sampled=5, matched=5, at=AT - 2), AT)
    assert (seen.sampled, seen.matched, seen.changes, seen.lag_bytes) == (15, 14, 60, 9)
    assert seen.sampled_per_second == pytest.approx(5)


def swept(**values: Any) -> dict[str, Any]:
    return {"sweep": 1, "rows": 9, "verified": 7, "unverified": 2, "hot": 1, "through": 80, "at": AT - 5, **values}


def test_coverage_sums_up_the_last_complete_sweep_of_each_table():
    seen = coverage({"coverage/public.a": swept(), "coverage/public.b": swept(through=70, at=AT - 2), "sweeper": {}})
    assert seen == Coverage(2, 2, verified=14, unverified=4, hot=2, through=70, at=AT - 5)
    assert seen.line(AT) == "2 of 2 tables read whole, 14 rows verified, 4 not, 2 keep changing, the oldest 5 s ago"


@pytest.mark.parametrize(
    "other", [{"sweep": 0, "state": "waiting"}, {"state": "skipped"}, swept(through=None, at=None)]
)
def test_a_table_that_was_never_read_whole_leaves_the_oldest_position_unknown(other):
    seen = coverage({"coverage/public.a": swept(), "coverage/public.b": other})
    assert (seen.tables, seen.through, seen.age(AT)) == (2, None, None)


def test_nothing_read_yet_is_said_so():
    assert coverage({}).line(AT) == "no table was read yet"
    assert coverage({}).document(AT)["oldest_through"] is None


def test_figures_without_records_are_not_known():
    assert figures({}, 3, Figures(), AT).sampled is None
    assert "? of ? sampled" in line(Picture({"verdict": "INCONCLUSIVE", "reasons": []}, Figures(), ()))


def test_progress_lines_come_at_each_turn_and_not_at_each_look(capsys):
    show = lines()
    for shown in (picture("PASS"), picture("PASS"), picture("FAIL", FINDING)):
        show(shown, 1.0, "under load")
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 2
    assert "FAIL" in printed[1]


def test_alerts_are_told_where_somebody_watched():
    unwatched, watched = ending(picture("PASS")), replace(ending(picture("PASS")), alerts=["AuditorDivergence"])
    assert document(unwatched)["alerts"] is None
    assert "alerts" not in words(unwatched)
    assert ["AuditorDivergence"] == document(watched)["alerts"]
    assert "alerts            AuditorDivergence" in words(watched).splitlines()
    assert "alerts            none" in words(replace(watched, alerts=[])).splitlines()
