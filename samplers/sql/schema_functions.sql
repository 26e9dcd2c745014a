-- Functions that users made, by their arguments' types, and whether tables rest on them.
WITH mine AS (
    SELECT p.oid, p.prosrc, n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
           AS name
    FROM pg_proc p
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                      AND d.deptype IN ('e', 'i'))
)
SELECT m.name, md5(m.prosrc) AS body,
       EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = m.oid
               AND d.classid IN ('pg_attrdef'::regclass, 'pg_class'::regclass, 'pg_constraint'::regclass,
                                 'pg_trigger'::regclass, 'pg_policy'::regclass)) AS used
FROM mine m
ORDER BY 1;
