-- Subscriptions of this database before PostgreSQL 16; never the connection string, which only superusers may read.
SELECT s.oid::bigint AS oid, s.subname::text AS name, s.subenabled AS enabled,
       pg_get_userbyid(s.subowner)::text AS owner, pg_has_role(s.subowner, 'USAGE') AS owned,
       s.subpublications AS publications, s.subslotname::text AS slot_name,
       -- up to 15 the apply worker writes as the subscription's owner
       true AS runs_as_owner,
       (SELECT rolsuper FROM pg_roles WHERE oid = s.subowner) AS owner_superuser,
       false AS owner_may_become_us
FROM pg_subscription s
WHERE s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY s.subname;
