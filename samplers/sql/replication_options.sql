-- Options of this database's subscriptions before PostgreSQL 15; never the connection string.
SELECT oid::bigint AS oid, subname::text AS name, false AS skipping, false AS disable_on_error, false AS two_phase,
       CASE substream::text WHEN 'p' THEN 'parallel' WHEN 't' THEN 'on' WHEN 'true' THEN 'on' ELSE 'off' END AS streaming,
       'any' AS origin
FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
