-- How many rows some tables are thought to have, partitions counted; and which have children by inheritance.
-- Neither asks for a lock: a table that somebody keeps locked must not hold up the others.
SELECT c.oid::bigint AS relid,
       (SELECT coalesce(sum(CASE WHEN l.reltuples < 0 THEN pg_stat_get_live_tuples(l.oid) ELSE l.reltuples END), 0)
        FROM pg_class l
        WHERE l.oid = c.oid AND c.relkind <> 'p'
           OR l.relkind = 'r' AND c.relkind = 'p' AND l.oid IN (SELECT t.relid FROM pg_partition_tree(c.oid) t)
       )::bigint AS rows,
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS parent
FROM pg_class c
WHERE c.oid = ANY (%(relids)s::oid[]);
