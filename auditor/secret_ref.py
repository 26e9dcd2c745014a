"""References to secrets: the configuration names the place, never the secret."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from comparators.errors import SettingInvalid


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is; the secret itself is read at each use and never kept, so no repr can show it."""

    reference: str
    """`env:NAME` or `file:PATH`."""

    where: str = field(default="a secret", compare=False)
    """The setting that holds the reference, for errors."""

    def resolve(self) -> str:
        """Read the secret.

        Raises:
            SettingInvalid: the variable or the file is absent or empty.
        """
        kind, _, name = self.reference.partition(":")
        secret = self._from_env(name) if kind == "env" else self._from_file(Path(name))
        if not secret:
            raise SettingInvalid(f"{self.where}: {self.reference} is empty", hint="put the secret there")
        return secret

    def _from_env(self, name: str) -> str:
        if (secret := os.environ.get(name)) is None:
            raise SettingInvalid(
                f"{self.where}: the environment has no {name}", hint=f"set {name}, or name a file with file:PATH"
            )
        return secret

    def _from_file(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not text"
            raise SettingInvalid(
                f"{self.where}: {path}: {reason}", hint="make the file readable for this user"
            ) from None
