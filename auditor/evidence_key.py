"""The key of one migration for the HMACs and the encryption of row keys."""

import hashlib
import os
import secrets
from pathlib import Path

from auditor.settings import Settings


def evidence_key(settings: Settings) -> bytes:
    """Give the 32 bytes that key HMACs and encryption of row keys; made in the state folder unless configured.

    Raises:
        SettingInvalid: the secret cannot be read, or the state folder cannot be written.
    """
    if settings.evidence.key:
        return hashlib.sha256(settings.evidence.key.resolve().encode()).digest()
    file = settings.open_state_dir() / "evidence.key"
    if not file.exists():
        _write_once(file, secrets.token_hex(32))
    return bytes.fromhex(file.read_text(encoding="ascii").strip())


def _write_once(file: Path, text: str) -> None:
    # linked into place whole: of two processes that start together one wins, and nobody reads half a key
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
