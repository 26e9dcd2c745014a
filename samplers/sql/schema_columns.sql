-- Every column of every user's table; their order is of no account.
SELECT n.nspname || '.' || c.relname AS table, a.attname::text AS name, a.attnum AS position,
       -- an extension may live in another schema on the other side
       CASE WHEN e.objid IS NULL THEN format_type(a.atttypid, a.atttypmod)
            ELSE regexp_replace(format_type(a.atttypid, a.atttypmod), '^("([^"]|"")+"|[^".]+)\.', '') END AS type,
       a.attnotnull AS not_null,
       CASE a.attgenerated WHEN '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default,
       CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END AS generated,
       -- from PostgreSQL 17 a partition has its root's identity columns, before it has not
       CASE WHEN c.relispartition THEN '' ELSE a.attidentity::text END AS identity,
       CASE WHEN a.attcollation <> t.typcollation THEN l.nspname || '.' || o.collname END AS collation
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_depend e ON e.classid = 'pg_type'::regclass AND e.refclassid = 'pg_extension'::regclass
    AND e.deptype = 'e' AND e.objid = CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE t.oid END
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_collation o ON o.oid = a.attcollation
LEFT JOIN pg_namespace l ON l.oid = o.collnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
ORDER BY 1, 2;
