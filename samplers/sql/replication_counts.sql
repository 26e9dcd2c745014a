-- Every counter of each subscription by the server's own name: errors from PostgreSQL 15, conflicts from 18.
SELECT s.subid::bigint AS oid, to_jsonb(s) - ARRAY['subid', 'subname', 'stats_reset'] AS counts
FROM pg_stat_subscription_stats s;
