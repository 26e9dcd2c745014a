"""The canary's row on both sides: written whole on the source, changed behind replication's back on the target."""

from dataclasses import dataclass

from comparators.errors import NotPermitted, NotReady
from samplers.rows import Session, Text, fetch, insert_position

WHOLE, PLANTED = b"whole", b"planted"


@dataclass(frozen=True, slots=True)
class CanaryRow:
    """The one row of the canary table, in the schema of our own objects."""

    schema: str

    @property
    def table(self) -> str:
        return f"{self.schema}.canary"

    def write(self, source: Session, *, anew: bool = False) -> int:
        """Write the row on the source and give its new number: replication brings it, and heals what was planted.

        Args:
            anew: as a new row; an update of one that has vanished from the target would never bring it back.
        """
        if anew:
            fetch(source, f'DELETE FROM "{self.schema}".canary')
        statement = (
            f'INSERT INTO "{self.schema}".canary (id, body, n, at) VALUES (1, $1, 1, clock_timestamp())'
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body, n = canary.n + 1, at = excluded.at RETURNING n"
        )
        return _number(fetch(source, statement, [WHOLE]))

    def arrived(self, target: Session, number: int) -> bool:
        """Say whether the target has the row with a number."""
        statement = f'SELECT n FROM "{self.schema}".canary WHERE id = 1 AND n = $1 AND body = $2'
        return bool(fetch(target, statement, [str(number).encode(), WHOLE]))

    def plant(self, target: Session) -> int:
        """Change the row on the target as no replication does, and give a target position before the change.

        Raises:
            NotReady: the row is not there any more.
            NotPermitted: our role may not write to the canary table on the target.
        """
        before = insert_position(target)
        fetch(target, "SET default_transaction_read_only = off")  # for this session: a guarded target stays guarded
        statement = f'UPDATE "{self.schema}".canary SET body = $1 WHERE id = 1 RETURNING n'
        if not fetch(target, statement, [PLANTED]):
            raise NotReady("the canary's row has vanished from the target")
        return before


def _number(rows: list[tuple[Text, ...]]) -> int:
    if not rows or rows[0][0] is None:
        raise NotPermitted("the canary's row could not be written", hint="grant INSERT and UPDATE on the canary table")
    return int(rows[0][0])
