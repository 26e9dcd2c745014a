-- Bytes of the log's folder; needs pg_monitor.
SELECT coalesce(sum(size), 0)::bigint AS bytes FROM pg_ls_waldir();
