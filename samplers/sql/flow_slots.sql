-- Every slot of the source with its walsender; what pg_stat_replication shows needs pg_read_all_stats.
SELECT s.slot_name::text AS slot, s.active, s.active_pid AS pid, s.wal_status, s.safe_wal_size AS safe_bytes,
       (s.confirmed_flush_lsn - '0/0')::bigint AS confirmed,
       greatest(pg_current_wal_insert_lsn() - s.restart_lsn, 0)::bigint AS retained_bytes,
       r.application_name::text AS application, (r.sent_lsn - '0/0')::bigint AS sent
FROM pg_replication_slots s
LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
ORDER BY 1;
