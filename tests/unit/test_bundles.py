"""Evidence bundles: nothing secret goes in, and no byte of one changes unnoticed."""

import json
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.bundles.contents import configuration_json
from auditor.bundles.manifest import FINDINGS, MANIFEST, VERDICTS, digest, sealed_document, sealed_line
from auditor.bundles.places import FolderPlace
from auditor.evidence_command import Checked, export, verify, verify_command
from auditor.records import open_records
from auditor.settings import EvidenceSettings, ExportSettings, KafkaSettings, SecretRef, Settings, SideSettings
from auditor.verdict_log import SqliteVerdictLog
from comparators.errors import NotPermitted, SettingInvalid
from tests.helpers_records import FINDING, good_records, suspect
from tests.helpers_records import settings_of as healthy
from tests.verdict_logs import NOW, draft

SECRET = "hunter2-planted"
KEY = "customer-4711"
VALUE = "Mrs. Planted"


@pytest.fixture(scope="module")
def migration(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A migration with findings, overrides, verdicts, and secrets everywhere that secrets may be."""
    folder = tmp_path_factory.mktemp("migration")
    secret = folder / "password"
    secret.write_text(SECRET)
    reference = SecretRef(f"file:{secret}", "source.password")
    made = healthy(
        state_dir=folder / "state",
        source=SideSettings(f"host=source user=app password={SECRET}"),
        target=SideSettings(f"postgresql://app:{SECRET}@target/app", reference),
        evidence=EvidenceSettings(keys="clear", key=reference, export=ExportSettings("evidence")),
    )
    records = good_records() | {
        f"suspect/{FINDING}": suspect(
            state="confirmed", keys=[{"hash": "ab" * 16, "clear": {"name": KEY}}], key_cipher=SECRET, old_row=VALUE
        ),
        "override/o_1": {"condition": "lag-ms", "item": None, "owner": "ann", "reason": "r", "at": 1, "until": 2,
                         "by": "api", "token": SECRET},
        "coverage/public.orders": good_records()["coverage/public.orders"] | {"at_key": KEY, "sample": VALUE},
    }  # fmt: skip
    made.open_state_dir()
    with closing(open_records(made)) as store:
        store.put(records)
    append(made, 0, 4)
    return made


def append(made: Settings, first: int, last: int) -> None:
    log = SqliteVerdictLog(made.state_dir / "verdicts.sqlite", clock=lambda: NOW)
    log.append([draft(n) for n in range(first, last)])
    log.close()


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path / "evidence")


@pytest.fixture(scope="module")
def bundle(migration: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle, which nobody changes."""
    folder = tmp_path_factory.mktemp("bundle")
    return folder / export(migration, FolderPlace(folder)).name


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / bundle.name))


def check(bundle: Path) -> Checked:
    return verify(FolderPlace(bundle))


def test_a_bundle_as_it_was_written_is_whole(bundle: Path, migration: Settings) -> None:
    assert (0, ()) == (check(bundle).code, check(bundle).troubles)
    assert 0 == verify(FolderPlace(bundle.parent)).code
    manifest = json.loads((bundle / MANIFEST).read_text())
    assert (1, None, "orders", 4) == (
        manifest["number"], manifest["previous"], manifest["migration"], manifest["chain"]["entries"]
    )  # fmt: skip
    names = {VERDICTS, FINDINGS, "coverage.json", "configuration.json", "overrides.json"}
    assert names == {one["name"] for one in manifest["files"]}
    assert FINDING in (bundle / FINDINGS).read_text()
    assert "ab" * 16 in (bundle / FINDINGS).read_text()
    assert "lag-ms" in (bundle / "overrides.json").read_text()


@pytest.mark.parametrize("planted", [SECRET, KEY, VALUE])
def test_no_key_no_value_and_no_secret_is_in_it(bundle: Path, planted: str) -> None:
    for file in bundle.iterdir():
        assert planted not in file.read_text(), file.name


