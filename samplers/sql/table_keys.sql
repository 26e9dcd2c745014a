-- Unique indexes over columns that are never NULL, with how each column is ordered; primary keys first.
SELECT i.indrelid::bigint AS relid, i.indisprimary AS is_primary,
       json_agg(json_build_object(
           'name', a.attname,
           'collation', CASE WHEN k.sorted_by <> 0 THEN quote_ident(cn.nspname) || '.' || quote_ident(c.collname) END,
           'own', k.sorted_by = a.attcollation,
           'deterministic', coalesce(c.collisdeterministic, true),
           -- the database's default stands for what the database was created with
           'provider', CASE c.collprovider WHEN 'd' THEN coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')
                                           ELSE c.collprovider::text END,
           'locale', CASE c.collprovider
               WHEN 'd' THEN CASE coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') WHEN 'c' THEN d.datcollate
                   ELSE concat_ws(' ', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
                                  to_jsonb(d) ->> 'daticurules') END
               ELSE concat_ws(' ', coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale',
                                            c.collcollate), to_jsonb(c) ->> 'collicurules') END,
           'version', pg_collation_actual_version(c.oid)) ORDER BY k.position) AS columns
FROM pg_index i
JOIN pg_class ic ON ic.oid = i.indexrelid
JOIN pg_am am ON am.oid = ic.relam AND am.amname = 'btree'
CROSS JOIN unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[])
    WITH ORDINALITY AS k (attnum, sorted_by, class, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_opclass o ON o.oid = k.class
JOIN pg_database d ON d.datname = current_database()
LEFT JOIN pg_collation c ON c.oid = k.sorted_by
LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace
WHERE i.indrelid = ANY (%(relids)s::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
  AND i.indexprs IS NULL AND k.position <= i.indnkeyatts
GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indnkeyatts
HAVING count(*) = i.indnkeyatts AND bool_and(o.opcdefault)
   -- from PostgreSQL 18 a column may be declared NOT NULL and still hold NULLs from before
   AND bool_and(a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint n
                                             WHERE n.conrelid = i.indrelid AND n.contype = 'n' AND NOT n.convalidated
                                               AND n.conkey = ARRAY[a.attnum]))
ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid;
