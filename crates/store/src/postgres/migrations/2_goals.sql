-- What was asked, and what planning made of it; a goal that was planned several times has several rows.
CREATE TABLE goal (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,
    parent text,
    plan uuid REFERENCES plan (id),
    status text NOT NULL,
    created_at bigint NOT NULL,
    record bytea NOT NULL
);

CREATE INDEX goal_id ON goal (id);
CREATE INDEX goal_parent ON goal (parent) WHERE parent IS NOT NULL;
CREATE INDEX goal_failed ON goal (number) WHERE plan IS NULL;
