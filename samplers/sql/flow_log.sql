-- Where the source's log stands; the positions are read one after the other, the lowest first.
SELECT (flushed - '0/0')::bigint AS flushed, (written - '0/0')::bigint AS written,
       (pg_current_wal_insert_lsn() - '0/0')::bigint AS inserted
FROM (SELECT flushed, pg_current_wal_lsn() AS written
      FROM (SELECT pg_current_wal_flush_lsn() AS flushed OFFSET 0) f OFFSET 0) w;
