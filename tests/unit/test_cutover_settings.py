"""The section `cutover` is read into frozen values, or refused with an error that a person can act on."""

import re
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.cli import main
from auditor.cutover import schema
from auditor.cutover.proxies import _made
from auditor.cutover.settings import (
    ApprovalSettings,
    CutoverSettings,
    EnvoySettings,
    ExecSettings,
    FenceSettings,
    PgBouncerSettings,
    SuiteSettings,
    WebhookSettings,
)
from auditor.settings import load, problems
from comparators.errors import SettingInvalid
from comparators.positions import Side
from orchestrator.adapters.destinations import Destinations
from orchestrator.cutover import STEPS
from orchestrator.proxies import unasked

PROBE = {"dsn": "host=10.0.0.5 port=6432 dbname=app user=control"}
SMALLEST: dict[str, Any] = {
    "migration": "orders",
    "source": {"dsn": "host=10.0.0.1 dbname=app user=auditor"},
    "target": {"dsn": "host=10.0.0.2 dbname=app user=auditor"},
    "replication": {"publication": "app_pub", "subscription": "app_sub"},
    "cutover": {
        "journal": {"dsn": "host=10.0.0.3 dbname=journal user=auditor", "password": "env:JOURNAL_PASSWORD"},
        "control": {
            "source": {"dsn": "host=10.0.0.1 dbname=app user=control"},
            "target": {"dsn": "host=10.0.0.2 dbname=app user=control"},
        },
        "reverse": {"publisher": {"dsn": "host=10.0.0.2 dbname=app user=control", "password": "file:secret"}},
        "proxies": [
            {
                "kind": "pgbouncer",
                "name": "pool-1",
                "admin": {"dsn": "host=10.0.0.5 port=6432 dbname=pgbouncer user=admin"},
                "config": "pgbouncer.ini",
                "databases": ["app"],
                "places": {"source": "host=10.0.0.1 port=5432", "target": "host=10.0.0.2 port=5432"},
                "probe": PROBE,
            }
        ],
    },
}
ENVOY = {
    "kind": "envoy",
    "name": "edge",
    "listen": "127.0.0.1:18000",
    "nodes": ["edge-1", "edge-2"],
    "cluster": "app",
    "reads_cluster": "app-reads",
    "places": {"source": "10.0.0.1:5432", "target": "10.0.0.2:5432"},
    "probes": [PROBE, PROBE],
}
EXEC = {"kind": "exec", "name": "ours", "probe": PROBE} | {
    name: ["/opt/proxy", name] for name in ("hold", "release", "route", "observe")
}
WEBHOOK = {"kind": "webhook", "name": "theirs", "url": "https://proxy.example/v1", "token": "env:T", "probe": PROBE}


def written(folder: Path, document: dict[str, Any]) -> Path:
    file = folder / "auditor.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return file


def changed(**changes: Any) -> dict[str, Any]:
    """Give the smallest document with other values, by dotted path with `__` for the dots; `...` takes one out."""
    document = deepcopy(SMALLEST)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place: Any = document["cutover"]
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return document


def read(folder: Path, document: dict[str, Any]) -> CutoverSettings:
    cutover = load(written(folder, document)).cutover
    assert cutover is not None
    return cutover


def test_a_migration_without_the_section_is_audited_only(tmp_path: Path) -> None:
    document = {name: value for name, value in SMALLEST.items() if name != "cutover"}
    assert load(written(tmp_path, document)).cutover is None


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    cutover = read(tmp_path, SMALLEST)
    assert cutover.journal.dsn == "host=10.0.0.3 dbname=journal user=auditor"
    assert cutover.control[Side.TARGET].dsn == "host=10.0.0.2 dbname=app user=control"
    assert cutover.publisher.password is not None
    assert cutover.publisher.password.reference == f"file:{tmp_path / 'secret'}"
    (pool,) = cutover.proxies
    assert isinstance(pool, PgBouncerSettings)
    assert pool.config == tmp_path / "pgbouncer.ini"
    assert dict(pool.places) == {Side.SOURCE: "host=10.0.0.1 port=5432", Side.TARGET: "host=10.0.0.2 port=5432"}
    assert pool.ask_places
    assert (cutover.hold_budget_ms, cutover.guard_seconds, cutover.lease_seconds) == (750, 3600, 10)
    assert (cutover.fence, cutover.approvals, cutover.suite) == (FenceSettings(), ApprovalSettings(), SuiteSettings())
    assert (cutover.consumers, cutover.hooks, dict(cutover.steps)) == ((), (), {})


