-- The collation version that the database recorded when its indexes were built, and the one it would have now.
SELECT 'the database''s default' AS name, d.datcollversion AS recorded,
       pg_database_collation_actual_version(d.oid) AS actual, true AS keeps_version
FROM pg_database d
WHERE d.datname = current_database();
