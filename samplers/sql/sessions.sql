-- Sessions of this database and processes of none but the server's own parts, with what each does; no statement's text
-- leaves the server. Without pg_read_all_stats the kind, state and statement of other roles' sessions are NULL.
WITH me AS (SELECT usesysid FROM pg_stat_activity WHERE pid = pg_backend_pid()),
     seen AS (
         SELECT a.*, substring(a.query FROM '^(?:\s|/\*(?:[^*]|\*+[^*/])*\*+/|--[^\n]*\n)*(.*)$') AS statement
         FROM pg_stat_activity a
         WHERE (a.datname = current_database() OR a.datid IS NULL) AND a.pid <> pg_backend_pid()
     ),
     exclusive AS (
         SELECT DISTINCT l.pid
         FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relpersistence <> 't'
         WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     ),
     advisory AS (
         SELECT DISTINCT l.pid FROM pg_locks l
         WHERE l.locktype = 'advisory' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     )
SELECT s.pid, coalesce(s.usename::text, '') AS role, coalesce(r.rolsuper, false) AS superuser,
       coalesce(s.application_name, '') AS application, coalesce(host(s.client_addr), 'local') AS host,
       s.backend_type AS kind, coalesce(s.state, '') AS state, s.backend_xid IS NOT NULL AS has_xid,
       extract(epoch FROM clock_timestamp() - s.xact_start)::float8 AS transaction_seconds,
       extract(epoch FROM clock_timestamp() - s.state_change)::float8 AS state_seconds,
       coalesce(s.statement ~* '^(INSERT|UPDATE|DELETE|MERGE|TRUNCATE)\M'
           OR s.statement ~* '^COPY\s+[^(\s]+\s*(\([^)]*\))?\s*FROM\M'
           OR s.statement ~* '^WITH\M.*\m(INSERT\s+INTO|UPDATE\s.*\sSET|DELETE\s+FROM|MERGE\s+INTO)\M', false) AS writes,
       coalesce(s.state = 'active' AND (
           s.statement ~* '^(ALTER|DROP|REINDEX|CLUSTER|REFRESH|VACUUM\s+FULL|VACUUM\s*\([^)]*FULL)\M'
           OR s.statement ~* '^CREATE\M' AND s.statement !~* '^CREATE\s+((GLOBAL|LOCAL)\s+)?TEMP(ORARY)?\M'), false)
           AS changes_schema,
       coalesce(s.statement ~* '^LISTEN\M', false) AS listens,
       coalesce(s.statement ~* '^DECLARE\M.*\mWITH\s+HOLD\M', false) AS holds_cursor,
       coalesce(s.backend_type = 'autovacuum worker' AND s.query LIKE '%%(to prevent wraparound)%%', false)
           AS prevents_wraparound,
       EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.pid = s.pid) AS vacuums,
       EXISTS (SELECT FROM pg_stat_progress_create_index i WHERE i.pid = s.pid) AS builds_index,
       EXISTS (SELECT FROM exclusive e WHERE e.pid = s.pid) AS locks_table,
       EXISTS (SELECT FROM advisory y WHERE y.pid = s.pid) AS locks_advisory,
       -- the name alone would let anybody hide
       coalesce(s.usesysid = me.usesysid, false)
           AND (s.application_name = 'auditor' OR left(s.application_name, 8) = 'auditor ') AS ours
FROM seen s CROSS JOIN me LEFT JOIN pg_roles r ON r.oid = s.usesysid
ORDER BY s.pid;
