-- Triggers that somebody made, those of foreign keys where they are switched off, and whatever fires in apply: that is
-- set on each partition by itself, too.
SELECT n.nspname || '.' || c.relname AS table, coalesce(k.conname, t.tgname)::text AS name,
       CASE WHEN t.tgisinternal AND t.tgenabled = 'D' THEN 'foreign key' ELSE 'trigger' END AS kind,
       CASE WHEN t.tgisinternal THEN '' ELSE pg_get_triggerdef(t.oid) END AS definition,
       t.tgenabled::text AS enabled
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint AND t.tgisinternal
WHERE CASE WHEN t.tgenabled IN ('A', 'R') THEN true
           WHEN t.tgisinternal THEN t.tgenabled = 'D' AND k.contype = 'f'
           ELSE t.tgparentid = 0 END
  AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> %(own)s
ORDER BY 1, 2;
