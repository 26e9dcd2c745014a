"""Checking a bundle, and the row of bundles at a destination: every byte is accounted for. Pure."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from auditor.bundles.manifest import FINDINGS, FORMAT, MANIFEST, VERDICTS, Trouble, digest, sealed_document
from auditor.verdicts import Anchor, NotAnEntry, broken, read_entry

Read = Callable[[str], bytes | None]
"""Gives a file of a bundle; `None` where there is none."""
FILES = (VERDICTS, FINDINGS, "coverage.json", "configuration.json", "overrides.json")


def check_bundle(name: str, present: Sequence[str], read: Read) -> tuple[list[Trouble], Mapping[str, Any] | None]:
    """Check one bundle.

    Args:
        name: its folder.
        present: the files that are there.
    Returns:
        What is wrong, and the manifest where that can be trusted.
    """
    raw = read(MANIFEST)
    if raw is None:
        return [Trouble(name, MANIFEST, "half-written: there is no manifest", tampered=False)], None
    try:
        manifest = sealed_document(raw)
        files = {one["name"]: one for one in manifest["files"]}
        format_ = manifest["format"]
        _check_form(manifest)
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error) if type(error) is ValueError else "it is not a manifest"
        return [Trouble(name, MANIFEST, f"changed: {reason}", line=1), *_unmanifested(name, read)], None
    if format_ != FORMAT:
        return [Trouble(name, MANIFEST, f"format {format_!r} is not one this release reads", tampered=False)], None
    found = [Trouble(name, MANIFEST, f"leaves out {file}") for file in FILES if file not in files]
    strange = set(files) - set(FILES)
    found += [Trouble(name, MANIFEST, f"names {file!r}, which is no file of a bundle") for file in sorted(strange)]
    for file in set(files) - strange:
        found += _check_file(name, file, read(file), files[file], manifest)
    found += [
        Trouble(name, file, "it is not in the manifest") for file in sorted(set(present) - set(files) - {MANIFEST})
    ]
    return found, manifest


def _check_form(manifest: Mapping[str, Any]) -> None:
    """Raises: ValueError, KeyError, TypeError: a part that is read later is missing, or is none."""
    previous, chain = manifest["previous"], manifest["chain"]
    texts = [manifest["name"], *([previous["name"], previous["sha256"]] if previous is not None else [])]
    ends = [end for end in (chain["first"], chain["last"]) if end is not None]
    numbers = [manifest["number"], chain["entries"], *(end["seq"] for end in ends)]
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise TypeError("a text or a number is none")


def check_row(manifests: Sequence[Mapping[str, Any]], raws: Mapping[str, bytes], half: Sequence[str]) -> list[Trouble]:
    """Check that bundles follow each other: none is missing between two, none was exchanged.

    Args:
        manifests: of the bundles that could be read, in the order of their names.
        raws: the same as bytes, by the name of the folder, in the same order.
        half: names of bundles without a manifest.
    """
    found: list[Trouble] = []
    newest = max((one["number"] for one in manifests), default=0)
    found += [
        Trouble(name, MANIFEST, "half-written: there is no manifest", tampered=False)
        for name in half
        if int(name[:6]) > newest
    ]
    found += [
        Trouble(name, MANIFEST, f"it is the manifest of {one['name']}")
        for name, one in zip(raws, manifests, strict=True)
        if one["name"] != name
    ]
    found += [
        Trouble(one["previous"]["name"], MANIFEST, f"it was removed: {one['name']} names it as the one before")
        for one in manifests
        if one["previous"] is not None and one["previous"]["name"] in half
    ]
    for earlier, one in zip([None, *manifests], manifests, strict=False):
        if earlier is not None and (reason := _unlinked(earlier, one, raws)):
            found.append(Trouble(one["name"], MANIFEST, reason))
    return found


def check_overlap(name: str, lines: Sequence[bytes], known: dict[int, str]) -> list[Trouble]:
    """Compare a bundle's verdicts with those of the bundles before; `known` has their hashes by number and grows."""
    found = []
    for number, line in enumerate(lines, 1):
        try:
            entry = read_entry(line)
        except NotAnEntry:
            continue
        if known.setdefault(entry.seq, entry.hash) != entry.hash:
            reason = "it is another one than in an earlier bundle"
            found.append(Trouble(name, VERDICTS, reason, number, entry.seq, entry.id))
    return found


def _check_file(
    name: str, file: str, data: bytes | None, wanted: Mapping[str, Any], manifest: Mapping[str, Any]
) -> list[Trouble]:
    if data is None:
        return [Trouble(name, file, "it is missing")]
    # the chain is checked even where the file's hash fits: whoever changed an entry may have changed that as well
    found = _check_verdicts(name, data, manifest["chain"]) if file == VERDICTS else []
    if digest(data) == wanted["sha256"] and len(data) == wanted["size"]:
        return found
    if file == FINDINGS:
        found = _check_findings(name, data)
    return found or [Trouble(name, file, "changed: its hash is not the one in the manifest")]


def _check_verdicts(name: str, data: bytes, chain: Mapping[str, Any]) -> list[Trouble]:
    lines = data.splitlines()
    first = chain["first"]
    before = None if first is None else Anchor(first["seq"] - 1, first["previous"])
    found = [Trouble(name, VERDICTS, one.reason, one.line, one.seq, one.id) for one in broken(lines, before)]
    if found or (len(lines) == chain["entries"] and _ends_so(lines, chain["last"])):
        return found
    if len(lines) == chain["entries"]:
        return [Trouble(name, VERDICTS, "its last entry is not the one that the manifest names", len(lines))]
    return [Trouble(name, VERDICTS, f"it has {len(lines)} entries, not {chain['entries']}", len(lines))]


def _ends_so(lines: Sequence[bytes], last: Mapping[str, Any] | None) -> bool:
    if not lines:
        return True  # it repeats where the chain stood, which the bundle before proves
    if last is None:
        return False
    entry = read_entry(lines[-1])
    return (entry.seq, entry.hash) == (last["seq"], last.get("hash"))


def _check_findings(name: str, data: bytes) -> list[Trouble]:
    found = []
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        try:
            sealed_document(line)
        except ValueError as error:
            found.append(Trouble(name, FINDINGS, f"changed: {error}", number, None, _claimed_id(line)))
    return found


def _unmanifested(name: str, read: Read) -> list[Trouble]:
    """Check what can be checked without a manifest."""
    data = read(VERDICTS)
    lines = [] if data is None else data.splitlines()
    return [Trouble(name, VERDICTS, one.reason, one.line, one.seq, one.id) for one in broken(lines, before=None)]


def _unlinked(earlier: Mapping[str, Any], one: Mapping[str, Any], raws: Mapping[str, bytes]) -> str:
    previous = one["previous"] or {}
    if one["number"] == earlier["number"]:
        return f"a fork: {earlier['name']} has the same number, as if two exports had run at once"
    if previous.get("name") != earlier["name"]:
        return f"the bundle before it, {previous.get('name')}, is missing"
    if previous.get("sha256") != digest(raws[earlier["name"]]):
        return f"the manifest of {earlier['name']} before it is another one than it was"
    return ""


def _claimed_id(line: bytes) -> str | None:
    try:
        found = json.loads(line).get("id")
    except (ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, str) else None
