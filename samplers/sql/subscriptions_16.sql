-- Subscriptions of this database, from PostgreSQL 16; never the connection string, which only superusers may read.
SELECT s.oid::bigint AS oid, s.subname::text AS name, s.subenabled AS enabled,
       pg_get_userbyid(s.subowner)::text AS owner, pg_has_role(s.subowner, 'USAGE') AS owned,
       s.subpublications AS publications, s.subslotname::text AS slot_name, s.suborigin AS origin,
       s.subrunasowner AS runs_as_owner,
       (SELECT rolsuper FROM pg_roles WHERE oid = s.subowner) AS owner_superuser,
       -- else the apply worker takes the role of each table's owner, which its own role must be allowed to
       pg_has_role(s.subowner, (SELECT oid FROM pg_roles WHERE rolname = current_user), 'SET') AS owner_may_become_us
FROM pg_subscription s
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY s.subname;
