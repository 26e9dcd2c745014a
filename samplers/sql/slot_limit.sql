-- How much log a slot may hold back; -1: without limit.
SELECT setting::bigint AS megabytes FROM pg_settings WHERE name = 'max_slot_wal_keep_size';
