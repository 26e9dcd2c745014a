"""`auditor evidence export|verify`: bundles of evidence, and the check that nobody changed one."""

import json
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any

from auditor.bundles.checking import check_bundle, check_overlap, check_row
from auditor.bundles.contents import Contents
from auditor.bundles.manifest import MANIFEST, VERDICTS, Trouble, make_bundle, sealed_document
from auditor.bundles.places import Place, open_place
from auditor.settings import ExportSettings, Settings
from auditor.verdicts import Anchor
from comparators.errors import SettingInvalid, StoreUnavailable

GOOD, TAMPERED, NOT_KNOWN = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Exported:
    """One bundle that was written."""

    name: str
    manifest: Mapping[str, Any]
    broken: tuple[str, ...]
    """Where the log itself does not hold: that is in the bundle too."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found at a destination."""

    bundles: tuple[str, ...]
    entries: int
    troubles: tuple[Trouble, ...]
    notes: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        if any(one.tampered for one in self.troubles):
            return TAMPERED
        return NOT_KNOWN if self.troubles or not self.bundles else GOOD


def export_command(settings: Settings, to: str | None, how: ExportSettings, since: float | None, as_json: bool) -> int:
    """Write one bundle and say what is in it.

    Returns:
        0; 1 when the log itself was tampered with, which the bundle shows.
    """
    to = to or how.to
    if not to:
        raise SettingInvalid("--to: say where", hint="--to DIR, --to s3://BUCKET/PREFIX, or set evidence.export.to")
    done = export(settings, open_place(to, how), since)
    where = f"{to.rstrip('/')}/{done.name}"
    if as_json:
        print(json.dumps({"bundle": where, "manifest": done.manifest, "broken": list(done.broken)}))
    else:
        files = ", ".join(f"{one['name']} ({one['size']} bytes)" for one in done.manifest["files"])
        print(f"{where}: {done.manifest['chain']['entries']} entries of the verdict log; {files}")
        print(f"next: auditor evidence verify {to}")
    for text in done.broken:
        print(f"the verdict log does not hold: {text}", file=sys.stderr)
    return TAMPERED if done.broken else GOOD


def export(settings: Settings, place: Place, since: float | None = None, go_on: bool = False) -> Exported:
    """Write one bundle.

    Args:
        since: only verdicts of this time (unix seconds) and later.
        go_on: only verdicts after those of the newest bundle at the destination.
    Raises:
        NeedsOperator, StoreUnavailable: the destination, the log or the records cannot be used now.
    """
    previous = newest_manifest(place)
    before = json.loads(previous) if previous else {}
    if before and before["migration"] != settings.migration:
        raise SettingInvalid(
            f"the evidence there is of migration {before['migration']!r}",
            hint="give each migration a prefix of its own",
        )
    contents = Contents(settings, since, _end(before) if go_on else None)
    bundle = make_bundle(secrets.token_hex(4), contents.about, contents.files, previous)
    place.write(bundle)
    broken = tuple(f"entry {one.seq} ({one.id}): {one.reason}" for one in contents.broken)
    return Exported(bundle.name, json.loads(bundle.manifest), broken)


def newest_manifest(place: Place) -> bytes | None:
    """Give the manifest of the newest whole bundle.

    Raises:
        StoreUnavailable: it was changed, so nothing can be chained to it.
    """
    for name in reversed(place.folders()):
        raw = place.read(name, MANIFEST)
        if raw is not None:
            try:
                sealed_document(raw)
            except ValueError as error:
                raise StoreUnavailable(f"{name}/{MANIFEST} was changed: {error}: verify the evidence there") from None
            return raw
    return None


def verify_command(where: str, how: ExportSettings, as_json: bool) -> int:
    """Check a bundle, or all bundles of a destination.

    Returns:
        0 whole, 1 tampered with (the record named), 3 half-written or nothing there.
    """
    checked = verify(open_place(where, how))
    if as_json:
        troubles = [asdict(one) for one in checked.troubles]
        summed = {"bundles": list(checked.bundles), "entries": checked.entries, "notes": list(checked.notes)}
        print(json.dumps({"whole": checked.code == GOOD, **summed, "troubles": troubles}))
    else:
        print(_text(where, checked))
    return checked.code


def verify(place: Place) -> Checked:
    """Check every byte of a bundle, or of all bundles of a destination and that they follow each other."""
    if place.read("", MANIFEST) is not None or (not (names := place.folders()) and VERDICTS in place.files("")):
        found, manifest = check_bundle("", place.files(""), partial(place.read, ""))
        return Checked(("this bundle",), manifest["chain"]["entries"] if manifest else 0, tuple(found))
    return _verify_all(place, names)


def _verify_all(place: Place, names: Sequence[str]) -> Checked:
    manifests: dict[str, Mapping[str, Any]] = {}
    raws: dict[str, bytes] = {}
    half: list[str] = []
    troubles: list[Trouble] = []
    known: dict[int, str] = {}
    for name in names:
        read = cache(partial(place.read, name))
        if (raw := read(MANIFEST)) is None:
            half.append(name)
            continue
        found, manifest = check_bundle(name, place.files(name), read)
        troubles += found
        troubles += check_overlap(name, (read(VERDICTS) or b"").splitlines(), known)
        if manifest is not None:
            manifests[name], raws[name] = manifest, raw
    troubles += check_row(list(manifests.values()), raws, half) if not _unread(names, manifests, half) else []
    return Checked(tuple(names), len(known), tuple(troubles), _notes(list(manifests.values()), half, troubles))


def _unread(names: Sequence[str], manifests: Mapping[str, Any], half: Sequence[str]) -> bool:
    """Say whether a manifest could not be trusted: it is named already, and its neighbours cannot be judged by it."""
    return len(manifests) + len(half) < len(names)


def _notes(manifests: Sequence[Mapping[str, Any]], half: Sequence[str], troubles: Sequence[Trouble]) -> tuple[str, ...]:
    named = {one.bundle for one in troubles}
    notes = [f"{name} was left by an export that was interrupted; nothing of it counts" for name in half]
    notes = [note for note in notes if note.split()[0] not in named]
    if manifests and (previous := manifests[0]["previous"]):
        notes.append(f"older bundles are not here: {manifests[0]['name']} follows {previous['name']}")
    return tuple(notes)


def _end(manifest: Mapping[str, Any]) -> Anchor | None:
    last = (manifest.get("chain") or {}).get("last")
    return Anchor(last["seq"], last["hash"]) if last else None


def _text(where: str, checked: Checked) -> str:
    if not checked.bundles:
        return f"{where}: there is no bundle of evidence"
    lines = [f"{one.bundle or where}/{_place(one)}: {one.reason}" for one in checked.troubles]
    lines += [f"note: {note}" for note in checked.notes]
    outcome = {GOOD: "whole", TAMPERED: "TAMPERED WITH", NOT_KNOWN: "not whole"}[checked.code]
    return "\n".join([*lines, f"{where}: {outcome}; {len(checked.bundles)} bundles, {checked.entries} verdict entries"])


def _place(one: Trouble) -> str:
    words = [f"line {one.line}" if one.line else "", f"entry {one.seq}" if one.seq is not None else "", one.id or ""]
    return ", ".join([one.file, *filter(None, words)])


def chosen(settings: Settings | None, region: str | None, endpoint_url: str | None) -> ExportSettings:
    """Lay options of the command line over the configuration's."""
    how = (settings.evidence.export if settings else None) or ExportSettings()
    return ExportSettings(
        how.to, how.every_seconds, region or how.region, how.account, endpoint_url or how.endpoint_url, how.object_lock
    )
