-- What one server and the session's role are: identity, settings that decide whether an audit is possible, rights.
SELECT current_setting('server_version_num')::int AS version,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
       -- the control file names the old timeline until the first checkpoint after a promotion
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END AS timeline,
       pg_is_in_recovery() AS in_recovery,
       current_setting('wal_level') AS wal_level,
       (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS max_slot_wal_keep_megabytes,
       current_setting('max_replication_slots')::int AS slots_allowed,
       (SELECT count(*)::int FROM pg_replication_slots) AS slots_used,
       extract(epoch FROM pg_postmaster_start_time())::float8 AS started_at,
       current_database()::text AS database,
       (SELECT oid::bigint FROM pg_database WHERE datname = current_database()) AS database_oid,
       current_user::text AS role,
       r.rolsuper AS superuser,
       r.rolsuper OR r.rolreplication AS may_replicate,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       has_function_privilege('pg_show_replication_origin_status()', 'EXECUTE')
           AND has_function_privilege('pg_replication_origin_progress(text,boolean)', 'EXECUTE') AS may_read_progress
FROM pg_roles r
WHERE r.rolname = current_user;
