-- How many transaction and multixact ids the oldest database of the server is behind.
SELECT max(age(datfrozenxid))::bigint AS transactions, max(mxid_age(datminmxid))::bigint AS multixacts FROM pg_database;
