-- The main apply worker of each subscription that has one; table copies and parallel workers are left out.
SELECT subid::bigint AS oid, pid
FROM pg_stat_subscription w
WHERE pid IS NOT NULL AND relid IS NULL AND to_jsonb(w) ->> 'leader_pid' IS NULL;
