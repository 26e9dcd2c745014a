-- Whether this database is itself a subscriber.
SELECT EXISTS (
    SELECT FROM pg_subscription
    WHERE subenabled AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS subscribes;
