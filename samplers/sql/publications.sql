-- All publications of this database, with whether the session's role may change them.
SELECT pubname::text AS name, pg_get_userbyid(pubowner)::text AS owner,
       pg_has_role(pubowner, 'USAGE') AS owned,
       puballtables AS all_tables, pubviaroot AS via_root,
       array_remove(ARRAY[CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END,
                          CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END],
                    NULL) AS operations
FROM pg_publication
ORDER BY pubname;
