-- Whether the session's role sees what other roles' sessions do.
SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS all_seen, current_user::text AS role;
