"""Where bundles are kept: a folder, or a prefix of an S3 bucket."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from auditor.bundles.manifest import MANIFEST, NAME, Bundle
from auditor.settings import ExportSettings
from comparators.errors import NotPermitted, SettingInvalid, StoreUnavailable

DRAFT = ".draft-"


class Place(Protocol):
    """A destination of bundles; `folder` is the name of one, or empty for the place itself."""

    def folders(self) -> list[str]:
        """List the bundles, half-written ones included, in their order."""

    def files(self, folder: str) -> list[str]:
        """List the files of a bundle."""

    def read(self, folder: str, file: str) -> bytes | None:
        """Give a file; `None` where there is none."""

    def write(self, bundle: Bundle) -> None:
        """Write a bundle so that nobody ever takes a part of it for the whole."""


def open_place(to: str, how: ExportSettings) -> Place:
    """Open a destination.

    Args:
        to: a folder, or `s3://BUCKET/PREFIX`.
        how: region, account, address and object lock, for S3.
    Raises:
        NeedsOperator, StoreUnavailable: it cannot be reached as configured.
    """
    if to.startswith("s3://"):
        from auditor.bundles.s3 import S3Place  # half a second, which who has a folder need not pay

        return S3Place(to, how)
    if "://" in to:
        raise SettingInvalid(f"{to} is no destination of evidence", hint="name a folder, or s3://BUCKET/PREFIX")
    return FolderPlace(Path(to))


class FolderPlace:
    """Bundles in a local folder; each is written aside, then renamed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def folders(self) -> list[str]:
        with _file_errors(self._path):
            if not self._path.exists():
                return []
            return sorted(one.name for one in self._path.iterdir() if one.is_dir() and NAME.fullmatch(one.name))

    def files(self, folder: str) -> list[str]:
        with _file_errors(self._path):
            found = self._path / folder
            return sorted(one.name for one in found.iterdir() if one.is_file()) if found.is_dir() else []

    def read(self, folder: str, file: str) -> bytes | None:
        with _file_errors(self._path):
            try:
                return (self._path / folder / file).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, bundle: Bundle) -> None:
        with _file_errors(self._path):
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                for left in self._path.glob(f"{DRAFT}*"):
                    shutil.rmtree(left, ignore_errors=True)
                draft = self._path / f"{DRAFT}{bundle.name}"
                draft.mkdir(mode=0o700)
                for name, data in [*bundle.files.items(), (MANIFEST, bundle.manifest)]:
                    _write_durably(draft / name, data)
                _sync(draft)
                draft.rename(self._path / bundle.name)
                _sync(self._path)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise NotPermitted(f"{path}: {error.strerror}", hint="name a folder that this user may use") from error
    except (NotADirectoryError, FileExistsError) as error:
        raise SettingInvalid(f"{path}: {error.strerror}", hint="name a folder") from error
    except OSError as error:
        raise StoreUnavailable(f"{path}: {error.strerror}") from error
