"""Evidence in S3, against a real moto server: what arrives, what is refused, and what is found when it is changed."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.cli import main
from auditor.records import open_records
from auditor.settings import load
from auditor.verdict_log import SqliteVerdictLog
from tests.helpers import unique_name, wait_for
from tests.s3 import ACCOUNT, REGION, FaultyProxy, S3Server
from tests.verdict_logs import NOW, draft


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.port) as running:
        yield running


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.bucket(unique_name("evidence").replace("_", "-"))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, and little patience."""
    for name, value in {"ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr("auditor.bundles.s3.ATTEMPTS", 3)
    monkeypatch.setattr("auditor.bundles.s3.READ_SECONDS", 5.0)


class Migration:
    """A configuration and a log with some verdicts."""

    def __init__(self, folder: Path, bucket: str, url: str) -> None:
        self.folder, self.to = folder, f"s3://{bucket}/audit/orders"
        self.file = folder / "auditor.yaml"
        self.configure(endpoint_url=url)
        log = SqliteVerdictLog(load(self.file).open_state_dir() / "verdicts.sqlite", clock=lambda: NOW)
        log.append([draft(n) for n in range(4)])
        log.close()

    def configure(self, **export: Any) -> None:
        side = {"dsn": "host=127.0.0.1 port=1 dbname=app"}
        self.file.write_text(yaml.safe_dump({
            "migration": "orders", "source": side, "target": side, "state_dir": "state",
            "replication": {"mode": "native", "publication": "p", "subscription": "s"},
            "evidence": {"export": {"to": self.to, "region": REGION, **export}},
        }))  # fmt: skip

    def export(self, *words: str) -> int:
        return main(["evidence", "export", "-c", str(self.file), *words])

    def verify(self, *words: str) -> int:
        return main(["evidence", "verify", self.to, "-c", str(self.file), *words])


@pytest.fixture
def migration(tmp_path: Path, bucket: str, proxy: FaultyProxy) -> Migration:
    return Migration(tmp_path, bucket, proxy.url)


def keys(server: S3Server, bucket: str) -> list[str]:
    listed = server.client().list_objects_v2(Bucket=bucket).get("Contents", [])
    return [one["Key"] for one in listed]


def test_a_bundle_arrives_is_whole_and_one_changed_byte_is_named(
    migration: Migration, server: S3Server, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == migration.export()
    assert 0 == migration.export("--json")
    bundle = json.loads(capsys.readouterr().out.splitlines()[-1])["bundle"]
    assert bundle.startswith(f"{migration.to}/000002-")
    assert 0 == migration.verify()
    assert 0 == main(["evidence", "verify", bundle, "-c", str(migration.file)])
    assert "whole" in capsys.readouterr().out

    key = bundle.removeprefix(f"s3://{bucket}/") + "/verdicts.jsonl"
    body = server.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    lines = body.splitlines(keepends=True)
    lines[2] = lines[2].replace(b"PASS", b"PASs", 1)
    server.client().put_object(Bucket=bucket, Key=key, Body=b"".join(lines))
    assert 1 == migration.verify("--json")
    (trouble,) = json.loads(capsys.readouterr().out)["troubles"]
    assert ("verdicts.jsonl", 3, 3) == (trouble["file"], trouble["line"], trouble["seq"])
    assert trouble["id"].startswith("v_")
    assert 1 == migration.verify()
    assert "verdicts.jsonl, line 3, entry 3, v_" in capsys.readouterr().out


def test_the_installed_command_works_in_a_process_of_its_own(migration: Migration, server: S3Server) -> None:
    command = [sys.executable, "-m", "auditor", "evidence"]
    options = ["--endpoint-url", server.url, "--region", REGION]
    done = subprocess.run(
        [*command, "export", "--to", migration.to, "-c", str(migration.file), *options],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    elsewhere = subprocess.run(
        [*command, "verify", migration.to, *options],
        capture_output=True, text=True, timeout=180, check=False, cwd="/",
    )  # fmt: skip
    assert 0 == elsewhere.returncode, elsewhere.stderr
    assert "whole" in elsewhere.stdout


def test_denied_is_a_matter_for_a_person(
    migration: Migration, proxy: FaultyProxy, server: S3Server, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.fault = lambda method, path: "403" if method == "PUT" else None
    assert 4 == migration.export()
    said = capsys.readouterr().err
    assert "denied (AccessDenied)" in said
    assert "hint: give these credentials the policy" in said
    assert [] == keys(server, bucket)
    proxy.fault = lambda method, path: "403"
    assert 4 == migration.verify()
    assert "denied" in capsys.readouterr().err


def test_a_bucket_that_does_not_exist_is_named(migration: Migration, capsys: pytest.CaptureFixture[str]) -> None:
    assert 4 == migration.export("--to", "s3://no-such-bucket-here/x")
    assert "there is no bucket no-such-bucket-here" in capsys.readouterr().err


def test_a_bucket_in_another_region_or_of_another_account_is_refused(
    migration: Migration, proxy: FaultyProxy, server: S3Server, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 4 == migration.export("--region", "us-west-2")
    assert f"is in {REGION}, not in us-west-2" in capsys.readouterr().err
    migration.configure(endpoint_url=proxy.url, account="999999999999")
    assert 4 == migration.export()
    assert f"belong to account {ACCOUNT}, not to 999999999999" in capsys.readouterr().err
    assert [] == keys(server, bucket)
    migration.configure(endpoint_url=proxy.url, account=ACCOUNT)
    assert 0 == migration.export()


def test_throttled_uploads_are_tried_again(migration: Migration, proxy: FaultyProxy) -> None:
    left = iter(["503", "503"])
    proxy.fault = lambda method, path: next(left, None) if method == "PUT" else None
    assert 0 == migration.export()
    assert 0 == migration.verify()
    puts = [path for method, path in proxy.seen if method == "PUT"]
    assert len(set(puts)) + 2 == len(puts)


def test_what_stays_throttled_is_not_known(
    migration: Migration, proxy: FaultyProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.fault = lambda method, path: "503" if method == "PUT" else None
    assert 3 == migration.export()
    assert "throttled (SlowDown)" in capsys.readouterr().err
    assert 3 == len([method for method, _ in proxy.seen if method == "PUT"])


def test_a_service_that_does_not_answer_is_slow(
    migration: Migration, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("auditor.bundles.s3.READ_SECONDS", 0.3)
    monkeypatch.setattr("auditor.bundles.s3.ATTEMPTS", 2)
    proxy.fault = lambda method, path: "slow"
    assert 3 == migration.export()
    assert "slow: no answer in time" in capsys.readouterr().err


def test_a_connection_that_dies_in_the_middle_leaves_a_half_that_nobody_takes_for_a_bundle(
    migration: Migration, proxy: FaultyProxy, server: S3Server, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.fault = lambda method, path: "cut" if method == "PUT" and "verdicts" in path else None
    assert 3 == migration.export()
    assert keys(server, bucket)
    assert not [key for key in keys(server, bucket) if key.endswith("manifest.json")]
    capsys.readouterr()
    assert 3 == migration.verify()
    assert "half-written: there is no manifest" in capsys.readouterr().out
    proxy.fault = lambda method, path: None
    assert 0 == migration.export()
    assert 0 == migration.verify()
    assert "left by an export that was interrupted" in capsys.readouterr().out


def test_an_unreachable_service_is_not_known(migration: Migration, capsys: pytest.CaptureFixture[str]) -> None:
    assert 3 == migration.verify("--endpoint-url", "http://127.0.0.1:1")
    assert "EndpointConnectionError" in capsys.readouterr().err


def test_object_lock_is_set_where_the_bucket_has_it_and_missed_where_not(
    migration: Migration, proxy: FaultyProxy, server: S3Server, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    migration.configure(endpoint_url=proxy.url, object_lock={"mode": "compliance", "days": 7})
    assert 4 == migration.export()
    assert "has no object lock" in capsys.readouterr().err
    assert [] == keys(server, bucket)

    locked = server.bucket(f"{bucket}-locked", locked=True)
    migration.to = f"s3://{locked}/orders"
    migration.configure(endpoint_url=proxy.url, object_lock={"mode": "compliance", "days": 7})
    assert 0 == migration.export()
    for key in keys(server, locked):
        seen = server.client().head_object(Bucket=locked, Key=key)
        assert "COMPLIANCE" == seen["ObjectLockMode"]
        assert abs(seen["ObjectLockRetainUntilDate"] - datetime.now(UTC) - timedelta(days=7)) < timedelta(hours=1)
    assert 0 == migration.verify()


def test_the_archiver_reports_a_failed_upload_tries_again_and_ends_at_once(
    migration: Migration, proxy: FaultyProxy
) -> None:
    migration.configure(endpoint_url=proxy.url, every="1s")
    proxy.fault = lambda method, path: "403" if method == "PUT" else None
    process = subprocess.Popen([sys.executable, "-m", "auditor", "archiver", "-c", str(migration.file)])
    seen: dict[str, Any] = {}
    try:
        with closing(open_records(load(migration.file))) as records:

            def record() -> dict[str, Any]:
                seen.update(records.changes().get("process/archiver") or {})
                return seen

            wait_for(lambda: "denied" in str(record().get("error")), 30, "the failed upload")
            proxy.fault = lambda method, path: None
            wait_for(lambda: record().get("error") is None and record().get("exports", 0) >= 2, 30, "two bundles")
            assert 0 == migration.verify()
            proxy.fault = lambda method, path: "slow"
            count = len(proxy.seen)
            wait_for(lambda: len(proxy.seen) > count, 30, "an upload that hangs")
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(timeout=20)  # the upload would hang for longer
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