def test_a_default_is_the_same_in_the_schema_and_in_the_values(tmp_path: Path) -> None:
    cutover, described = read(tmp_path, SMALLEST), schema.CUTOVER["properties"]
    for name in ("hold_budget_ms", "guard_seconds", "lease_seconds"):
        assert getattr(cutover, name) == described[name]["default"]
    for area in ("approvals", "suite", "fence"):
        for name, one in described[area]["properties"].items():
            given = getattr(getattr(cutover, area), name)
            assert (list(given) if isinstance(given, tuple) else given) == one["default"]


def test_everything_can_be_set(tmp_path: Path) -> None:
    more = {
        "hold_budget_ms": 500,
        "guard_seconds": 0,
        "steps": {"see-marker": 1.5, "open-old": 2},
        "fence": {"keep": ["debezium"], "roles": ["app", "batch"]},
        "consumers": [{"slot": "cdc", "role": "debezium", "pause": ["p"], "resume": ["r"]}],
        "hooks": [
            {"phase": "FENCING", "exec": ["/opt/hook", "now"]},
            {"phase": "GUARDED", "url": "https://deploys.example/", "token": "file:token"},
        ],
        "approvals": {"needed": 2, "valid_seconds": 60},
        "suite": {"reads": [{"name": "one", "sql": "SELECT 1"}], "max_p99_ms": 5, "max_error_share": 0},
        "proxies": [ENVOY | {"ask_places": False}, EXEC, WEBHOOK],
    }
    cutover = read(tmp_path, changed(**more))
    assert cutover.steps == {"see-marker": 1.5, "open-old": 2}
    assert cutover.fence == FenceSettings(("debezium",), ("app", "batch"))
    assert (cutover.consumers[0].plugin, cutover.consumers[0].pause) == ("pgoutput", ("p",))
    assert cutover.hooks[0].exec == ("/opt/hook", "now")
    assert cutover.hooks[1].token is not None
    assert cutover.hooks[1].token.reference == f"file:{tmp_path / 'token'}"
    assert (cutover.approvals.needed, cutover.suite.reads[0].sql) == (2, "SELECT 1")
    edge, ours, theirs = cutover.proxies
    assert isinstance(edge, EnvoySettings)
    assert (edge.nodes, len(edge.probes), edge.reads_cluster) == (("edge-1", "edge-2"), 2, "app-reads")
    assert not edge.ask_places
    assert isinstance(ours, ExecSettings)
    assert ours.route == ("/opt/proxy", "route")
    assert isinstance(theirs, WebhookSettings)
    assert theirs.token is not None


