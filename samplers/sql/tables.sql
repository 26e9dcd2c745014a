-- Shape, identity, owner and rights of tables, by `schema.table`; of every user's table where no names are given.
WITH wanted AS (
    SELECT c.*, n.nspname
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND CASE WHEN %(names)s::text[] IS NULL THEN n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
               ELSE n.nspname || '.' || c.relname = ANY (%(names)s::text[]) END
), keys AS (
    SELECT i.indexrelid, i.indrelid, i.indisprimary, i.indisreplident,
           array_agg(a.attname::text ORDER BY k.position) AS columns
    FROM wanted w
    JOIN pg_index i ON i.indrelid = w.oid
    CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, position)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
      AND k.position <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indrelid, i.indisprimary, i.indisreplident
    HAVING bool_and(a.attnotnull)
)
SELECT c.nspname::text AS schema, c.relname::text AS name, c.oid::bigint AS relid,
       c.relkind::text AS kind, c.relpersistence = 'u' AS unlogged,
       -- nearest first; empty unless the table is a partition
       (SELECT coalesce(json_agg(an.nspname || '.' || ac.relname ORDER BY up.position), '[]')
        FROM pg_partition_ancestors(c.oid) WITH ORDINALITY AS up (relid, position)
        JOIN pg_class ac ON ac.oid = up.relid JOIN pg_namespace an ON an.oid = ac.relnamespace
        WHERE up.relid <> c.oid) AS ancestors,
       c.relreplident::text AS identity,
       pg_get_userbyid(c.relowner)::text AS owner, pg_has_role(c.relowner, 'USAGE') AS owned,
       has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable,
       row_security_active(c.oid) AS row_security,
       (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
                                                   'attnum', a.attnum, 'generated', a.attgenerated::text,
                                                   'not_null', a.attnotnull) ORDER BY a.attnum), '[]')
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT k.columns FROM keys k WHERE k.indrelid = c.oid AND k.indisprimary) AS primary_key,
       (SELECT k.columns FROM keys k WHERE k.indrelid = c.oid AND k.indisreplident) AS identity_index,
       (SELECT coalesce(json_agg(k.columns ORDER BY k.indexrelid), '[]')
        FROM keys k WHERE k.indrelid = c.oid AND NOT k.indisprimary) AS unique_keys,
       -- what an UPDATE needs is checked on the leaf that it falls on
       CASE c.relkind WHEN 'p' THEN
           (SELECT bool_and(CASE l.relreplident
                            WHEN 'd' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid
                                                  AND i.indisprimary AND i.indisvalid AND i.indimmediate)
                            WHEN 'i' THEN EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid
                                                  AND i.indisreplident AND i.indisvalid)
                            ELSE l.relreplident = 'f' END)
            FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid
            WHERE t.isleaf AND l.relkind = 'r') END AS leaves_identified,
       CASE c.relkind WHEN 'p' THEN
           (SELECT bool_or(l.relreplident = 'f')
            FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid
            WHERE t.isleaf) END AS leaves_full
FROM wanted c
ORDER BY 1, 2;
