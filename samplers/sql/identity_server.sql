-- Which cluster and database this is, and how it orders text. PostgreSQL 15 moved and added columns: read by name.
SELECT current_setting('server_version_num')::int AS version,
       pg_encoding_to_char(d.encoding)::text AS encoding,
       d.datcollate::text AS collate, d.datctype::text AS ctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
       -- 15 and 16: daticulocale, from 17 datlocale
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale
FROM pg_database d
WHERE d.datname = current_database();
