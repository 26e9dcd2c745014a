-- What some types are below their domains: kind, element, modifiers, whether a cast to text is odd.
WITH RECURSIVE below (type, base, typmod) AS (
    SELECT t.oid, t.oid, -1 FROM pg_type t WHERE t.oid = ANY (%(types)s::oid[])
    UNION ALL
    SELECT b.type, t.typbasetype, t.typtypmod FROM below b JOIN pg_type t ON t.oid = b.base AND t.typtype = 'd'
)
SELECT b.type::bigint AS type, t.typname::text AS name, n.nspname::text AS schema, t.typtype::text AS kind,
       e.typname::text AS element, format_type(t.oid, b.typmod) AS declared,
       -- a cast function that somebody wrote may leave out what the output function prints
       CASE WHEN EXISTS (SELECT FROM pg_cast k JOIN pg_proc f ON f.oid = k.castfunc
                         WHERE k.castsource = t.oid AND k.casttarget = 'text'::regtype
                           AND f.pronamespace <> 'pg_catalog'::regnamespace)
            THEN t.typoutput::regproc::text END AS printer
FROM below b
JOIN pg_type t ON t.oid = b.base AND t.typtype <> 'd'
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A';
