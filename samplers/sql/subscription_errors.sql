-- How often apply and the initial copy failed since the statistics were reset, from PostgreSQL 15.
SELECT subid::bigint AS oid, apply_error_count AS apply_errors, sync_error_count AS sync_errors
FROM pg_stat_subscription_stats;