WRONG = {
    "no journal": (changed(journal=...), "cutover.journal: is missing"),
    "no control": (changed(control__target=...), "cutover.control.target: is missing"),
    "no proxies": (changed(proxies=[]), "cutover.proxies: a list is not a list of proxies"),
    "an unknown kind": (changed(proxies__0__kind="pgpool"), "cutover.proxies.0.kind: 'pgpool' is not one of pgbouncer"),
    "a key of another kind": (changed(proxies__0__nodes=["a"]), "cutover.proxies.0.nodes: unknown key"),
    "a key with a slip": (changed(hold_budget=5), "cutover.hold_budget: unknown key; hint: did you mean hold"),
    "a lacking key": (changed(proxies__0__places__target=...), "cutover.proxies.0.places.target: is missing"),
    "an unknown step": (changed(steps={"see-marke": 1}), "cutover.steps: 'see-marke' is not the name of a step"),
    "no seconds": (changed(steps={"see-marker": 0}), "cutover.steps.see-marker: 0 is not a number of seconds above 0"),
    "no budget": (changed(hold_budget_ms=0), "cutover.hold_budget_ms: 0 is not a number of milliseconds"),
    "an odd phase": (changed(hooks=[{"phase": "FENCE", "exec": ["x"]}]), "hooks.0.phase: 'FENCE' is not the name of"),
    "a hook of two kinds": (changed(hooks=[{"phase": "FENCING", "exec": ["x"], "url": "http://x"}]), "hooks.0: needs"),
    "a hook of no kind": (changed(hooks=[{"phase": "FENCING"}]), "hooks.0: needs either exec or url"),
    "a token for a program": (
        changed(hooks=[{"phase": "FENCING", "exec": ["x"], "token": "env:T"}]),
        "cutover.hooks.0.token: goes with url only",
    ),
    "the journal on a side": (
        changed(journal={"dsn": "host=10.0.0.1 dbname=app user=control"}),
        "cutover.journal.dsn: is one of the two sides",
    ),
    "one side twice": (
        changed(control__target={"dsn": "host=10.0.0.1 dbname=app user=control"}),
        "cutover.control: names the same database for both sides",
    ),
    "one place twice": (
        changed(proxies__0__places__target="host=10.0.0.1 port=5432"),
        "cutover.proxies.0.places: lead to the same server for both sides",
    ),
    "neither yes nor no": (changed(proxies__0__ask_places="no"), "ask_places: 'no' is not true or false"),
    "places of which none are": (changed(proxies=[EXEC | {"ask_places": False}]), "proxies.0.ask_places: unknown key"),
    "two names alike": (changed(proxies=[EXEC, EXEC]), "cutover.proxies: 'ours' is there twice"),
    "too few probes": (changed(proxies=[ENVOY | {"probes": [PROBE]}]), "cutover.proxies.0.probes: are 1 for 2 nodes"),
    "one cluster for both": (changed(proxies=[ENVOY | {"reads_cluster": "app"}]), "reads_cluster: is the cluster of"),
    "a role twice": (changed(fence={"keep": ["a"], "roles": ["a"]}), "cutover.fence: 'a' is both kept and fenced"),
    "a slot twice": (
        changed(consumers=[{"slot": "s", "role": "r", "pause": ["p"], "resume": ["r"]}] * 2),
        "cutover.consumers: 's' is there twice",
    ),
    "a place that is none": (changed(proxies__0__places__source="10.0.0.1"), "cutover.proxies.0.places.source: (not"),
    "a read twice": (changed(suite={"reads": [{"name": "a", "sql": "x"}] * 2}), "cutover.suite.reads: 'a' is there"),
    "a dsn that is none": (changed(proxies__0__probe__dsn="nowhere"), "cutover.proxies.0.probe.dsn: (not shown)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, case: str) -> None:
    document, said = WRONG[case]
    path, hinted = said.partition("; hint: ")[::2]
    with pytest.raises(SettingInvalid, match=re.escape(path)) as refused:
        load(written(tmp_path, document))
    assert hinted in refused.value.hint


@pytest.mark.parametrize(
    "document",
    [
        changed(journal={"dsn": "host=10.0.0.3 dbname=journal password=hunter22", "password": "env:A"}),
        changed(proxies__0__admin={"dsn": "host=a password=hunter22", "password": "hunter22"}),
        changed(proxies__0__places__source="host=10.0.0.1 password=hunter22"),
        changed(proxies=[WEBHOOK | {"token": "hunter22"}]),
        changed(hooks=[{"phase": "FENCING", "url": "https://x", "token": "hunter22"}]),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(tmp_path: Path, document: dict[str, Any]) -> None:
    _, found = problems(written(tmp_path, document))
    assert found
    assert "hunter22" not in "".join(f"{one.path}{one.text}{one.hint}" for one in found)


def test_every_secret_is_read_when_it_is_asked_for_and_the_audit_needs_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_PASSWORD", "x" * 8)
    (tmp_path / "secret").write_text("y" * 8)
    file = written(tmp_path, changed(proxies=[WEBHOOK]))
    load(file).check_secrets()
    assert main(["config", "validate", "--secrets", "-c", str(file)]) == 2
    assert "cutover.proxies.0.token: the environment has no T" in capsys.readouterr().err
    monkeypatch.setenv("T", "z" * 8)
    assert main(["config", "validate", "--secrets", "-c", str(file)]) == 0


def test_every_step_may_have_a_deadline_of_its_own() -> None:
    assert {step.name for step in STEPS} <= set(schema.CUTOVER["properties"]["steps"]["propertyNames"]["enum"])


@pytest.mark.parametrize("one", [SMALLEST["cutover"]["proxies"][0], ENVOY], ids=["pgbouncer", "envoy"])
def test_places_are_asked_unless_the_configuration_says_otherwise(tmp_path: Path, one: dict[str, Any]) -> None:
    for number, ask in enumerate((True, False)):
        folder = tmp_path / str(number)
        folder.mkdir()
        settings = read(folder, changed(proxies=[one | {"ask_places": ask}]))
        with ExitStack() as stack:
            (proxy,) = _made(settings.proxies, Destinations({}), tuple, lambda: True, stack)
            assert ask is proxy.places_asked


def test_of_a_proxy_that_names_no_places_none_are_asked(tmp_path: Path) -> None:
    places = {"source": "host=10.0.0.1", "target": "host=10.0.0.2"}
    settings = read(tmp_path, changed(proxies=[EXEC, EXEC | {"name": "told", "places": places}]))
    with ExitStack() as stack:
        made = _made(settings.proxies, Destinations({}), tuple, lambda: True, stack)
        assert ["ours"] == unasked(list(made))
