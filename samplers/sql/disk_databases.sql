-- Bytes of all databases of the server; without pg_monitor only those the role may connect to can be asked for.
SELECT sum(pg_database_size(oid))::bigint AS bytes
FROM pg_database
WHERE datallowconn OR pg_has_role('pg_read_all_stats', 'USAGE');
