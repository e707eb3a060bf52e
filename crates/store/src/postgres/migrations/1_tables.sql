-- A process that drives runs. Its lease is told by this server's clock alone.
CREATE TABLE worker (
    id uuid PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- What is known of a plan when it is made; never changed.
-- Journal rows and blobs carry the small number instead of the id.
CREATE TABLE plan (
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    id uuid PRIMARY KEY,
    goal text NOT NULL,
    created_at bigint NOT NULL,
    document bytea NOT NULL
);

-- Where a plan's run stands. Small, and changed by every commit: half of each page is left free so
-- that a change stays on its page and touches no index (heap-only tuples).
CREATE TABLE run (
    id uuid PRIMARY KEY REFERENCES plan (id),
    number bigint NOT NULL,
    status text NOT NULL,
    owner uuid,
    epoch bigint NOT NULL DEFAULT 0,
    next_sequence bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX run_to_drive ON run (id) WHERE status IN ('EXECUTING', 'APPROVED');

-- In the order of commits, never clustered by plan.
CREATE TABLE journal (
    plan bigint NOT NULL,
    first bigint NOT NULL,
    count bigint NOT NULL,
    epoch bigint NOT NULL,
    at bigint NOT NULL,
    format integer NOT NULL,
    crc bigint NOT NULL,
    actor text NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (plan, first)
);

CREATE TABLE blob (
    plan bigint NOT NULL,
    sha256 text NOT NULL,
    json bytea NOT NULL,
    PRIMARY KEY (plan, sha256)
);

CREATE TABLE posted (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    plan uuid NOT NULL REFERENCES plan (id),
    command text NOT NULL
);

CREATE INDEX posted_plan ON posted (plan);
