-- Which cluster this is, and which running server: a physical copy has the identifier too.
SELECT system_identifier::text AS system_identifier,
       extract(epoch FROM pg_postmaster_start_time())::float8 AS started_at
FROM pg_control_system();
