"""How one database is reached, and where the secret for it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditor.dsn import add_password, redact_dsn
from auditor.secret_ref import SecretRef


@dataclass(frozen=True, slots=True)
class SideSettings:
    """How one database is reached."""

    dsn: str = field(repr=False)
    """libpq connection string; may hold a password, so it is printed through `shown` only."""
    password: SecretRef | None = None
    """Where the password is. None: pgpass, certificates, IAM, or the dsn itself."""

    def conninfo(self) -> str:
        """Write the full connection string, secret included: for libpq only, never for a log.

        Raises:
            SettingInvalid: the secret cannot be read.
        """
        return add_password(self.dsn, self.password.resolve()) if self.password else self.dsn

    @property
    def shown(self) -> str:
        """The connection string with its secrets hidden."""
        return redact_dsn(self.dsn)


def side_at(value: Mapping[str, Any], where: str, folder: Path) -> SideSettings:
    """Read how a database is reached; `where` names the setting for errors, files count from `folder`."""
    return SideSettings(value["dsn"], secret_at(value.get("password"), f"{where}.password", folder))


def secret_at(reference: str | None, where: str, folder: Path) -> SecretRef | None:
    """Read a reference to a secret."""
    if reference is None:
        return None
    if reference.startswith("file:"):
        reference = f"file:{folder / reference.removeprefix('file:')}"
    return SecretRef(reference, where)
