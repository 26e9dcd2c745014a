-- What some publications publish, on PostgreSQL 14, which has neither column lists nor row filters.
SELECT t.pubname::text AS publication, t.schemaname::text AS schema, t.tablename::text AS name, c.oid::bigint AS relid,
       NULL::text[] AS columns, NULL::text AS row_filter,
       array_remove(ARRAY[CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
                          CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END],
                    NULL) AS operations,
       p.pubviaroot AS via_root
FROM pg_publication_tables t
JOIN pg_publication p ON p.pubname = t.pubname
JOIN pg_namespace n ON n.nspname = t.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
WHERE t.pubname = ANY (%(publications)s)
ORDER BY 1, 2, 3;
