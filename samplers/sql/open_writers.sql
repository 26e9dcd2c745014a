-- Who holds a transaction id, which a new slot has to wait for; process 0 is a prepared transaction.
SELECT coalesce(l.pid, 0) AS pid, min(p.gid) AS prepared
FROM pg_locks l
LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
GROUP BY l.pid, p.gid
ORDER BY 1;
