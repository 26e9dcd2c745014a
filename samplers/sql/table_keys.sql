-- Unique indexes over columns that are never NULL, with how each column is ordered; primary keys first.
WITH home AS (
    -- what the collation `default` stands for; the columns differ between versions
    SELECT f.provider, CASE f.provider WHEN 'c' THEN d.datcollate
               ELSE coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') END AS locale,
           to_jsonb(d) ->> 'daticurules' AS rules
    FROM pg_database d
    CROSS JOIN LATERAL (SELECT coalesce(to_jsonb(d) ->> 'datlocprovider', 'c')) AS f (provider)
    WHERE d.datname = current_database()
), collations AS (
    SELECT c.oid, c.collprovider::text AS provider, c.collisdeterministic AS deterministic,
           quote_ident(n.nspname) || '.' || quote_ident(c.collname) AS name,
           coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale', c.collcollate) AS locale,
           to_jsonb(c) ->> 'collicurules' AS rules
    FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
    WHERE c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))
), orders AS (
    SELECT c.oid, c.name, c.deterministic, c.provider, concat_ws(' ', c.locale, c.rules) AS locale, c.oid AS versioned
    FROM collations c WHERE c.provider <> 'd'
    UNION ALL
    -- before PostgreSQL 16 the default tells no version, but another collation of its locale does
    SELECT c.oid, c.name, c.deterministic, h.provider, concat_ws(' ', h.locale, h.rules),
           CASE WHEN current_setting('server_version_num')::int >= 160000 THEN c.oid
                ELSE (SELECT o.oid FROM collations o
                      WHERE o.provider = h.provider
                        AND lower(replace(o.locale, '-', '')) = lower(replace(h.locale, '-', ''))
                      ORDER BY o.oid LIMIT 1) END
    FROM collations c CROSS JOIN home h WHERE c.provider = 'd'
)
SELECT i.indrelid::bigint AS relid, i.indisprimary AS is_primary,
       json_agg(json_build_object(
           'name', a.attname, 'collation', c.name, 'own', k.sorted_by = a.attcollation,
           'deterministic', coalesce(c.deterministic, true), 'provider', c.provider, 'locale', c.locale,
           -- asked of no other collation: one whose locale the system has lost is an error
           'version', pg_collation_actual_version(c.versioned)) ORDER BY k.position) AS columns
FROM pg_index i
JOIN pg_class ic ON ic.oid = i.indexrelid
JOIN pg_am am ON am.oid = ic.relam AND am.amname = 'btree'
CROSS JOIN unnest(i.indkey::int2[], i.indcollation::oid[], i.indclass::oid[])
    WITH ORDINALITY AS k (attnum, sorted_by, class, position)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
JOIN pg_opclass o ON o.oid = k.class
LEFT JOIN orders c ON c.oid = k.sorted_by
WHERE i.indrelid = ANY (%(relids)s::oid[]) AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
  AND i.indexprs IS NULL AND k.position <= i.indnkeyatts
GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indnkeyatts
HAVING count(*) = i.indnkeyatts AND bool_and(o.opcdefault)
   -- from PostgreSQL 18 a column may be declared NOT NULL and still hold NULLs from before
   AND bool_and(a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint n
                                             WHERE n.conrelid = i.indrelid AND n.contype = 'n' AND NOT n.convalidated
                                               AND n.conkey = ARRAY[a.attnum]))
ORDER BY i.indrelid, i.indisprimary DESC, i.indexrelid;
