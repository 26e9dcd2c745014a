-- Whether the marker table is here, and its state in whichever of the subscriptions brings it ('r' is ready).
SELECT (SELECT min(r.srsubstate::text)
        FROM pg_subscription_rel r
        JOIN pg_subscription s ON s.oid = r.srsubid
        WHERE r.srrelid = c.oid AND s.subname = ANY (%(subscriptions)s)) AS state,
       has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = 'marker';
