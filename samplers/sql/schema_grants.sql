-- What others than the owner may do with tables. MAINTAIN exists from PostgreSQL 17 only.
SELECT n.nspname || '.' || c.relname AS table,
       CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee)::text END || ': ' || lower(a.privilege_type)
           AS name
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN aclexplode(c.relacl) AS a
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND a.grantee <> c.relowner
  AND a.privilege_type <> 'MAINTAIN'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
ORDER BY 1, 2;
