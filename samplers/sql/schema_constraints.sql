-- Constraints that a table declares itself. From PostgreSQL 18 NOT NULL ones are listed too: the columns have those.
SELECT n.nspname || '.' || c.relname AS table, k.conname::text AS name,
       CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'x' THEN 'exclusion'
                      WHEN 'f' THEN 'foreign key' ELSE 'check' END AS kind,
       regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') AS definition,
       k.convalidated AS sound
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
-- what a partition inherits is its root's, and is named differently from one major version to the next
WHERE k.contype IN ('p', 'u', 'x', 'f', 'c') AND k.conparentid = 0 AND k.conislocal
  AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
ORDER BY 1, 2;
