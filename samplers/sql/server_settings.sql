-- Every setting with what a new session gets. Run in a session where nothing is pinned and `search_path` is the
-- user's: therefore nothing but columns.
SELECT name, reset_val AS value, unit, source, pending_restart FROM pg_catalog.pg_settings;
