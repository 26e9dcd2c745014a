-- Every sequence of users, with the tables that own or call it, the column's own limit, and its value where readable.
WITH callers AS (
    SELECT d.refobjid AS sequence, array_agg(DISTINCT n.nspname || '.' || c.relname) AS tables
    FROM pg_depend d
    JOIN pg_attrdef f ON f.oid = d.objid
    JOIN pg_class c ON c.oid = f.adrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
    GROUP BY d.refobjid
), owners AS (
    SELECT d.objid AS sequence, on_.nspname || '.' || oc.relname AS table, a.attname::text AS column,
           CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 END::bigint AS most
    FROM pg_depend d
    JOIN pg_class oc ON oc.oid = d.refobjid
    JOIN pg_namespace on_ ON on_.oid = oc.relnamespace
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      AND d.refobjsubid > 0
)
SELECT n.nspname || '.' || c.relname AS name, o.table AS owner_table, o.column AS owner_column,
       coalesce(k.tables, '{}') AS callers,
       format_type(s.seqtypid, NULL) AS type, s.seqincrement AS increment, s.seqmin AS least, s.seqmax AS most,
       s.seqcycle AS cycles, s.seqcache AS cache, o.most AS column_most,
       has_sequence_privilege(c.oid, 'SELECT, USAGE') AS readable,
       CASE WHEN has_sequence_privilege(c.oid, 'SELECT, USAGE') THEN pg_sequence_last_value(c.oid) END AS last
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid AND c.relpersistence <> 't'
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN owners o ON o.sequence = c.oid
LEFT JOIN callers k ON k.sequence = c.oid
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
ORDER BY 1;
