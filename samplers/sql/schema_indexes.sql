-- Every index; without its name and its storage options the definition says what it is.
SELECT n.nspname || '.' || c.relname AS table, x.relname::text AS name,
       CASE WHEN i.indisunique THEN 'unique index' ELSE 'index' END AS kind,
       regexp_replace(replace(pg_get_indexdef(x.oid), ' INDEX ' || quote_ident(x.relname) || ' ON ', ' INDEX ON '),
                      ' WITH \([^)]*\)', '') AS definition,
       i.indisvalid AND i.indisready AND i.indislive AS sound,
       -- of a constraint, or part of a partitioned table's index
       EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
           OR EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = x.oid) AS implied
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
ORDER BY 1, 2;
