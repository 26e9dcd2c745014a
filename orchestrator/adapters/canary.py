"""The canary: a nonce written on the new side, and read back by a new session through every door of every proxy.

It is a row of the auditor's own marker table: no table of the user's is touched. A proxy of which one node still leads
to the old side shows another number there, or none.
"""

from collections.abc import Mapping, Sequence

from psycopg import sql

from comparators.errors import AuditorError, NeedsOperator, NotReady
from comparators.positions import Side
from orchestrator.adapters.markers import number_of
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker, Facts, Proxy

ROWS = {Side.TARGET: 5, Side.SOURCE: 6}
"""Of the marker table, by the side that is written to; the drain's marker has row 4.

The source's is replicated once the migration's own way runs again after a rollback: were it the target's, apply would
stop at it for ever.
"""
CHECK_SECONDS = 10.0
_RIGHTS = """
SELECT has_schema_privilege($1, $2, 'USAGE') AND has_table_privilege($1, $3, 'SELECT')"""
_OURS = """
SELECT has_table_privilege($1, 'INSERT') AND has_table_privilege($1, 'DELETE')"""


class Canary:
    """Proves that writes are taken by the new side, and that what reads through the proxies reads there."""

    def __init__(
        self, new: str, *, schema: str, doors: Mapping[str, Sequence[str]], side: Side = Side.TARGET
    ) -> None:  # fmt: skip
        """Remember where to look; nothing is opened yet.

        Args:
            new: connection string of the control role.
            schema: holds the marker table on the new side.
            doors: of each proxy by its name: connection strings that lead through it, one for each of its nodes.
            side: which one the new side is.
        """
        self._row = ROWS[side]
        self._new, self._schema, self._doors = Session(new, "canary"), schema, doors
        self._table = sql.Identifier(schema, "marker")

    def close(self) -> None:
        """End its session."""
        self._new.close()

    def check(self) -> Sequence[Blocker]:
        """Say which role would not see the canary."""
        deadline = Deadline.within(CHECK_SECONDS, "check the canary")
        return [*self._ours(deadline), *(b for name in self._doors for b in self._theirs(name, deadline))]

    def warm(self, deadline: Deadline) -> None:
        """Open the session.

        Raises:
            SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
        """
        self._new.warm(deadline)

    def write(self, through: Sequence[Proxy], nonce: str, deadline: Deadline) -> Facts:
        """Write a nonce on the new side, read it back through every proxy; with that `nonce`, and `proxies` counted.

        Raises:
            NotReady: a proxy shows something else: it leads elsewhere.
            NeedsOperator: nobody said how to read through a proxy.
        """
        # as a new row, so that what is there matters to nobody
        self._new.execute(
            sql.SQL("DELETE FROM {table} WHERE id = {row}; INSERT INTO {table} VALUES ({row}, {number}, now())").format(
                table=self._table, row=sql.Literal(self._row), number=sql.Literal(number_of(nonce))
            ),
            deadline=deadline,
        )
        doors = {proxy.name: self._through(proxy.name, nonce, deadline) for proxy in through}
        return {"nonce": nonce, "proxies": len(doors), "doors": sum(doors.values())}

    def _through(self, name: str, nonce: str, deadline: Deadline) -> int:
        """Read through every door of a proxy, and count them."""
        doors = self._doors.get(name)
        if not doors:
            raise NeedsOperator(f"proxy {name} has no probe", hint=f"configure cutover.proxies: probe of {name}")
        query = sql.SQL("SELECT nonce FROM {} WHERE id = {}").format(self._table, sql.Literal(self._row))
        for dsn in doors:
            with Session(dsn, f"canary through {name}", pinned=False) as session:
                if session.value(query, deadline=deadline) != number_of(nonce):
                    raise NotReady(f"proxy {name} does not show what was written on the new side")
        return len(doors)

    def _ours(self, deadline: Deadline) -> list[Blocker]:
        table = self._table.as_string(None)
        try:
            if self._new.ask(_OURS, [table], deadline=deadline) == [(True,)]:
                return []
            reason = f"the control role of the new side may not write {table}"
        except AuditorError as error:
            reason = f"the canary cannot be checked: {error}"
        return [Blocker("canary-rights", reason, f"GRANT INSERT, DELETE ON {table} to the control role")]

    def _theirs(self, name: str, deadline: Deadline) -> list[Blocker]:
        """See on the new side that the roles of a proxy's probes may read the canary there."""
        table = self._table.as_string(None)
        try:
            roles = {self._role(name, dsn, deadline) for dsn in self._doors[name]}
            blind = [
                role for role in sorted(roles)
                if self._new.ask(_RIGHTS, [role, self._schema, table], deadline=deadline) != [(True,)]
            ]  # fmt: skip
        except AuditorError as error:
            hint = getattr(error, "hint", "look again")
            return [Blocker("canary-probe", f"proxy {name} cannot be read through: {error}", hint)]
        return [
            Blocker("canary-probe", f"role {role}, which reads through proxy {name}, may not read {table}",
                    f'on the new side: GRANT USAGE ON SCHEMA "{self._schema}" and SELECT ON {table} TO "{role}"')
            for role in blind
        ]  # fmt: skip

    def _role(self, name: str, dsn: str, deadline: Deadline) -> str:
        with Session(dsn, f"canary through {name}", pinned=False) as session:
            return str(session.value("SELECT current_user", deadline=deadline))
