-- Apply workers of the subscription that wait for a lock on the marker table.
SELECT l.pid
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_stat_subscription w ON w.pid = l.pid
WHERE NOT l.granted AND n.nspname = %(schema)s AND c.relname = 'marker' AND w.subname = %(subscription)s
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database());
