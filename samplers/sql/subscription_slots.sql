-- The slots that some subscriptions of this database read on the source.
SELECT s.oid::bigint AS oid, s.subname::text AS subscription, s.subslotname::text AS slot, s.subenabled AS enabled
FROM pg_subscription s
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND s.subname = ANY (%(subscriptions)s)
ORDER BY s.subname;
