-- The subscription that brings the marker table: its apply worker, and whether the session's role may lock the table.
SELECT s.subenabled AS enabled,
       (SELECT min(w.pid) FROM pg_stat_subscription w
        WHERE w.subid = s.oid AND w.relid IS NULL AND to_jsonb(w) ->> 'leader_pid' IS NULL) AS worker,
       has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE') AND has_schema_privilege(n.oid, 'USAGE') AS may_lock
FROM pg_subscription s
JOIN pg_subscription_rel r ON r.srsubid = s.oid AND r.srsubstate = 'r'
JOIN pg_class c ON c.oid = r.srrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.subname = %(subscription)s AND n.nspname = %(schema)s AND c.relname = 'marker'
  AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
