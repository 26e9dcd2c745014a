"""A configuration file is read into frozen values, or refused with an error that a person can act on."""

import dataclasses
import json
import re
import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from auditor.accepted_differences import load_accepted
from auditor.commands.config import example
from auditor.evidence_key import evidence_key
from auditor.mapping_file import load_mapping
from auditor.quantities import parse_seconds
from auditor.schema import SCHEMA
from auditor.settings import (
    EvidenceSettings,
    ExportSettings,
    GateSettings,
    Names,
    NudgeSettings,
    ObjectLock,
    ProbeSettings,
    SecretRef,
    Settings,
    SideSettings,
    TableScope,
    load,
    problems,
)
from auditor.supervisor import supervise
from comparators.errors import SettingInvalid
from orchestrator.conditions import CONDITIONS

DOCS = Path(__file__).parents[2] / "docs"
SMALLEST = """
migration: orders
source: {dsn: "host=10.0.0.1 dbname=app user=auditor", password: "env:SOURCE_PASSWORD"}
target: {dsn: "host=10.0.0.2 dbname=app user=auditor", password: "file:/run/secrets/target"}
replication: {mode: native, publication: app_pub, subscription: app_sub}
"""
KAFKA = "transport: {kafka: {bootstrap: 'a:1, b:2', options: {%s}}}"


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "auditor.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def smallest(**changes):
    document = yaml.safe_load(SMALLEST) | changes
    return yaml.safe_dump(document, allow_unicode=True)


def test_five_lines_are_enough_and_the_rest_has_a_default(written, tmp_path):
    settings = load(written(SMALLEST))
    assert settings.migration == "orders"
    assert settings.replication.publications == ("app_pub",)
    assert settings.state_dir == tmp_path / ".auditor/orders"
    assert settings.transport is None
    assert settings.partitions == 2
    given_nothing = Settings(
        settings.migration, settings.source, settings.target, settings.replication, settings.state_dir
    )
    assert settings == given_nothing


def test_a_default_is_the_same_in_the_schema_and_in_the_values():
    def defaults(*path):
        node = SCHEMA
        for key in path:
            options = node.get("anyOf", [node])
            node = next(one["properties"][key] for one in options if "properties" in one)
        return node["default"]

    assert (list(TableScope().include), list(TableScope().exclude)) == (
        defaults("tables", "include"),
        defaults("tables", "exclude"),
    )
    fields = {field.name: field.default for field in dataclasses.fields(Settings)}
    assert fields["sampling_rate"] == defaults("sampling", "rate")
    assert fields["window_ms"] == defaults("window_ms")
    assert fields["wal_budget_bytes"] == defaults("wal_budget_bytes")
    for area, values in (("gate", GateSettings()), ("evidence", EvidenceSettings()), ("nudge", NudgeSettings())):
        for name in SCHEMA["properties"][area].get("properties", {"mode": None, "interval_ms": None}):
            if name not in ("limits", "key", "tokens", "tls", "rate_limit", "overrides", "export") and name != "mode":
                assert getattr(values, name) == defaults(area, name)
    assert list(GateSettings().tokens) == defaults("gate", "tokens")
    assert list(GateSettings().overrides) == defaults("gate", "overrides")
    assert ProbeSettings().enabled == defaults("probes", "enabled")
    assert dict(ProbeSettings().known_slots) == defaults("probes", "known_slots")
    assert list(ProbeSettings().known_writers) == defaults("probes", "known_writers")
    assert parse_seconds(defaults("evidence", "export", "every")) == ExportSettings().every_seconds
    for name in ("mode", "days"):
        assert getattr(ObjectLock(), name) == defaults("evidence", "export", "object_lock", name)
    rate = GateSettings().rate_limit
    for name in ("requests_per_second", "burst"):
        assert getattr(rate, name) == defaults("gate", "rate_limit", name)


def test_the_limits_are_those_of_the_conditions():
    limits = SCHEMA["properties"]["gate"]["properties"]["limits"]["properties"]
    known = {condition.name: condition.limit for condition in CONDITIONS if condition.name != "slots-in-budget"}
    assert {name: one["default"] for name, one in limits.items()} == known


