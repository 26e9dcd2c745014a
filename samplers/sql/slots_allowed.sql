-- How many replication slots the server may have, and which server it is.
SELECT current_setting('max_replication_slots')::int AS allowed,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier;
