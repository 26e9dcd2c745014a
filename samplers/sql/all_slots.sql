-- Every replication slot of the server with who reads it; columns that a version lacks are NULL.
SELECT s.slot_name::text AS name, s.slot_type::text AS type, s.plugin::text AS plugin, s.database::text AS database,
       s.database = current_database() AS here, s.active, s.temporary, s.wal_status,
       -- what is kept for it: reserved by position, or at most what is left
       CASE WHEN s.restart_lsn IS NULL THEN NULL
            ELSE greatest((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                                ELSE pg_current_wal_insert_lsn() END) - s.restart_lsn, 0)::bigint END AS retained_bytes,
       coalesce(a.application_name, '') AS consumer, host(a.client_addr) AS host,
       extract(epoch FROM clock_timestamp() - (to_jsonb(s) ->> 'inactive_since')::timestamptz)::float8
           AS inactive_seconds,
       (to_jsonb(s) ->> 'failover')::boolean AS failover, (to_jsonb(s) ->> 'synced')::boolean AS synced,
       coalesce(to_jsonb(s) ->> 'invalidation_reason',
                CASE WHEN (to_jsonb(s) ->> 'conflicting')::boolean THEN 'conflict' END) AS invalidated
FROM pg_replication_slots s
LEFT JOIN pg_stat_activity a ON a.pid = s.active_pid
ORDER BY 1;
