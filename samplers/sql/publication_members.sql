-- The tables that a publication names itself, not those it has by schema or by FOR ALL TABLES.
SELECT p.pubname::text AS publication, n.nspname::text AS schema, c.relname::text AS name
FROM pg_publication_rel r
JOIN pg_publication p ON p.oid = r.prpubid
JOIN pg_class c ON c.oid = r.prrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = ANY (%(publications)s)
ORDER BY 1, 2, 3;
