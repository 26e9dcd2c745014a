-- Every user's table, partition, foreign table, view and materialized view, with what decides how it is replicated.
WITH extension_members AS (
    SELECT objid FROM pg_depend
    WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e'
), relations AS (
    SELECT c.*, n.nspname
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.relpersistence <> 't'
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
), keys AS (
    SELECT i.indrelid, i.indisprimary, i.indisreplident,
           array_agg(format_type(a.atttypid, NULL) ORDER BY k.position) AS types
    FROM relations r
    JOIN pg_index i ON i.indrelid = r.oid AND (i.indisprimary OR i.indisreplident)
    CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisvalid AND i.indimmediate AND k.position <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indisreplident
), parents AS (
    SELECT h.inhrelid, min(n.nspname || '.' || p.relname) AS parent
    FROM pg_inherits h
    JOIN pg_class p ON p.oid = h.inhparent AND p.relkind = 'p'
    JOIN pg_namespace n ON n.oid = p.relnamespace
    GROUP BY h.inhrelid
)
SELECT r.nspname || '.' || r.relname AS name, r.relkind::text AS kind, r.relpersistence = 'u' AS unlogged,
       pg_get_userbyid(r.relowner)::text AS owner,
       r.relrowsecurity AS row_security, r.relforcerowsecurity AS forced,
       r.relreplident::text AS identity,
       CASE r.relreplident WHEN 'f' THEN true
                           WHEN 'd' THEN p.indrelid IS NOT NULL
                           WHEN 'i' THEN i.indrelid IS NOT NULL ELSE false END AS identified,
       coalesce(p.types, '{}') AS key_types,
       u.parent, CASE WHEN r.relispartition THEN pg_get_expr(r.relpartbound, r.oid) END AS bound,
       CASE r.relkind WHEN 'p' THEN pg_get_partkeydef(r.oid) END AS partitioned_by,
       r.relispopulated AS populated, r.oid IN (SELECT objid FROM extension_members) AS of_extension
FROM relations r
LEFT JOIN keys p ON p.indrelid = r.oid AND p.indisprimary
LEFT JOIN keys i ON i.indrelid = r.oid AND i.indisreplident
LEFT JOIN parents u ON u.inhrelid = r.oid
ORDER BY 1;
