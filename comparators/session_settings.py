"""What every session of ours pins, whatever server, role, database or connection string say."""

from collections.abc import Mapping

PINNED = {
    "datestyle": "ISO,YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "search_path": "pg_catalog,pg_temp",
    "row_security": "off",
}
"""Settings on which the text of a value depends, and those that decide what a name or a read means."""

DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""What the user's connection string may say otherwise; a host that vanishes is noticed within half a minute."""


def options(given: str, extra: Mapping[str, str]) -> str:
    """Put the pinned settings behind the user's own `options`, so that they win.

    Args:
        extra: server settings to pin besides.
    """
    pinned = " ".join(f"-c {name}={value}" for name, value in {**PINNED, **extra}.items())
    return f"{given} {pinned}".strip()
