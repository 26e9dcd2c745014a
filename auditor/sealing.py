"""Row keys under lock: sealed whole in frames and findings, shown to people as keyed hashes."""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from comparators.errors import PoisonFrame

_NONCE = 12
Texts = Sequence[bytes | None]


class Sealer:
    """Encrypts and names row keys with the key of one migration."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes) -> bytes:
        """Encrypt bytes as a whole."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, plain, None)

    def unseal(self, sealed: bytes) -> bytes:
        """Decrypt what `seal` made.

        Raises:
            PoisonFrame: it was sealed with another key or was damaged.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except InvalidTag as error:
            raise PoisonFrame("row keys were sealed with another evidence key") from error

    def name(self, table: str, key: Texts) -> str:
        """Give the keyed hash by which people tell one row's key from another."""
        text = json.dumps([table, _plain(key)]).encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:16]

    def seal_keys(self, keys: Sequence[Texts]) -> str:
        """Encrypt the keys of a finding into text."""
        return base64.b64encode(self.seal(json.dumps([_plain(key) for key in keys]).encode())).decode()

    def unseal_keys(self, sealed: str) -> list[list[bytes | None]]:
        """Decrypt the keys of a finding."""
        keys = json.loads(self.unseal(base64.b64decode(sealed)))
        return [[None if text is None else text.encode("latin-1") for text in key] for key in keys]


def _plain(key: Texts) -> list[str | None]:
    return [None if text is None else text.decode("latin-1") for text in key]
