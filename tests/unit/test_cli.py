"""The command line: every error is one line with a hint, every exit code means what scripts rely on."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.cli import build_parser, exit_code, main
from auditor.commands import status
from auditor.log import JsonLines, RateLimit, TextLines, configure
from comparators.errors import (
    Defect,
    NotComparable,
    NotInstalled,
    NotPermitted,
    NotReady,
    PositionLost,
    SettingInvalid,
    SideUnavailable,
    StoreUnavailable,
)

ROOT = Path(__file__).parents[2]
CONFIG = """
migration: orders
source: {dsn: "host=/nowhere dbname=app user=auditor"}
target: {dsn: "host=/nowhere dbname=app user=auditor"}
replication: {publication: app_pub, subscription: app_sub}
"""
COMMANDS = [
    "demo",
    "diff",
    "config example",
    "config validate",
    "config schema",
    "preflight",
    "prepare",
    "teardown",
    "run",
    "sampler",
    "core",
    "prober",
    "worker",
    "sweep",
    "sweeper",
    "tables",
    "coverage",
    "gate serve",
    "gate check",
    "cutover plan",
    "cutover approve",
    "cutover start",
    "cutover status",
    "cutover abort",
    "cutover rollback",
    "cutover finalize",
    "cutover postpone",
    "cutover unpostpone",
    "cutover panic",
    "cutover report",
    "cutover history",
    "cutover verify-journal",
    "cutover steps",
    "status",
    "findings list",
    "findings show",
    "findings recheck",
    "findings accept",
]


@pytest.fixture
def config(tmp_path, monkeypatch):
    file = tmp_path / "orders.yaml"
    file.write_text(CONFIG)
    monkeypatch.setenv("AUDITOR_CONFIG", str(file))
    return file


def failing(monkeypatch, error):
    def run(args):
        raise error

    monkeypatch.setattr(status, "_status", run)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert command == "worker" or f"examples:\n  auditor {command}" in text


def test_the_overview_lists_what_is_built_and_nothing_else(capsys):
    text = build_parser().format_help()
    assert all(f"    {command.split()[0]} " in text for command in COMMANDS if command != "worker")
    assert not any(f"    {word} " in text for word in ("worker", "dead-man"))


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["gate", "no-such-command"],
        ["run", "--for", "soon"],
        ["run", "--for", "-1"],
        ["sampler"],
        ["sampler", "--side", "left"],
        ["demo", "--rate", "2"],
        ["demo", "--rate", "nan"],
        ["demo", "--sec", "3"],  # no abbreviations: a script must not depend on what is unique today
        ["findings", "list", "--state", "odd"],
        ["findings", "accept", "f_0"],
        ["gate", "check", "--timeout", "inf"],
    ],
)
def test_wrong_usage_exits_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


@pytest.mark.parametrize("words", [[], ["gate"], ["config"], ["findings"]])
def test_no_command_shows_the_overview_and_exits_2(words, capsys):
    assert main(words) == 2
    assert "gate check" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingInvalid("a", hint="b"), 2),
        (NotPermitted("a", hint="b"), 4),
        (NotInstalled("a", hint="b"), 4),
        (PositionLost("a", hint="b"), 4),
        (SideUnavailable("a"), 3),
        (StoreUnavailable("a"), 3),
        (NotReady("a"), 3),
        (NotComparable("a"), 3),
        (Defect("a"), 3),
        (RuntimeError("a"), 3),
        (ZeroDivisionError(), 3),
        (MemoryError(), 3),
        (RecursionError("a"), 3),
    ],
    ids=repr,
)
def test_an_error_is_one_line_with_a_hint_and_its_exit_code(error, code, monkeypatch, capsys, config):
    failing(monkeypatch, error)
    assert exit_code(error) == code
    assert main(["status"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "; hint: " in err
    assert err.count("\n") == 1


def test_a_traceback_is_shown_only_to_who_asks(monkeypatch, capsys, config):
    failing(monkeypatch, RuntimeError("several\nlines"))
    main(["status"])
    assert "Traceback" not in capsys.readouterr().err
    main(["status", "--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_not_known(monkeypatch, capsys, config):
    failing(monkeypatch, KeyboardInterrupt())
    assert main(["status"]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_leaves_early_gets_no_traceback():
    command = f"{sys.executable} -m auditor config schema | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "3")  # it may have been quicker than the reader


@pytest.mark.parametrize("words", [["-c", "{}", "status", "--json"], ["status", "-c", "{}", "--json"]])
def test_common_options_stand_before_or_after_the_command(words, config, capsys, monkeypatch):
    monkeypatch.delenv("AUDITOR_CONFIG")
    assert main([word.format(config) for word in words]) == 0
    assert json.loads(capsys.readouterr().out)["migration"] == "orders"


def test_help_answers_without_loading_what_is_heavy():
    heavy = "{'faust', 'kafka', 'psycopg', 'numpy', 'aiohttp', 'yaml', 'jsonschema', 'rich', 'sqlglot', 'boto3'}"
    code = f"import sys, auditor.cli; auditor.cli.build_parser(); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


def test_a_process_that_needs_kafka_says_so(config, capsys):
    for words in (["core"], ["sampler", "--side", "source"]):
        before = logging.getLogger().handlers[:]
        assert main(words) == 2
        logging.getLogger().handlers[:] = before
        assert "transport: memory keeps samplers and core in one process" in capsys.readouterr().err


def test_validate_names_everything_that_is_wrong(config, capsys):
    config.write_text(CONFIG.replace("orders", "Orders") + "sampling: {rate: 2}\n")
    assert main(["config", "validate"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert f"error: {config}: sampling.rate: 2 is not a share between 0 and 1; hint: " in lines[1]
    assert main(["config", "validate", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert not document["valid"]
    assert [one["path"] for one in document["problems"]] == ["migration", "sampling.rate"]


def test_validate_looks_at_secrets_when_asked(config, capsys):
    config.write_text(CONFIG.replace('auditor"}', 'auditor", password: env:NOT_SET_ANYWHERE}', 1))
    assert main(["config", "validate"]) == 0
    assert capsys.readouterr().out == f"{config}: a valid configuration of the migration orders\n"
    assert main(["config", "validate", "--secrets"]) == 2
    assert "NOT_SET_ANYWHERE" in capsys.readouterr().err


def test_a_missing_token_of_the_gate_is_named_when_secrets_are_checked(config, capsys):
    tokens = "gate: {tokens: [{name: argo, token: 'env:NOT_SET_ANYWHERE', scopes: [read]}]}"
    config.write_text(f"{config.read_text()}\n{tokens}\n")
    assert main(["config", "validate"]) == 0
    assert main(["config", "validate", "--secrets"]) == 2
    assert "gate.tokens: argo" in capsys.readouterr().err


def test_gate_check_hands_its_options_on(monkeypatch, config):
    seen = []
    from auditor import gate_check

    def check(settings, *options, client):
        seen.append(options)
        return 4

    monkeypatch.setattr(gate_check, "check", check)
    assert main(["gate", "check", "--wait", "--timeout", "5m", "--url", "http://a:1", "--json"]) == 4
    assert main(["gate", "check"]) == 4
    assert seen == [("http://a:1", True, 300.0, True), (None, False, 60.0, False)]


def test_no_color_reaches_every_library(config, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["status", "--no-color"]) == 0
    assert os.environ.pop("NO_COLOR") == "1"


def record(message="moved %s", *values, name="auditor.x", **extra):
    made = logging.getLogger(name).makeRecord(name, logging.INFO, "", 0, message, values or ("on",), None, extra=extra)
    made.created = 1.5
    return made


def test_a_log_line_is_a_sentence_and_what_it_is_about():
    line = TextLines("core").format(record(table="public.orders", action="move"))
    assert line == "1970-01-01T00:00:01.500Z info core: moved on (table=public.orders, action=move)"
    document = json.loads(JsonLines("core").format(record(table="public.orders", at=Path("x"))))
    assert document["message"] == "moved on"
    assert (document["process"], document["table"], document["at"]) == ("core", "public.orders", "x")


def test_a_library_says_the_same_thing_once_in_a_while():
    now = [0.0]
    limit = RateLimit(lambda: now[0])
    assert [limit.filter(record("lost %s", host, name="aiokafka.conn")) for host in "aab"] == [True, False, False]
    assert limit.filter(record("other %s", 1, name="aiokafka.conn"))
    assert all(limit.filter(record(name="auditor.core")) for _ in range(9))
    now[0] = 10
    again = record("lost %s", "a", name="aiokafka.conn")
    assert limit.filter(again)
    assert again.left_out == 2


def test_a_log_of_a_process_holds_our_lines_and_not_the_services_of_a_library():
    out = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure("core", stream=out)
        logging.getLogger("auditor.stream").info("[^CoreApp]: Starting...")
        logging.getLogger("auditor.stream").warning("[^CoreApp]: late")
        logging.getLogger("auditor.stream").info("begins")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        logging.captureWarnings(False)
    assert [line.partition(" core: ")[2] for line in out.getvalue().splitlines()] == ["[^CoreApp]: late", "begins"]


def test_an_installation_that_cannot_be_loaded_proves_nothing_bad(tmp_path: Path) -> None:
    program = "import sys; sys.modules['auditor.cli'] = None; from auditor.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert 3 == done.returncode
    assert done.stderr.startswith("error: this installation of auditor is broken: ")
    assert "; hint: " in done.stderr
    assert 1 == len(done.stderr.splitlines())


@pytest.mark.parametrize("gate", ["{limits: {samplers-alive: 1.0e+300}}", "{valid_seconds: 1.0e+12}"])
def test_a_limit_that_would_switch_a_condition_off_is_no_valid_configuration(
    tmp_path: Path, gate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "auditor.yaml").write_text(f"{CONFIG}gate: {gate}\n")
    assert 2 == main(["config", "validate", "-c", str(tmp_path / "auditor.yaml")])
    assert "hint: " in capsys.readouterr().err
