-- Collations that a user's column or index names, with the version recorded and the one they would have now.
SELECT n.nspname || '.' || c.collname AS name, c.collversion AS recorded,
       pg_collation_actual_version(c.oid) AS actual, true AS keeps_version
FROM pg_collation c
JOIN pg_namespace n ON n.oid = c.collnamespace
WHERE c.collprovider <> 'd' AND c.oid IN (
    SELECT k.oid
    FROM pg_index i
    JOIN pg_class t ON t.oid = i.indrelid
    JOIN pg_namespace m ON m.oid = t.relnamespace
    CROSS JOIN unnest(i.indcollation) AS k (oid)
    WHERE m.nspname <> 'information_schema' AND m.nspname !~ '^pg_' AND m.nspname <> %(own)s
    UNION ALL
    SELECT a.attcollation
    FROM pg_attribute a
    JOIN pg_class t ON t.oid = a.attrelid AND t.relkind IN ('r', 'p', 'm')
    JOIN pg_namespace m ON m.oid = t.relnamespace
    WHERE a.attnum > 0 AND NOT a.attisdropped
      AND m.nspname <> 'information_schema' AND m.nspname !~ '^pg_' AND m.nspname <> %(own)s)
ORDER BY 1;
