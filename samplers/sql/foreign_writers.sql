-- What else may write to this database: subscriptions of it that are enabled, and extensions that run jobs.
SELECT 'subscription' AS kind, s.subname::text AS name
FROM pg_subscription s
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.subenabled
  AND NOT s.subname = ANY (%(subscriptions)s)
UNION ALL
SELECT 'extension', e.extname::text FROM pg_extension e WHERE e.extname IN ('pg_cron', 'pg_partman', 'pgagent')
ORDER BY 1, 2;
