-- How many large objects there are; beyond a million nobody needs to know how many more.
SELECT count(*)::int AS large_objects FROM (SELECT FROM pg_largeobject_metadata LIMIT 1000001) AS counted;
