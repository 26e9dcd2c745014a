-- Tables of this database's subscriptions, their state ('r' is ready) and the source position where the copy ended.
SELECT r.srsubid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, r.srsubstate::text AS state,
       coalesce((r.srsublsn - '0/0')::bigint, 0) AS since
FROM pg_subscription_rel r
JOIN pg_subscription s ON s.oid = r.srsubid
JOIN pg_class c ON c.oid = r.srrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1, 2, 3;