def test_everything_can_be_set(written, tmp_path):
    text = (
        SMALLEST.replace("app_pub", "[p1, p2]").replace("app_sub", "[s1]")
        + """
tables: {include: [public.*, "Shop.*"], exclude: public.audit_*}
sampling: {rate: 1}
window_ms: 7.5
transport:
  kafka:
    bootstrap: ["a:1", "b:2,c:3"]
    partitions: 8
    replication_factor: 3
    options: {security_protocol: SASL_SSL, sasl_plain_password: env:KP, ssl_cafile: ca.pem, ssl_check_hostname: false}
state_dir: state
gate: {listen: "[::1]:99", limits: {lag-ms: 20, open-findings: 0}, dwell_seconds: 0, valid_seconds: 1.5}
evidence: {values: deny, keys: clear, key: file:key}
nudge: {mode: on, interval_ms: 2}
wal_budget_bytes: 512MiB
"""
    )
    settings = load(written(text))
    assert settings.replication.publications == ("p1", "p2")
    assert settings.tables.selects("Shop.a")
    assert not settings.tables.selects("public.audit_1")
    assert not settings.tables.selects("shop.a")
    assert settings.sampling_rate == 1
    assert settings.transport is not None
    assert settings.transport.bootstrap == ("a:1", "b:2", "c:3")
    assert (settings.transport.partitions, settings.partitions, settings.transport.replication_factor) == (8, 8, 3)
    assert settings.transport.options["ssl_cafile"] == str(tmp_path / "ca.pem")
    assert settings.state_dir == tmp_path / "state"
    assert not settings.state_dir.exists()
    assert (settings.gate.host, settings.gate.port, settings.gate.url) == ("::1", 99, "http://[::1]:99")
    assert dict(settings.gate.limits) == {"lag-ms": 20, "open-findings": 0}
    assert settings.evidence.key == SecretRef(f"file:{tmp_path / 'key'}")
    assert settings.nudge == NudgeSettings("on", 2)
    assert settings.wal_budget_bytes == 512 << 20


@pytest.mark.parametrize(
    ("text", "mode"), [("nudge: on", "on"), ("nudge: off", "off"), ("nudge: auto", "auto"), ("nudge: 'on'", "on")]
)
def test_on_and_off_are_words_here_and_no_booleans(written, text, mode):
    assert load(written(SMALLEST + text)).nudge.mode == mode


