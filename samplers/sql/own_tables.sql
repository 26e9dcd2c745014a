-- The tables in the audit's own schema, and whether the schema is there and may be changed.
SELECT n.nspname::text AS schema, pg_has_role(n.nspowner, 'USAGE') AS owned,
       (SELECT coalesce(array_agg(c.relname::text ORDER BY c.relname), '{}')
        FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')) AS tables
FROM pg_namespace n
WHERE n.nspname = %(schema)s;
