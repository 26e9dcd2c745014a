"""The form of a bundle: its files, and the manifest that names their hashes and the bundle before. Pure.

A destination holds bundles `NUMBER-TOKEN/`, each with a `manifest.json` written last. Its hash is over the rest of
it, and each manifest names the hash of the one before.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.verdicts import Document, canonical, sha256

FORMAT = "auditor-evidence/1"
MANIFEST = "manifest.json"
VERDICTS = "verdicts.jsonl"
FINDINGS = "findings.jsonl"
NAME = re.compile(r"(\d{6})-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something wrong with a bundle; `tampered` is a proof, the rest is not known or half-written."""

    bundle: str
    file: str
    reason: str
    line: int | None = None
    seq: int | None = None
    id: str | None = None
    tampered: bool = True


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle ready to be written: `files` without the manifest."""

    name: str
    manifest: bytes
    files: Mapping[str, bytes]


def make_bundle(token: str, about: Mapping[str, Any], files: Mapping[str, bytes], previous: bytes | None) -> Bundle:
    """Put a bundle together.

    Args:
        token: eight hexadecimal digits that no other export has.
        about: what the manifest says beside files and hashes.
        previous: the newest manifest at the destination.
    """
    before = None if previous is None else json.loads(previous)
    number = 1 if before is None else before["number"] + 1
    name = f"{number:06}-{token}"
    manifest = {
        **about,
        "format": FORMAT,
        "name": name,
        "number": number,
        "files": [{"name": name, "size": len(data), "sha256": digest(data)} for name, data in sorted(files.items())],
        "previous": None
        if before is None or previous is None
        else {"name": before["name"], "sha256": digest(previous)},
    }
    return Bundle(name, sealed_line(manifest), files)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sealed_line(document: Document) -> bytes:
    """Write a document with its own hash in it, in its one spelling."""
    return (canonical({**document, "hash": sha256(document)}) + "\n").encode()


def sealed_document(raw: bytes) -> Document:
    """Read what `sealed_line` wrote.

    Raises:
        ValueError: it was changed.
    """
    try:
        document = json.loads(raw)
        if not isinstance(document, dict):
            raise ValueError
        said = document.pop("hash", None)
    except (ValueError, RecursionError):
        raise ValueError("it cannot be read") from None
    if sealed_line(document) != raw or said != sha256(document):
        raise ValueError("its content and its hash do not fit")
    return document


def pretty(document: Any) -> bytes:
    """Write a document for people, in one spelling."""
    return (json.dumps(document, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
