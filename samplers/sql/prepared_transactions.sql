-- Transactions of this database that were prepared and neither committed nor rolled back.
SELECT gid, owner::text AS role, greatest(extract(epoch FROM clock_timestamp() - prepared), 0)::float8 AS seconds
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY gid;
