-- Every replication slot of the server and how much WAL it holds back.
SELECT slot_name::text AS name, active, active_pid, database::text AS database, plugin::text AS plugin,
       (restart_lsn - '0/0')::bigint AS restart_lsn, (confirmed_flush_lsn - '0/0')::bigint AS confirmed_flush_lsn,
       wal_status,
       coalesce(((CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)
                 - restart_lsn), 0)::bigint AS retained_bytes
FROM pg_replication_slots
ORDER BY 1;
