-- Up to PostgreSQL 14 a database records no version of its default collation; this is the one it has now.
SELECT 'the database''s default' AS name, NULL::text AS recorded, pg_collation_actual_version(c.oid) AS actual,
       false AS keeps_version
FROM pg_database d
LEFT JOIN pg_collation c ON c.collcollate = d.datcollate AND c.collctype = d.datctype AND c.collprovider = 'c'
    AND c.collencoding IN (-1, d.encoding)
WHERE d.datname = current_database()
ORDER BY c.oid
LIMIT 1;
