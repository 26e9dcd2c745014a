-- Options of this database's subscriptions in PostgreSQL 15; 'd' is a two_phase that is not asked for.
SELECT oid::bigint AS oid, subname::text AS name, subskiplsn <> '0/0' AS skipping, subdisableonerr AS disable_on_error,
       subtwophasestate <> 'd' AS two_phase,
       CASE substream::text WHEN 'p' THEN 'parallel' WHEN 't' THEN 'on' WHEN 'true' THEN 'on' ELSE 'off' END AS streaming,
       'any' AS origin
FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
