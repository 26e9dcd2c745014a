"""A connection string is shown without its secrets, and a password added to it is the one libpq reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from auditor.dsn import add_password, has_password, redact_dsn

SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
MARKED = SECRETS.map(lambda text: f"hunter2{text}")


@pytest.mark.parametrize(
    "dsn",
    [
        "host=a password=hunter2 user=b",
        "host=a password='hunter2 with \\' quote' user=b",
        "host=a PASSWORD = hunter2",
        "host=a sslpassword=hunter2 sslkey=k",
        "postgresql://b:hunter2@a/app",
        "postgres://b:hunter2%40x@a:5432,c:5433/app?sslmode=require",
        "postgresql://a/app?password=hunter2&sslmode=require",
        "postgresql://a/app?sslpassword=hunter2",
        "postgresql://b:hun@ter/hunter2@a/app",
        "not a connection string hunter2",
        "password='hunter2",
    ],
)
def test_no_secret_is_shown(dsn):
    assert "hunter2" not in redact_dsn(dsn)
    assert "hunter2" not in redact_dsn(f" {dsn} ")


@pytest.mark.parametrize("dsn", ["host=a dbname='x y' user=b", "postgresql://b@a:5432/app?sslmode=require", "host="])
def test_what_is_not_secret_is_shown_as_it_is(dsn):
    assert redact_dsn(dsn) == dsn


@given(MARKED)
def test_no_password_survives_redaction(password):
    assert "hunter2" not in redact_dsn(make_conninfo("host=a", password=password))
    assert "hunter2" not in redact_dsn(add_password("postgresql://b@a/app", password))


@given(SECRETS, st.sampled_from(["host=a", "postgresql://b@a/app", "postgresql://b@a/app?sslmode=require"]))
def test_an_added_password_is_the_one_that_libpq_reads(password, dsn):
    whole = add_password(dsn, password)
    assert conninfo_to_dict(whole) == conninfo_to_dict(dsn) | {"password": password}
    assert has_password(whole)
    assert not has_password(dsn)