def test_options_of_kafka_are_in_it_by_their_references(migration: Settings) -> None:
    kafka = KafkaSettings(("broker:1",), options={"sasl_plain_password": "env:KAFKA_PASSWORD"})
    shown = json.dumps(configuration_json(healthy(transport=kafka, state_dir=migration.state_dir)))
    assert "env:KAFKA_PASSWORD" in shown
    assert SECRET not in shown


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_any_changed_byte_is_found_and_named(bundle: Path, tmp_path: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(sorted(one.name for one in bundle.iterdir())))
    raw = bytearray((bundle / file).read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    changed = tmp_path / "changed"
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(bundle, changed)
    (changed / file).write_bytes(raw)
    checked = check(changed)
    assert 1 == checked.code
    assert file in {one.file for one in checked.troubles}
    if (
        file in (VERDICTS, FINDINGS)
        and raw[at : at + 1] not in (b"\r", b"\n")
        and b"\n" != bundle_byte(bundle, file, at)
    ):
        line = bytes(raw[:at]).count(b"\n") + 1
        assert line in {one.line for one in checked.troubles}


def bundle_byte(bundle: Path, file: str, at: int) -> bytes:
    return (bundle / file).read_bytes()[at : at + 1]


def altered(copy: Path, lines: list[bytes]) -> Checked:
    (copy / VERDICTS).write_bytes(b"".join(lines))
    return check(copy)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.permutations(range(4)), st.sampled_from(["move", "drop", "repeat"]), st.integers(0, 3))
def test_any_entry_removed_moved_or_repeated_is_found(
    bundle: Path, tmp_path: Path, order: list[int], what: str, number: int
) -> None:
    lines = (bundle / VERDICTS).read_bytes().splitlines(keepends=True)
    new = {
        "move": [lines[n] for n in order],
        "drop": lines[:number] + lines[number + 1 :],
        "repeat": lines[: number + 1] + lines[number:],
    }[what]
    changed = tmp_path / "changed"
    shutil.rmtree(changed, ignore_errors=True)
    shutil.copytree(bundle, changed)
    checked = altered(changed, new)
    assert (new != lines) == (checked.code == 1)
    assert (new != lines) == (VERDICTS in {one.file for one in checked.troubles})


def test_an_entry_is_found_even_if_the_manifest_was_made_to_fit(copy: Path) -> None:
    lines = (copy / VERDICTS).read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"PASS"', b'"FAIL"', 1)
    data = b"".join(lines)
    manifest = sealed_document((copy / MANIFEST).read_bytes())
    for one in manifest["files"]:
        one.update({"sha256": digest(data), "size": len(data)} if one["name"] == VERDICTS else {})
    (copy / MANIFEST).write_bytes(sealed_line(manifest))
    (found,) = altered(copy, lines).troubles
    assert (VERDICTS, 2, 2) == (found.file, found.line, found.seq)
    assert str(found.id).startswith("v_")


@pytest.mark.parametrize("file", [VERDICTS, FINDINGS, "coverage.json", "configuration.json", "overrides.json"])
def test_a_file_that_is_gone_is_named(copy: Path, file: str) -> None:
    (copy / file).unlink()
    checked = check(copy)
    assert (1, file) == (checked.code, checked.troubles[0].file)


def test_a_file_that_was_put_in_is_named(copy: Path) -> None:
    (copy / "more.json").write_text("{}")
    assert "more.json" in {one.file for one in check(copy).troubles}


