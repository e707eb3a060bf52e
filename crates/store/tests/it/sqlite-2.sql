-- A data folder's file as schema 2 made it, with one plan. Frozen.
CREATE TABLE plan (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    goal TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    document BLOB NOT NULL,
    owner BLOB,
    epoch INTEGER NOT NULL DEFAULT 0,
    next_sequence INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE TABLE journal (
    position INTEGER PRIMARY KEY,
    plan INTEGER NOT NULL REFERENCES plan (number),
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    format INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    actor TEXT NOT NULL,
    body BLOB NOT NULL,
    UNIQUE (plan, first)
) STRICT;
CREATE TABLE blob (
    plan INTEGER NOT NULL REFERENCES plan (number),
    sha256 TEXT NOT NULL,
    json BLOB NOT NULL,
    PRIMARY KEY (plan, sha256)
) STRICT;
CREATE TABLE posted (
    position INTEGER PRIMARY KEY,
    plan INTEGER NOT NULL REFERENCES plan (number),
    command TEXT NOT NULL
) STRICT;
CREATE INDEX plan_to_drive ON plan (id) WHERE status IN ('EXECUTING', 'APPROVED');
CREATE INDEX posted_plan ON posted (plan);
INSERT INTO plan (id, goal, status, created_at, document)
VALUES (x'00000000000000000000000000000001', 'old', 'VALIDATED', 7, CAST('{"goal":"old"}' AS BLOB));
PRAGMA user_version = 2;
