-- How much is in use of what settings limit, on the whole server, and what the session's role sees of settings.
SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS in_recovery,
       (SELECT count(*)::int FROM pg_stat_replication) AS walsenders,
       (SELECT count(*)::int FROM pg_replication_origin) AS origins,
       (SELECT count(*)::int FROM pg_subscription WHERE subenabled) AS subscriptions,
       (SELECT array_agg(rolname::text) FROM pg_roles) AS roles,
       current_user::text AS role, pg_has_role('pg_read_all_settings', 'USAGE') AS all_seen;
