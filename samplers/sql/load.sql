-- What the server has to do for others, and how long our own sweep keeps it busy. Without the right to see other roles'
-- sessions, what they do is not known.
WITH rights AS (SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS all_seen),
     sessions AS (
         SELECT count(*) FILTER (WHERE state = 'active') AS active,
                count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting
         FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND left(application_name, 8) <> 'auditor '
     ),
     replicas AS (
         SELECT coalesce(max(extract(epoch FROM replay_lag)), 0) * 1000 AS lag
         FROM pg_stat_replication
         WHERE left(application_name, 8) <> 'auditor '
     ),
     ours AS (
         SELECT coalesce(max(extract(epoch FROM clock_timestamp() - query_start)), 0) AS running
         FROM pg_stat_activity
         WHERE state = 'active' AND application_name = %(sweeping)s AND datname = current_database()
     )
SELECT CASE WHEN all_seen THEN active END::float8 AS "active-sessions",
       CASE WHEN all_seen THEN lag END::float8 AS "replica-lag-ms",
       CASE WHEN all_seen THEN waiting END::float8 AS "lock-waits",
       greatest(running, 0)::float8 AS "statement-seconds"
FROM rights, sessions, replicas, ours;
