-- End of the last source transaction that each replication origin's apply has committed; a right of its own.
SELECT external_id AS origin, (remote_lsn - '0/0')::bigint AS progress
FROM pg_show_replication_origin_status()
WHERE external_id IS NOT NULL;
