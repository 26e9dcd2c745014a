-- Event triggers that no extension brings.
SELECT e.evtname::text AS name, e.evtevent::text AS kind, e.evtenabled::text AS enabled
FROM pg_event_trigger e
WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid
                  AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
ORDER BY 1;
