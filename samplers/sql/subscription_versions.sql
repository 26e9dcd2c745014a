-- The transaction that last wrote each subscription's row: another one means that it was altered.
SELECT subname::text AS name, xmin::text::bigint AS version
FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