BAD = [
    ("sampling: {rate: 2}", "sampling.rate: 2 is not a share between 0 and 1"),
    ("sampling: {rate: 0}", "sampling.rate: 0 is not a share between 0 and 1"),
    ("sampling: {rate: .nan}", "sampling.rate: nan is not a number that can be used"),
    ("sampling: {rate: true}", "sampling.rate: true is not a share between 0 and 1"),
    ("sampling: {rate: '0.5'}", "sampling.rate: '0.5' is not a share between 0 and 1"),
    ("sampling: 0.5", "sampling: 0.5 is not a mapping of keys to values"),
    ("sampling: {rte: 0.5}", "sampling.rte: unknown key"),
    ("sampling:", "sampling: nothing is not a mapping"),
    ("windowms: 5", "windowms: unknown key"),
    ("window_ms: 0", "window_ms: 0 is not a number of milliseconds above 0"),
    ("window_ms: .inf", "window_ms: inf is not a number that can be used"),
    ("transport: kafka", "transport: 'kafka' is not memory or {kafka: {bootstrap: ...}}"),
    ("transport: {kafka: {}}", "transport.kafka.bootstrap: is missing"),
    ("transport: {rabbit: {}}", "transport.rabbit: unknown key"),
    ("transport: {kafka: {bootstrap: a}}", "transport.kafka.bootstrap: 'a' is not host:port"),
    ("transport: {kafka: {bootstrap: [a:1, b]}}", "transport.kafka.bootstrap.1: 'b' is not host:port"),
    ("transport: {kafka: {bootstrap: 'a:0'}}", "transport.kafka.bootstrap: 'a:0' has no port"),
    ("transport: {kafka: {bootstrap: 'a:1', partitions: 0}}", "transport.kafka.partitions: 0 is not a whole number"),
    (
        "transport: {kafka: {bootstrap: 'a:1', partitions: 1.5}}",
        "transport.kafka.partitions: 1.5 is not a whole number",
    ),
    (KAFKA % "sasl_password: env:A", "transport.kafka.options.sasl_password: unknown key"),
    (KAFKA % "security_protocol: TLS", "transport.kafka.options.security_protocol: 'TLS' is not PLAINTEXT"),
    ("gate: {listen: '8432'}", "gate.listen: '8432' is not host:port"),
    ("gate: {listen: 'localhost:0'}", "gate.listen: 'localhost:0' has no port between 1 and 65535"),
    ("gate: {listen: 'localhost:65536'}", "gate.listen: 'localhost:65536' has no port"),
    ("gate: {valid_seconds: 0}", "gate.valid_seconds: 0 is not a number of seconds above 0"),
    ("gate: {dwell_seconds: -1}", "gate.dwell_seconds: -1 is not a number of seconds, 0 or more"),
    ("gate: {limits: {lag_ms: 5}}", "gate.limits.lag_ms: unknown key"),
    ("gate: {limits: {lag-ms: -5}}", "gate.limits.lag-ms: -5 is not a number of 0 or more"),
    ("gate: {limits: {in-window-share: 99}}", "gate.limits.in-window-share: 99 is not a share between 0 and 1"),
    ("gate: {limits: {open-findings: 1}}", "gate.limits.open-findings: 1 is not 0; confirmed findings"),
    ("gate: {limits: {slots-in-budget: 1}}", "gate.limits.slots-in-budget: is not a limit of its own"),
    ("evidence: {values: allow}", "evidence.values: 'allow' is not deny"),
    ("evidence: {keys: plain}", "evidence.keys: 'plain' is not hash or clear"),
    ("nudge: sometimes", "nudge: 'sometimes' is not auto, on, off"),
    ("nudge: {mode: 3}", "nudge.mode: 3 is not auto, on or off"),
    ("tables: {include: orders}", "tables.include: 'orders' is not a pattern on"),
    ("tables: {include: []}", "tables.include: a list is not a pattern on"),
    ("tables: {only: [a.b]}", "tables.only: unknown key"),
    ("wal_budget_bytes: 1XB", "wal_budget_bytes: '1XB' is not a size"),
    ("wal_budget_bytes: 1000", "wal_budget_bytes: 1000 is less than 1 MiB"),
    ("wal_budget_bytes: -1", "wal_budget_bytes: -1 is not a size"),
    ("state_dir: ''", "state_dir: '' is not a path"),
    ('state_dir: "a\\nb"', "state_dir: (not shown) holds a line end"),
    ("7: 8", "7: is a key that is not text"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[text for text, _ in BAD])
def test_a_bad_value_is_named_with_file_path_value_and_reason(written, text, message):
    file = written(SMALLEST + text)
    with pytest.raises(SettingInvalid) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: {message}")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"migration": "Orders"}, "migration: 'Orders' is not a name of 1 to 40 letters"),
        ({"migration": "a" * 41}, "migration: 'aaaa"),
        ({"migration": "orders\n"}, "migration: (not shown) holds a line end"),
        ({"migration": 3}, "migration: 3 is not a name"),
        ({"replication": {"publication": "p"}}, "replication.subscription: is missing"),
        ({"replication": {"publication": [], "subscription": "s"}}, "replication.publication: a list is not the name"),
        ({"replication": {"publication": " ", "subscription": "s"}}, "replication.publication: ' ' is not the name"),
        ({"replication": {"publication": ["p", "p"], "subscription": "s"}}, "replication.publication: 'p' is named"),
        ({"replication": {"publication": "p", "subscription": "s", "mode": "odd"}}, "replication.mode: 'odd' is not"),
        ({"source": {}}, "source.dsn: is missing"),
        ({"source": {"dsn": "host"}}, "source.dsn: (not shown) is not a connection string"),
        ({"source": {"dsn": " "}}, "source.dsn: (not shown) is empty"),
        (
            {"source": {"dsn": "host=a password=b", "password": "env:A"}},
            "source.password: is given here and in the dsn",
        ),
    ],
    ids=str,
)
def test_a_bad_required_value_is_named(written, changes, message):
    with pytest.raises(SettingInvalid, match=re.escape(message)):
        load(written(smallest(**changes)))


