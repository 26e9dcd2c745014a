"""Which release this is."""

from importlib.metadata import PackageNotFoundError, version


def auditor_version() -> str:
    """Give the installed release, or say that none is installed."""
    try:
        return version("auditor")
    except PackageNotFoundError:
        return "unknown"
