"""The console's page: says what the gate said and nothing better, shows no more than it may, holds any name."""

import asyncio
import html
import re
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from auditor.console import register, sections
from auditor.console.chart import chart_of
from auditor.console.page import HERE, Renderer, page_of
from auditor.console.pulse import CHANGES, KEEP_SECONDS, Point, Pulse, point_of
from auditor.console.routes import CONSOLE
from auditor.console.tables import LISTED, Tone
from auditor.console.words import duration, figure, printable
from auditor.gate import Snapshot
from auditor.verdict_history import Page as History
from auditor.verdicts import Entry, Kind
from comparators.errors import StoreUnavailable
from comparators.findings import Finding, merged_findings
from comparators.preflight import Item, ItemStatus
from orchestrator.conditions import Status
from orchestrator.seen import AlertSeen, ProbeSeen
from tests.consoles import html_of, large_records, rendered, snapshot_of, troubled_records, waving_pulse, with_status
from tests.gates import evidence_of
from tests.helpers import wait_for_async
from tests.helpers_records import NOW, covered, good_records, suspect

MARKUP = "public.<script>alert('x')</script>"
ODD = "public.\u202eevil\u200b\x07\ud800"


def text_of(page: str) -> str:
    """Give what a page says, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", page)))


def part(page: str, name: str) -> str:
    """Give what one section says."""
    found = re.search(rf'<section id="{name}".*?</section>', page, flags=re.DOTALL)
    assert found, f"no section {name}"
    return text_of(found[0])


# What it says of the verdict.


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (Status.PASS, "The gate is open: every condition holds."),
        (Status.FAIL, "The gate is closed: a difference is confirmed."),
        (Status.INCONCLUSIVE, "The gate is closed: not everything is proved."),
    ],
)
def test_each_verdict_is_a_word_with_an_icon_in_heading_title_and_tab(status: Status, sentence: str) -> None:
    page = html_of(with_status(snapshot_of(good_records()), status))
    said = part(page, "verdict")
    assert f"Verdict of orders {status}" in said
    assert sentence in said
    tone = {Status.PASS: "good", Status.FAIL: "bad", Status.INCONCLUSIVE: "unknown"}[status]
    assert f'<use href="#icon-{tone}"/></svg>{status}' in page
    assert f"<title>{status} at 17:46:40 UTC - orders</title>" in page
    assert 'rel="icon" id="favicon" href="data:image/svg+xml;base64,' in page


def test_the_icons_of_the_verdicts_differ() -> None:
    pages = [html_of(with_status(snapshot_of(good_records()), status)) for status in Status]
    icons = {re.findall(r'id="favicon" href="([^"]+)"', page)[0] for page in pages}
    assert len(icons) == len(Status)


def test_it_says_until_when_why_and_what_to_do_next() -> None:
    page = rendered(troubled_records())
    said = part(page, "verdict")
    assert "valid until 17:46:55 UTC" in said
    assert "Confirmed differences: 1 open" in said
    assert "auditor findings list --state confirmed" in said


def test_a_person_is_asked_for() -> None:
    page = html_of(with_status(snapshot_of(good_records()), Status.INCONCLUSIVE, needs_person=True))
    assert "A person is needed." in part(page, "verdict")


def test_more_reasons_than_fit_are_counted_and_listed_below() -> None:
    page = html_of(with_status(snapshot_of({}), Status.INCONCLUSIVE, reasons=tuple(f"reason {n}" for n in range(20))))
    assert "reason 7 and 12 more, in the table of conditions" in part(page, "verdict")


def test_every_condition_is_listed_and_those_that_close_come_first() -> None:
    outcomes = snapshot_of(troubled_records()).verdict.conditions
    table = sections.conditions(outcomes)
    assert {row[0].text for row in table.rows} == {outcome.name for outcome in outcomes}
    tones = [row[1].tone for row in table.rows]
    assert tones == sorted(tones, key=lambda tone: [Tone.BAD, Tone.UNKNOWN, Tone.GOOD].index(tone or Tone.PLAIN))


def test_without_a_script_the_page_comes_again_and_takes_its_verdict_back() -> None:
    page = rendered(good_records())
    assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page
    assert "expires-10" in page
    assert "NOT KNOWN Not live since 17:46:40 UTC." in part(page, "verdict")


@pytest.mark.parametrize(("seconds", "expires"), [(60, 30), (15, 10), (5, 5), (1, 2)])
def test_the_style_sheet_knows_when_a_verdict_ends(seconds: float, expires: int) -> None:
    snapshot = snapshot_of(good_records())
    ending = replace(snapshot.verdict, valid_until=snapshot.verdict.evaluated_at + seconds)
    assert f"expires-{expires}" in html_of(replace(snapshot, verdict=ending))


# What is not known is said to be so.


def test_without_any_record_nothing_is_claimed() -> None:
    page = rendered({})
    assert "INCONCLUSIVE" in part(page, "verdict")
    assert "Not known: no table was swept yet" in part(page, "coverage")
    assert "Not known: the checklist was not gone through yet." in part(page, "preflight")
    assert "not known" in part(page, "slots")
    assert "No delay was measured in the last ten minutes." in page
    assert "lag, p95 not known" in part(page, "lag")
    assert "never heard" in part(page, "processes")
    for word in ("PASS", "alive", "in order"):
        assert word not in part(page, "processes") + part(page, "preflight") + part(page, "slots")


def test_findings_that_were_not_read_are_not_none() -> None:
    table = sections.findings([], replace(evidence_of(), findings=None))
    assert (table.rows, table.summary) == ((), "not known")
    assert table.empty.startswith("Not known")


def test_alerts_that_are_not_known_are_not_none() -> None:
    assert sections.alerts(None).empty == "Not known."
    assert sections.alerts(()).empty == "None fires."
    (row,) = sections.alerts([AlertSeen("a1", "TargetDiskFilling", "warning", NOW)]).rows
    assert row[0].text == "TargetDiskFilling"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error": "connection refused"}, "connection refused"),
        ({"items": None}, "its record cannot be read"),
        ({"at": NOW - 4000}, "was last looked at 1 h 6 min ago"),
        ({"at": None}, "was not looked at yet"),
    ],
)
def test_a_group_of_the_checklist_that_is_not_known_is_named(change: Mapping[str, Any], words: str) -> None:
    evidence = evidence_of()
    lost = replace(evidence.probes["slots"], **change)
    table = sections.preflight(replace(evidence, probes={**evidence.probes, "slots": lost}), NOW)
    row = next(row for row in table.rows if row[0].text == "slots")
    assert (row[1].tone, row[2].text) == (Tone.UNKNOWN, words)


def test_a_group_nobody_looked_at_is_named() -> None:
    evidence = evidence_of()
    probes = {name: seen for name, seen in evidence.probes.items() if name != "drift"}
    assert ("drift", "was not looked at yet") in [
        (row[0].text, row[2].text) for row in sections.preflight(replace(evidence, probes=probes), NOW).rows
    ]


def test_what_warns_and_blocks_is_listed_the_worst_first_and_what_is_in_order_is_counted() -> None:
    items = (
        Item("fine", ItemStatus.OK, "none found"),
        Item("odd", ItemStatus.WARN, "settings differ", "look at them", ("work_mem",), 3),
        Item("bad", ItemStatus.BLOCKS_CORRECTNESS, "an unknown slot", "drop it", ("etl",), 1),
    )
    evidence = evidence_of()
    probes = {**evidence.probes, "slots": ProbeSeen("slots", NOW, 1, None, items)}
    table = sections.preflight(replace(evidence, probes=probes), NOW)
    assert [row[0].text for row in table.rows] == ["bad", "odd"]
    assert table.rows[1][2].note == "work_mem and 2 more"
    assert table.summary.startswith("1 block, 1 warn, ")


# Tables, findings, slots, processes.


def test_coverage_lists_the_worst_first_with_sums() -> None:
    records = troubled_records()
    snapshot = snapshot_of(records)
    table = sections.coverage(snapshot.evidence, snapshot.verdict.coverage, NOW)
    assert [row[0].text for row in table.rows][:2] == ["public.orders", "public.events"]
    assert [row[1].text for row in table.rows][:2] == ["swept, rows differ", "not swept yet"]
    assert table.summary == "7 of 8 tables swept"
    assert table.total[0][2].text == f"{sum(records[key]['rows'] for key in records if key.startswith('coverage/')):,}"


def test_long_lists_end_with_how_many_more_and_the_command() -> None:
    page = rendered(large_records(tables=400, findings=1000))
    assert "and 350 more: auditor coverage" in part(page, "coverage")
    assert "and 950 more: auditor findings list" in part(page, "findings")
    assert "1,000 confirmed" in part(page, "findings")
    assert len(re.findall(r'<th scope="row">', page)) < 4 * LISTED


def test_findings_show_keys_only_as_hashes() -> None:
    record = suspect(state="confirmed", keys=[{"hash": "cd" * 16, "clear": {"id": "4242"}}])
    page = rendered({**good_records(), f"suspect/{record['id']}": record})
    assert "cdcdcdcdcdcd" in part(page, "findings")
    assert "4242" not in page


def test_an_open_finding_stands_before_a_suspect_and_healed_ones_are_counted() -> None:
    records = {
        "suspect/f_1": suspect("f_1", NOW),
        "suspect/f_2": suspect("f_2", NOW - 50, state="confirmed"),
        "suspect/f_3": suspect("f_3", NOW),
        "settled/f_3": {"state": "healed", "settled_at": NOW},
    }
    table = sections.findings(merged_findings(records, NOW), evidence_of())
    assert [row[0].text for row in table.rows] == ["f_2", "f_1"]
    assert table.summary == "1 confirmed, 1 suspected; 1 healed, 0 accepted"


def test_slots_of_others_are_listed_with_what_the_probe_says_of_them() -> None:
    said = part(rendered(troubled_records()), "slots")
    assert "auditor_orders_x exists source: ours, holds back 4 KiB" in said
    assert "slots-known blocks-correctness" in said
    assert "etl_legacy unknown source: logical wal2json" in said
    assert "those of others hold back up to 700 MiB" in said


def test_a_lost_slot_of_ours_is_bad_news() -> None:
    records = good_records()
    records["sampler/source"]["slot"] |= {"wal_status": "lost"}
    assert "WAL lost" in part(rendered(records), "slots")


def test_an_override_is_shown_with_owner_reason_and_end() -> None:
    said = part(rendered(troubled_records()), "overrides")
    assert "marker-ms dana in force" in said
    assert "cross-region link, agreed in CHG-1042" in said


def test_a_silent_process_is_named_with_its_trouble() -> None:
    records = good_records()
    records["process/core"] |= {"heartbeat": NOW - 60, "error": "the disk is full"}
    assert "core silent 1 min 0 s ago the disk is full" in part(rendered(records), "processes")


# Names from the user's catalog.


def test_names_are_escaped_and_what_does_not_show_is_spelled_out() -> None:
    records = good_records()
    for name in (MARKUP, ODD):
        records[f"coverage/{name}"] = covered(name, reason=name)
        records["sampler/target"]["scope"].append({"table": name, "state": "audited", "reason": "", "since": 0})
    records["suspect/f_1"] = suspect("f_1", state="confirmed", table=MARKUP)
    page = rendered(records)
    assert "<script>alert" not in page
    assert "public.&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert r"public.\u{202e}evil\u{200b}\u{0007}\u{d800}" in page
    page.encode()


def test_the_only_script_and_style_are_files_of_the_gate() -> None:
    page = rendered(troubled_records(), waving_pulse())
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/console/console.js" defer>']
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert not re.search(r'(?:href|src)="(?:https?:)?//', page)


@pytest.mark.parametrize(
    ("name", "shown"), [("öäü 表 имя", "öäü 表 имя"), ("a\u2028b", r"a\u{2028}b"), ("a\nb", "a\nb")]
)
def test_readable_names_stay_as_they_are(name: str, shown: str) -> None:
    assert printable(name) == shown


# Figures.


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ms", "not known"), (0, "findings", "0 findings"), (1, "findings", "1 finding"),
        (1, "ms", "1 ms"), (1, "seconds", "1 s"), (2.345, "ms", "2.35 ms"),
        (86400, "seconds", "86,400 s"), (0.9961, "share", "0.996"),
        (1 << 20, "bytes", "1 MiB"), (1536, "bytes", "1.5 KiB"), (5 << 50, "bytes", "5,120 TiB"),
    ],
)  # fmt: skip
def test_figures_have_their_unit(value: float | None, unit: str, text: str) -> None:
    assert figure(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "not known"), (-1, "0.0 s"), (9.94, "9.9 s"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"),
     (200_000, "2 d 7 h")],
)  # fmt: skip
def test_ages_have_two_units_at_most(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


# The ring and its chart.


def test_the_ring_forgets_and_takes_no_more_than_it_needs() -> None:
    pulse, snapshot = Pulse(), snapshot_of(good_records())
    for tick in range(6000):
        status = Status.FAIL if tick % 10 == 0 else Status.PASS
        verdict = replace(snapshot.verdict, evaluated_at=NOW + tick / 5, status=status)
        pulse.note(verdict, good_records(NOW + tick / 5))
    assert len(pulse.points) <= KEEP_SECONDS / 2 + 1
    assert pulse.points[-1].at - pulse.points[0].at >= KEEP_SECONDS - 2
    assert len(pulse.changes) == CHANGES
    assert [change.status for change in pulse.changes][-2:] == [Status.FAIL, Status.PASS]


def test_a_delay_that_was_said_long_ago_is_not_the_delay_of_now() -> None:
    records = good_records()
    assert point_of(records, NOW) == Point(NOW, 0.4, 2.0, 1.0)
    assert point_of(records, NOW + 60) == Point(NOW + 60)
    assert point_of(records, NOW - 60) == Point(NOW - 60)


@pytest.mark.parametrize(
    "record", [None, [], {"at": "x"}, {"at": NOW, "lag_ms": 3}, {"at": NOW, "lag_ms": {"p50": "x"}}]
)
def test_a_delay_that_cannot_be_read_is_not_known(record: Any) -> None:
    assert point_of({"sampler/target": record}, NOW) == Point(NOW)


def test_a_line_breaks_where_nobody_measured() -> None:
    points = [Point(NOW - 20, 1, 1, 1), Point(NOW - 18, 1, 1, 1), Point(NOW - 16), Point(NOW - 2, 1, 1, 1)]
    assert [line.path.count("M") for line in chart_of(points, 10, NOW).lines] == [2, 2, 2]
    far = [Point(NOW - 200, 1, 1, 1), Point(NOW, 1, 1, 1)]
    assert chart_of(far, 10, NOW).lines[0].path.count("M") == 2


def test_the_chart_says_in_words_what_it_draws() -> None:
    chart = chart_of(waving_pulse().points, 10, NOW)
    assert chart.described.startswith("Delays of the last ten minutes. Now: lag, p95 ")
    assert len(chart.table.rows) == 10
    assert chart.table.rows[0][0].text == "the last minute"
    assert chart.table.rows[-1][0].text == "10 minutes ago"
    assert chart.limit is not None
    assert chart_of(waving_pulse().points, 1000, NOW).limit is None


@pytest.mark.parametrize("value", [0, 1e-9, 0.4, 1, 99, 1e12])
def test_every_figure_fits_into_the_chart(value: float) -> None:
    points = [Point(NOW - 4, value, value, value), Point(NOW - 2, value, value, value)]
    heights = [float(y) for _, y in re.findall(r"[ML]([\d.]+) (-?[\d.]+)", chart_of(points, None, NOW).lines[0].path)]
    assert len(heights) == 2
    assert all(0 <= height <= 100 for height in heights)


def test_the_history_tells_changes_newest_first() -> None:
    pulse, snapshot = Pulse(), snapshot_of(good_records())
    for number, status in enumerate((Status.INCONCLUSIVE, Status.PASS, Status.PASS, Status.FAIL)):
        verdict = replace(snapshot.verdict, evaluated_at=NOW + number, status=status, reasons=(f"because {number}",))
        pulse.note(verdict, {})
    table = sections.history(pulse.changes, NOW)
    assert [row[1].text for row in table.rows] == ["FAIL", "PASS", "INCONCLUSIVE"]
    assert table.rows[0][2].text == "because 3"


def test_the_log_of_verdicts_goes_before_what_was_seen_since() -> None:
    pulse, snapshot = Pulse(), snapshot_of(good_records())
    pulse.note(replace(snapshot.verdict, status=Status.PASS), {})
    said = [(-50, "FAIL"), (-40, "FAIL"), (-30, "INCONCLUSIVE"), (-20, "PASS"), (5, "FAIL"), (-10, "odd")]
    entries = [entry(NOW + at, {"verdict": word, "reasons": [f"at {at}"]}) for at, word in said]
    pulse.recall([*entries, entry(NOW - 5, {}, Kind.STARTED), entry(NOW - 5, {"verdict": "FAIL", "reasons": None})])
    assert [(change.at - NOW, str(change.status)) for change in pulse.changes] == [
        (-50, "FAIL"), (-30, "INCONCLUSIVE"), (-20, "PASS")
    ]  # fmt: skip


def entry(at: float, body: Mapping[str, Any], kind: Kind = Kind.VERDICT) -> Entry:
    return Entry(1, None, at, kind, "v_0000000000000001", body, "")


# Served.


class Watched:
    """A gate that says what the test put in."""

    migration = "orders"
    cutover = None

    def __init__(self) -> None:
        self.snapshot = snapshot_of(good_records())
        self.listed: list[Finding] = []
        self.log: list[Entry] | None = []

    def current(self) -> Snapshot:
        return self.snapshot

    def findings(self) -> list[Finding]:
        return self.listed

    def records(self) -> Mapping[str, Mapping[str, Any]]:
        return {}

    async def changed(self, number: int, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return False

    async def history(self, limit: int, before: int | None) -> History:
        if self.log is None:
            raise StoreUnavailable("the disk is gone")
        return History(tuple(self.log))


async def test_many_viewers_cost_one_rendering_and_a_change_makes_another() -> None:
    gate, app = Watched(), web.Application()
    register(app, gate)
    renderer = app[CONSOLE].renderer
    renderer.FRESH_SECONDS = 3600
    async with TestClient(TestServer(app)) as client:
        for _ in range(50):
            answer = await client.get("/console/fragment")
            assert "PASS" in await answer.text()
        assert renderer.rendered == 1
        gate.snapshot = with_status(replace(gate.snapshot, number=2), Status.FAIL)
        assert "The gate is closed" in await (await client.get("/console/fragment")).text()
        assert "<title>FAIL" in await (await client.get("/")).text()
        assert renderer.rendered == 2


def test_what_was_rendered_is_made_again_after_a_second() -> None:
    now, snapshot = [0.0], snapshot_of(good_records())
    renderer, made = Renderer(lambda: now[0]), []

    def make() -> Any:
        made.append(1)
        return page_of(snapshot, [], Pulse(), NOW)

    for moment in (0.0, 0.9, 1.1, 1.2):
        now[0] = moment
        renderer.current(snapshot, make)
    assert len(made) == 2


@pytest.mark.parametrize("away", [False, True])
async def test_the_history_of_before_is_recalled_and_a_log_that_is_away_stops_nothing(away: bool) -> None:
    gate, app = Watched(), web.Application()
    gate.log = None if away else [entry(NOW - 60, {"verdict": "FAIL", "reasons": ["a difference"]})]
    register(app, gate)
    async with TestClient(TestServer(app)) as client:
        await wait_for_async(lambda: len(app[CONSOLE].pulse.changes) == 2 - away, 5, "the history")
        page = await (await client.get("/")).text()
        assert ("FAIL a difference" in part(page, "history")) is not away


async def test_answers_forbid_frames_scripts_of_others_and_caching() -> None:
    app = web.Application()
    register(app, Watched())
    async with TestClient(TestServer(app)) as client:
        for path in ("/", "/console/fragment", "/console/console.js", "/console/console.css"):
            answer = await client.get(path)
            assert answer.status == 200
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Cache-Control"] in ("no-store", "no-cache")
        for path in ("/console/routes.py", "/console/..%2froutes.py", "/console/templates/page.html"):
            assert (await client.get(path)).status == 404


def test_all_parts_of_the_page_are_installed() -> None:
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    parts = [file.name for folder in ("templates", "static") for file in (HERE / folder).iterdir()]
    assert parts
    assert [name for name in parts if not any(fnmatch(name, pattern) for pattern in patterns)] == []


async def test_an_answer_says_for_how_long_its_verdict_holds() -> None:
    gate, app = Watched(), web.Application()
    gate.snapshot = replace(gate.snapshot, made=time.monotonic() - 60)
    register(app, gate)
    async with TestClient(TestServer(app)) as client:
        old = await client.get("/console/fragment")
        assert old.headers["X-Remaining-Seconds"] == "0.000"
    assert 'data-remaining="15.000"' in html_of(gate.snapshot)
