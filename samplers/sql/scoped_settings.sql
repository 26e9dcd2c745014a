-- What ALTER DATABASE and ALTER ROLE set for sessions of this database.
SELECT coalesce(r.rolname::text, '') AS role, d.setdatabase <> 0 AS here, split_part(c.line, '=', 1) AS name,
       substr(c.line, strpos(c.line, '=') + 1) AS value
FROM pg_db_role_setting d
CROSS JOIN unnest(d.setconfig) AS c (line)
LEFT JOIN pg_roles r ON r.oid = d.setrole
WHERE d.setdatabase = 0 OR d.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1, 2, 3;
