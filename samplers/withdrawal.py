"""Take a table out of our publication on the target the moment it would break apply.

A published UPDATE or DELETE of a table without a replica identity is an error, for the apply worker too. `prepare`
keeps such tables out; a key that is dropped later is noticed here, and our publication gives way (decision 0022).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence

from psycopg import Error, sql

from samplers.catalog import PublishedTable, TableShape
from samplers.connections import failure
from samplers.plan import identity_missing
from samplers.rows import Session

log = logging.getLogger(__name__)


def give_way(
    target: Session, publication: str, ours: Sequence[PublishedTable], shapes: Mapping[str, TableShape]
) -> list[PublishedTable]:
    """Take every table out of our publication that makes writes fail; give those that stay.

    Raises:
        NotPermitted, SideUnavailable, ...: some may still be there; call again.
    """
    withdrawn = in_the_way(ours, shapes, publication, target.info.server_version)
    for name in withdrawn:
        log.error("%s lost its replica identity: our publication gives way", name, extra={"action": "withdrawn"})
        withdraw(target, publication, shapes[name])
    return [table for table in ours if table.full_name not in withdrawn]


def in_the_way(
    ours: Iterable[PublishedTable], shapes: Mapping[str, TableShape], publication: str, version: int
) -> list[str]:
    """List the tables whose updates our publication would make fail, as `schema.table`.

    Args:
        version: of the target's server, as in `server_version_num`.
    """
    shown = [table.full_name for table in ours if table.publication == publication and "update" in table.operations]
    return [name for name in shown if name in shapes and identity_missing(shapes[name], version)]


def withdraw(connection: Session, publication: str, table: TableShape) -> None:
    """Take one table out of a publication of ours.

    Raises:
        NotPermitted, SideUnavailable, ...: it is still there; call again.
    """
    statement = sql.SQL("ALTER PUBLICATION {} DROP TABLE {}").format(
        sql.Identifier(publication), sql.Identifier(table.schema, table.name)
    )
    try:
        connection.execute(statement)
    except Error as error:
        raise failure(error, f"take {table.full_name} out of {publication}") from error
