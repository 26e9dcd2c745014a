-- Extensions of this database.
SELECT extname::text AS name, extversion AS version FROM pg_extension ORDER BY 1;
