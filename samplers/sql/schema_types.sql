-- Enums, domains, ranges and composite types that users made, and the tables whose columns have them, however deep.
WITH RECURSIVE mine AS (
    SELECT t.oid, t.typarray, t.typtype, t.typbasetype, t.typtypmod, t.typnotnull, t.typdefault, t.typrelid,
           n.nspname || '.' || t.typname AS name
    FROM pg_type t
    JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
      AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid
                      AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
), made_of (outer_type, inner_type) AS (
    SELECT typarray, oid FROM mine WHERE typarray <> 0
    UNION ALL SELECT oid, typbasetype FROM mine WHERE typtype = 'd'
    UNION ALL SELECT m.oid, r.rngsubtype FROM mine m JOIN pg_range r ON r.rngtypid = m.oid
    UNION ALL SELECT m.oid, a.atttypid FROM mine m
              JOIN pg_attribute a ON a.attrelid = m.typrelid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE m.typtype = 'c'
), used (relation, type) AS (
    SELECT DISTINCT a.attrelid, a.atttypid
    FROM pg_attribute a
    JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
    WHERE a.attnum > 0 AND NOT a.attisdropped
      AND a.atttypid IN (SELECT oid FROM mine UNION ALL SELECT typarray FROM mine)
    UNION
    SELECT u.relation, m.inner_type FROM used u JOIN made_of m ON m.outer_type = u.type
), users AS (
    SELECT u.type, array_agg(n.nspname || '.' || c.relname ORDER BY 1) AS tables
    FROM used u
    JOIN pg_class c ON c.oid = u.relation
    JOIN pg_namespace n ON n.oid = c.relnamespace
    GROUP BY u.type
)
SELECT m.name, CASE m.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' ELSE 'composite' END
           AS kind,
       CASE m.typtype
           WHEN 'e' THEN (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
                          FROM pg_enum e WHERE e.enumtypid = m.oid)
           WHEN 'd' THEN array_remove(
                ARRAY[format_type(m.typbasetype, m.typtypmod), CASE WHEN m.typnotnull THEN 'NOT NULL' END,
                      'DEFAULT ' || m.typdefault]
                || (SELECT array_agg(regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') ORDER BY 1)
                    FROM pg_constraint k WHERE k.contypid = m.oid AND k.contype = 'c'), NULL)
           WHEN 'r' THEN (SELECT ARRAY[format_type(r.rngsubtype, NULL)] FROM pg_range r WHERE r.rngtypid = m.oid)
           ELSE (SELECT array_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                                  ORDER BY a.attnum)
                 FROM pg_attribute a WHERE a.attrelid = m.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
       END AS members,
       coalesce(u.tables, '{}') AS tables
FROM mine m
LEFT JOIN users u ON u.type = m.oid
ORDER BY 1;