@pytest.mark.parametrize("mode", ["physical", "originless"])
def test_a_mode_to_come_says_that_it_is_not_built_yet(written, mode):
    with pytest.raises(SettingInvalid, match=f"replication.mode: {mode} is not built yet"):
        load(written(SMALLEST.replace("native", mode)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALLEST + "migration: again", "line 6: migration is given twice"),
        (SMALLEST + "gate: {listen: 'a:1', listen: 'b:1'}", "line 6: listen is given twice"),
        ("migration: [", "line 1"),
        ("- a\n- b", "holds no mapping"),
        ("", "holds no mapping"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(written, text, message):
    with pytest.raises(SettingInvalid, match=re.escape(message)):
        load(written(text))


def test_a_file_that_is_not_there_is_named_with_a_way_out(tmp_path):
    with pytest.raises(SettingInvalid, match=r"nowhere\.yaml: no such file") as caught:
        load(tmp_path / "nowhere.yaml")
    assert "auditor config example" in caught.value.hint


def test_everything_wrong_is_listed_at_once(written):
    text = SMALLEST.replace("orders", "Orders") + "sampling: {rate: 2}\nwindow_ms: -1\nodd: 1"
    assert {one.path for one in problems(written(text))[1]} == {"migration", "sampling.rate", "window_ms", "odd"}


@pytest.mark.parametrize(
    "text",
    [
        SMALLEST.replace("env:SOURCE_PASSWORD", "hunter2"),
        SMALLEST.replace("env:SOURCE_PASSWORD", "hunter2: [oops"),
        SMALLEST.replace('"env:SOURCE_PASSWORD"', "[hunter2]"),
        SMALLEST.replace('password: "env:SOURCE_PASSWORD"', "pasword: hunter2"),
        SMALLEST.replace("user=auditor", "user=auditor password=hunter2"),  # and the reference: given twice
        SMALLEST.replace("host=10.0.0.1", "host=10.0.0.1 password='hunter2"),
        SMALLEST.replace('password: "env:SOURCE_PASSWORD"}', "password: hunter2"),
        SMALLEST.replace('{dsn: "host=10.0.0.1 dbname=app user=auditor", ', "host=a password=hunter2 {"),
        SMALLEST + "source_url: postgresql://a:hunter2@b/c",
        SMALLEST + "state_dir: {dsn: 'postgresql://a:hunter2@b/c'}",
        SMALLEST + "transport: 'postgresql://a:hunter2@b/c'",
        SMALLEST + KAFKA % "sasl_plain_password: hunter2",
        SMALLEST + "evidence: {key: hunter2}",
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(written, text):
    with pytest.raises(SettingInvalid) as caught:
        load(written(text))
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in caught.value.hint


def test_a_literal_password_is_told_where_to_go(written):
    with pytest.raises(SettingInvalid, match=r"source\.password") as caught:
        load(written(SMALLEST.replace("env:SOURCE_PASSWORD", "hunter2")))
    assert "env:NAME or file:PATH" in caught.value.hint


def test_no_secret_shows_in_the_settings(written, monkeypatch):
    monkeypatch.setenv("SOURCE_PASSWORD", "hunter2")
    text = SMALLEST.replace(
        'host=10.0.0.2 dbname=app user=auditor", password: "file:/run/secrets/target"', 'host=b password=hunter2"'
    )
    settings = load(written(text))
    settings.check_secrets()
    assert "hunter2" in settings.source.conninfo()
    assert "hunter2" in settings.target.conninfo()
    assert "hunter2" not in f"{settings!r} {settings} {settings.target.shown} {settings.source.shown}"


def test_a_secret_is_read_from_its_place_at_each_use(written, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("first\n")
    settings = load(written(SMALLEST.replace("/run/secrets/target", "secret")))
    assert settings.target.conninfo().endswith("password='first'")
    (tmp_path / "secret").write_text("second \r\n")
    assert settings.target.conninfo().endswith("password='second '")
    monkeypatch.setenv("SOURCE_PASSWORD", "it's")
    assert settings.source.conninfo().endswith("password='it\\'s'")


@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "file:/nowhere/secret", "env:EMPTY", "file:/dev/null"])
def test_a_secret_that_is_not_there_is_named_with_its_setting(written, monkeypatch, reference):
    monkeypatch.setenv("EMPTY", "")
    settings = load(written(SMALLEST.replace("env:SOURCE_PASSWORD", reference)))
    with pytest.raises(SettingInvalid, match=r"auditor\.yaml: source\.password: ") as caught:
        settings.check_secrets()
    assert reference.partition(":")[2] in str(caught.value)


def test_kafka_clients_get_secrets_resolved_and_switches_as_booleans(written, monkeypatch):
    monkeypatch.setenv("KP", "hunter2")
    settings = load(written(SMALLEST + KAFKA % "sasl_plain_password: env:KP, ssl_check_hostname: false"))
    assert settings.transport is not None
    assert settings.transport.client_options() == {"sasl_plain_password": "hunter2", "ssl_check_hostname": False}
    assert "hunter2" not in repr(settings)


@given(st.from_regex("[a-z0-9-]{1,40}", fullmatch=True), st.from_regex("[a-z0-9-]{1,40}", fullmatch=True))
def test_two_migrations_share_no_object_and_names_fit_into_postgres(first, second):
    names = [Names.of(migration) for migration in (first, second)]
    objects = [{n.schema, n.source_slot, n.target_slot, n.publication, n.publication_inserts} for n in names]
    assert all(re.fullmatch("[a-z0-9_]{1,63}", name) for name in objects[0])
    if first != second:
        assert names[0].source_slot != names[1].source_slot
        assert names[0].topics != names[1].topics


def test_the_state_folder_is_private_and_made_on_use(written, tmp_path):
    settings = load(written(SMALLEST))
    assert not settings.state_dir.exists()
    assert stat.S_IMODE(settings.open_state_dir().stat().st_mode) == 0o700
    assert settings.open_state_dir() == settings.state_dir


def test_a_state_folder_that_cannot_be_made_is_named(written, tmp_path):
    (tmp_path / ".auditor").write_text("a file")
    with pytest.raises(SettingInvalid, match="state_dir"):
        load(written(SMALLEST)).open_state_dir()


def test_the_evidence_key_is_made_once_and_only_for_us(written):
    settings = load(written(SMALLEST))
    key = evidence_key(settings)
    assert evidence_key(settings) == key
    assert len(key) == 32
    assert stat.S_IMODE((settings.state_dir / "evidence.key").stat().st_mode) == 0o600
    assert [file.name for file in settings.state_dir.iterdir()] == ["evidence.key"]


def test_a_given_evidence_key_leaves_nothing_behind(written, monkeypatch):
    monkeypatch.setenv("EVIDENCE", "k")
    settings = load(written(SMALLEST + "evidence: {key: env:EVIDENCE}"))
    assert evidence_key(settings) == evidence_key(settings)
    assert not settings.state_dir.exists()


def test_the_configuration_is_the_one_given_else_that_of_the_environment_else_the_one_here(
    written, tmp_path, monkeypatch
):
    file = written(SMALLEST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUDITOR_CONFIG", raising=False)
    assert load().migration == "orders"
    (tmp_path / "other.yaml").write_text(SMALLEST.replace("orders", "other"))
    monkeypatch.setenv("AUDITOR_CONFIG", "other.yaml")
    assert load().migration == "other"
    assert load(file).migration == "orders"


OVERRIDE = "{condition: lag-bytes, owner: ann, reason: slow link, until: 2030-01-31}"


def test_overrides_and_probes_are_read(written):
    slots = "{cdc: {owner: team, retained: 2MiB}, b: {owner: c}}"
    probes = f"{{known_slots: {slots}, known_writers: [app], disk: {{target: 1GB}}}}"
    settings = load(written(f"{SMALLEST}\ngate: {{overrides: [{OVERRIDE}], hysteresis: 1}}\nprobes: {probes}\n"))
    (override,) = settings.gate.overrides
    assert (override.id, override.condition, override.item) == ("config-0", "lag-bytes", None)
    assert (override.owner, override.reason, override.until) == ("ann", "slow link", 1_896_048_000.0)
    assert settings.probes.known_slots["cdc"].retained_bytes == 2 << 20
    assert settings.probes.known_slots["b"].retained_bytes is None
    assert settings.probes.known_writers == ("app",)
    assert settings.probes.disk == {"target": 10**9}
    assert hash(settings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"gate: {{overrides: [{OVERRIDE.replace('lag-bytes', 'open-findings')}]}}", "open-findings is an invariant"),
        (f"gate: {{overrides: [{OVERRIDE.replace('lag-bytes', 'lagbytes')}]}}", "there is no condition lagbytes"),
        (f"gate: {{overrides: [{OVERRIDE.replace('lag-bytes', 'preflight-shape')}]}}", "accepted item by item"),
        (f"gate: {{overrides: [{OVERRIDE.replace('2030-01-31', 'never')}]}}", "not a day or a time"),
        (f"gate: {{overrides: [{OVERRIDE.replace('ann', '  ')}]}}", "owner"),
        (f"gate: {{overrides: [{OVERRIDE.replace('owner: ann, ', '')}]}}", "owner"),
        ("gate: {hysteresis: 0}", "hysteresis"),
        ("gate: {hysteresis: 1.1}", "hysteresis"),
        ("gate: {limits: {preflight-shape: 1}}", "preflight-shape"),
        ("probes: {interval_seconds: 11}", "interval_seconds"),
        ("probes: {disk: {source: 5 apples}}", "probes.disk.source"),
        ("probes: {known_slots: {a: {owner: b, retained: 5 apples}}}", "probes.known_slots.a.retained"),
        ("probes: {known_slots: {a: {}}}", "owner"),
    ],
)
def test_an_override_or_a_probe_that_makes_no_sense_is_refused(written, text, said):
    with pytest.raises(SettingInvalid, match=re.escape(said)):
        load(written(f"{SMALLEST}\n{text}\n"))


def test_the_example_is_valid_with_and_without_its_comments(written):
    assert load(written(example())).migration == "orders"
    text = re.sub(r"(?m)^# (?=( *[a-z-]+:|  ))", "", example().replace("# transport: memory\n", ""))
    settings = load(written(text))
    assert settings.transport is not None
    assert len(settings.gate.limits) == 14
    assert settings.wal_budget_bytes == 1 << 30


def test_the_published_schema_is_the_one_in_force():
    assert json.loads((DOCS / "configuration.schema.json").read_text()) == SCHEMA


def paths_of(schema, path=""):
    for node in schema.get("anyOf", [schema]):
        for key, inner in node.get("properties", {}).items():
            yield f"{path}{key}", inner
            yield from paths_of(inner, f"{path}{key}.")


def test_every_key_is_in_the_reference_with_its_default():
    text = (DOCS / "configuration.md").read_text()
    rows = dict(re.findall(r"(?m)^\| `([^`]+)` \| (.+?) \|", text))
    leaves = {path: node for path, node in paths_of(SCHEMA) if node.get("type") != "object" or path.endswith("s")}
    leaves = {path: node for path, node in leaves.items() if path not in ("tables",)}
    assert set(leaves) <= set(rows)
    for path, node in leaves.items():
        shown = json.dumps(node["default"]).strip('"') if "default" in node else None
        assert shown is None or rows[path].strip("`") in (shown, "1GiB"), path


@pytest.mark.parametrize("block", re.findall(r"(?s)```yaml\n(.*?)```", (DOCS / "configuration.md").read_text()))
def test_the_reference_shows_valid_files(written, block):
    file = written(block)
    if block.startswith("tables:"):
        assert load_mapping(file).target_of("public.orders") == "sales.purchases"
    elif block.startswith("accepted:"):
        assert [entry.owner for entry in load_accepted(file)] == ["ann", "ann", "bob"]
    else:
        assert load(file).migration == "orders"


@pytest.mark.parametrize("key", ["mapping", "accepted_differences"])
def test_a_file_that_the_configuration_names_is_checked_before_anything_starts(written, tmp_path, key):
    (tmp_path / "other.yaml").write_text("{}")
    settings = load(written(f"{SMALLEST}\n{key}: other.yaml\n"))
    assert getattr(settings, key) == tmp_path / "other.yaml"
    with pytest.raises(SettingInvalid, match=r"other\.yaml: "):
        supervise(
            dataclasses.replace(settings, source=SideSettings("host=a"), target=SideSettings("host=b")), None, None
        )
    assert not settings.state_dir.exists()
