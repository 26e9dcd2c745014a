"""A migration whose subscription leaves out what its source received by replication: that is not missed."""

from pathlib import Path

from tests.audits import Audit
from tests.helpers import Pair, wait_for


def test_what_is_not_sent_is_not_missed(pair: Pair, tmp_path: Path) -> None:
    pair.execute("CREATE TABLE account (id bigint PRIMARY KEY, note text)")
    pair.replicate("TABLE account", origin="none")
    with Audit(pair, tmp_path, pair.name.replace("_", "-")) as audit:
        pair.source.execute("SELECT pg_replication_origin_create(%s)", pair.name)
        session = pair.source.connect()
        session.execute("SELECT pg_replication_origin_session_setup(%s)", [pair.name])
        session.execute("INSERT INTO account SELECT n, 'came by replication' FROM generate_series(1, 50) n")
        session.close()
        pair.source.execute("INSERT INTO account SELECT n, 'written here' FROM generate_series(100, 149) n")
        wait_for(lambda: pair.target.value("SELECT count(*) FROM account") == 50, 60, "what was written here")
        tallies = audit.wait_resolved()
        assert tallies["changes"] >= 1
        assert [one for one in audit.findings() if one.detector == "transaction"] == []
    pair.source.execute("SELECT pg_replication_origin_drop(%s)", pair.name)
