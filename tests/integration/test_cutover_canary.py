"""The canary is seen through every door of every proxy that leads to the new side, and through no other."""

from dataclasses import dataclass
from typing import Any

import pytest

from comparators.errors import NeedsOperator, NotReady, SideUnavailable
from orchestrator.adapters.canary import Canary
from orchestrator.deadlines import Deadline
from tests.helpers import Pair, unique_name

OURS = "auditor_test"


@dataclass
class Named:
    """As much of a proxy as the canary asks."""

    name: str


def soon(seconds: float = 20) -> Deadline:
    return Deadline.within(seconds, "the test")


def through(*names: str) -> list[Any]:
    return [Named(name) for name in names]


@pytest.fixture
def switched(pair: Pair) -> Pair:
    pair.execute(f"CREATE SCHEMA {OURS}; CREATE TABLE {OURS}.marker (id int PRIMARY KEY, nonce bigint, at timestamptz)")
    return pair


def canary(pair: Pair, **doors: list[str]) -> Canary:
    return Canary(pair.target.dsn, schema=OURS, doors=doors)


def test_it_is_read_back_through_every_door(switched: Pair) -> None:
    dsn = switched.target.dsn
    made = canary(switched, pool=[dsn], edge=[dsn, dsn])
    made.warm(soon())
    facts = made.write(through("pool", "edge"), "one", soon())
    assert {"nonce": "one", "proxies": 2, "doors": 3} == facts
    assert facts == made.write(through("pool", "edge"), "one", soon())
    made.close()


def test_a_node_that_still_leads_to_the_old_side_is_told(switched: Pair) -> None:
    made = canary(switched, edge=[switched.target.dsn, switched.source.dsn])
    with pytest.raises(NotReady, match="proxy edge"):
        made.write(through("edge"), "one", soon())
    made.close()


def test_a_nonce_of_an_earlier_attempt_is_not_taken_for_this_one(switched: Pair) -> None:
    switched.source.execute(f"INSERT INTO {OURS}.marker VALUES (5, 1, now())")
    made = canary(switched, pool=[switched.source.dsn])
    with pytest.raises(NotReady, match="proxy pool"):
        made.write(through("pool"), "one", soon())
    made.close()


def test_a_door_that_nobody_opens_is_no_proof(switched: Pair) -> None:
    made = canary(switched, pool=[f"{switched.target.dsn} port=1"])
    with pytest.raises(SideUnavailable):
        made.write(through("pool"), "one", soon())
    with pytest.raises(NeedsOperator, match="another"):
        made.write(through("another"), "one", soon())
    assert ["canary-probe"] == [blocker.name for blocker in made.check()]
    made.close()


def test_a_role_that_would_not_see_it_is_told_before_anything_is_held(switched: Pair) -> None:
    role = unique_name("blind")
    for side in (switched.source, switched.target):
        side.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'blind'")
    made = canary(switched, pool=[f"{switched.source.dsn} user={role} password=blind"])
    (blocker,) = made.check()
    assert ("canary-probe", True) == (blocker.name, role in blocker.reason)
    switched.target.execute(f"GRANT USAGE ON SCHEMA {OURS} TO {role}; GRANT SELECT ON {OURS}.marker TO {role}")
    assert [] == made.check()
    made.close()
    for side in (switched.source, switched.target):
        side.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_control_role_that_may_not_write_it_is_told(switched: Pair) -> None:
    role = unique_name("poor")
    switched.target.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'; GRANT USAGE ON SCHEMA {OURS} TO {role}")
    made = Canary(f"{switched.target.dsn} user={role} password=poor", schema=OURS, doors={})
    assert ["canary-rights"] == [blocker.name for blocker in made.check()]
    made.close()
    switched.target.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
