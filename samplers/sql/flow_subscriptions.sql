-- Subscriptions of this database: which slot on the source and which origin here belong to each.
SELECT subname::text AS name, subslotname::text AS slot, 'pg_' || oid AS origin
FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
