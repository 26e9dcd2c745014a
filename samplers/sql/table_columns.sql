-- Columns of some tables as they were declared, and how many rows the tables are thought to have.
SELECT c.oid::bigint AS relid, a.attname::text AS name, a.atttypid::bigint AS type,
       format_type(a.atttypid, a.atttypmod) AS declared, t.typtype = 'd' AS domain, a.attgenerated::text AS generated
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.oid = ANY (%(relids)s::oid[])
ORDER BY c.oid, a.attnum;