def test_a_bundle_without_a_manifest_is_half_written(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    checked = check(copy)
    assert 3 == checked.code
    assert "half-written" in checked.troubles[0].reason


def test_a_place_without_bundles_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert 3 == verify_command(str(tmp_path / "nothing"), ExportSettings(), False)
    assert "no bundle" in capsys.readouterr().out


def test_the_check_in_the_documentation_works_without_the_tool(copy: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/evidence.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-c", program], cwd=copy, capture_output=True, text=True, check=False
        )

    assert "whole" in run().stdout
    data = (copy / VERDICTS).read_bytes().replace(b"PASS", b"PASs", 1)
    (copy / VERDICTS).write_bytes(data)
    assert "verdicts.jsonl was changed" in run().stderr


# A row of bundles.


@pytest.fixture
def row(migration: Settings, place: FolderPlace, tmp_path: Path) -> Any:
    """Three bundles, each going on where the one before ended."""
    names = []
    for _ in range(3):
        names.append(export(migration, place, go_on=True).name)
        with closing(SqliteVerdictLog(migration.state_dir / "verdicts.sqlite")) as log:
            start = len(list(log.lines()))
        append(migration, start, start + 2)
    return names


def test_each_goes_on_where_the_one_before_ended(row: list[str], place: FolderPlace) -> None:
    firsts = []
    for name in row:
        manifest = json.loads(place.read(name, MANIFEST) or b"")
        firsts.append((manifest["chain"]["first"]["seq"], manifest["chain"]["last"]["seq"]))
    assert firsts[1][0] == firsts[0][1] + 1
    assert firsts[2][0] == firsts[1][1] + 1
    assert (0, ()) == (verify(place).code, verify(place).troubles)


def test_a_bundle_missing_between_two_is_found(row: list[str], place: FolderPlace, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "evidence" / row[1])
    (found,) = verify(place).troubles
    assert row[2] == found.bundle
    assert row[1] in found.reason


def test_the_oldest_without_its_manifest_was_tampered_with(row: list[str], place: FolderPlace, tmp_path: Path) -> None:
    (tmp_path / "evidence" / row[0] / MANIFEST).unlink()
    (tmp_path / "evidence" / row[0] / VERDICTS).write_bytes(b"anything")
    checked = verify(place)
    assert 1 == checked.code
    assert any(row[0] == one.bundle and row[1] in one.reason for one in checked.troubles)


def resealed(copy: Path, **changes: Any) -> None:
    manifest = dict(sealed_document((copy / MANIFEST).read_bytes())) | changes
    manifest.pop("hash", None)
    (copy / MANIFEST).write_bytes(sealed_line({name: one for name, one in manifest.items() if one is not ...}))


@pytest.mark.parametrize("name", ["chain", "number", "previous", "name", "files"])
def test_a_manifest_that_leaves_out_a_part_is_named(copy: Path, name: str) -> None:
    resealed(copy, **{name: ...})
    assert 1 == check(copy).code
    assert MANIFEST == check(copy).troubles[0].file


@pytest.mark.parametrize("file", ["../../x", "/dev/zero", "extra.json"])
def test_a_manifest_is_believed_of_the_files_of_a_bundle_alone(copy: Path, file: str) -> None:
    files = sealed_document((copy / MANIFEST).read_bytes())["files"]
    resealed(copy, files=[*files, {"name": file, "size": 1, "sha256": "0" * 64}])
    assert 1 == check(copy).code
    assert any(repr(file) in one.reason for one in check(copy).troubles)


def test_a_manifest_that_names_another_last_entry_is_found(copy: Path) -> None:
    chain = sealed_document((copy / MANIFEST).read_bytes())["chain"]
    resealed(copy, chain=chain | {"last": chain["last"] | {"seq": chain["last"]["seq"] + 5}})
    assert 1 == check(copy).code


def test_without_the_oldest_the_rest_is_whole_and_that_is_said(
    row: list[str], place: FolderPlace, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "evidence" / row[0])
    checked = verify(place)
    assert 0 == checked.code
    assert row[0] in checked.notes[0]


def test_the_rest_of_an_interrupted_export_is_half_written_until_a_whole_one_follows(
    row: list[str], place: FolderPlace, tmp_path: Path, migration: Settings
) -> None:
    left = tmp_path / "evidence" / "000004-00000000"
    left.mkdir()
    (left / VERDICTS).write_bytes(b"")
    assert 3 == verify(place).code
    export(migration, place, go_on=True)
    checked = verify(place)
    assert 0 == checked.code
    assert "interrupted" in checked.notes[0]


def test_a_log_that_was_replaced_is_exported_whole_and_found(
    row: list[str], place: FolderPlace, migration: Settings, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    replaced = healthy(state_dir=other, evidence=migration.evidence)
    append(replaced, 50, 60)
    export(replaced, place, go_on=True)
    checked = verify(place)
    assert 1 == checked.code
    assert "another one than in an earlier bundle" in checked.troubles[0].reason
    assert 1 == checked.troubles[0].seq


def test_a_place_of_another_migration_is_refused(row: list[str], place: FolderPlace, migration: Settings) -> None:
    with pytest.raises(SettingInvalid, match="'orders'"):
        export(healthy(migration="other", state_dir=migration.state_dir), place)


def test_a_folder_that_may_not_be_written_is_named(migration: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((SettingInvalid, NotPermitted), match="file"):
        export(migration, FolderPlace(tmp_path / "file" / "evidence"))
