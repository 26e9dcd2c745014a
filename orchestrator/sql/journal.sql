-- The journal of cutovers, in a database of its own that is on neither side. Run again it changes nothing.

CREATE SCHEMA IF NOT EXISTS auditor_cutover;

-- Who may act, by the journal's own clock, and where the chain of entries ends.
CREATE TABLE IF NOT EXISTS auditor_cutover.lease (
    migration text PRIMARY KEY,
    epoch bigint NOT NULL,
    holder text NOT NULL,
    token text NOT NULL, -- one process of that name
    until timestamptz NOT NULL,
    head_seq bigint NOT NULL DEFAULT 0,
    head_hash text NOT NULL
);

-- The chain. `facts` is json, not jsonb: its hash covers the very text.
CREATE TABLE IF NOT EXISTS auditor_cutover.entries (
    migration text NOT NULL,
    seq bigint NOT NULL,
    attempt integer NOT NULL,
    epoch bigint NOT NULL,
    direction text NOT NULL,
    step text NOT NULL,
    kind text NOT NULL,
    facts json NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    previous_hash text NOT NULL,
    hash text NOT NULL,
    PRIMARY KEY (migration, seq)
);

-- How an attempt ended: commit and abort both must win this one row.
CREATE TABLE IF NOT EXISTS auditor_cutover.outcome (
    migration text NOT NULL,
    attempt integer NOT NULL,
    direction text NOT NULL,
    result text NOT NULL CHECK (result IN ('commit', 'abort')),
    epoch bigint NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (migration, attempt)
);

-- What operators ask for.
CREATE TABLE IF NOT EXISTS auditor_cutover.requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token uuid NOT NULL UNIQUE, -- asked twice on a connection that was lost, it is one request
    migration text NOT NULL,
    wish text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    attempt integer,
    facts json NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    answer text
);

-- Who agreed to which plan.
CREATE TABLE IF NOT EXISTS auditor_cutover.approvals (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token uuid NOT NULL UNIQUE,
    migration text NOT NULL,
    digest text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until timestamptz NOT NULL,
    attempt integer -- the one that used it up
);

-- Whose LOGIN a fence took, written before it does.
CREATE TABLE IF NOT EXISTS auditor_cutover.fences (
    migration text NOT NULL,
    side text NOT NULL,
    role text NOT NULL,
    PRIMARY KEY (migration, side, role)
);

CREATE OR REPLACE FUNCTION auditor_cutover.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries and outcomes of a cutover are never changed';
END
$$;

CREATE OR REPLACE TRIGGER only_appended BEFORE UPDATE OR DELETE OR TRUNCATE ON auditor_cutover.entries
    EXECUTE FUNCTION auditor_cutover.refuse();
CREATE OR REPLACE TRIGGER only_appended BEFORE UPDATE OR DELETE OR TRUNCATE ON auditor_cutover.outcome
    EXECUTE FUNCTION auditor_cutover.refuse();
