//! The tables, and how they come to be. Forward only: a migration is never changed, only added.

use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

/// Each entry brings the file one `user_version` further.
///
/// `plan.number` is a small integer that journal rows and blobs carry instead of the id; the
/// journal is in append order and never clustered by plan.
const MIGRATIONS: &[&str] = &[
    "CREATE TABLE plan (
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
    ) STRICT;",
    "CREATE INDEX plan_to_drive ON plan (id) WHERE status IN ('EXECUTING', 'APPROVED');
    CREATE INDEX posted_plan ON posted (plan);",
    // Beside the row that every append moves: SQLite reads the whole row to change it, and a
    // document of 100,000 tasks has 50 MB.
    "CREATE TABLE document (
        plan INTEGER PRIMARY KEY REFERENCES plan (number),
        json BLOB NOT NULL
    ) STRICT;
    INSERT INTO document SELECT number, document FROM plan;
    ALTER TABLE plan DROP COLUMN document;",
    // A goal that was planned several times has several rows.
    "CREATE TABLE goal (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        parent TEXT,
        plan BLOB,
        status TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX goal_id ON goal (id);
    CREATE INDEX goal_parent ON goal (parent) WHERE parent IS NOT NULL;
    CREATE INDEX goal_failed ON goal (number) WHERE plan IS NULL;",
];

/// The time that a connection waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(10);

/// Sets a connection up and brings the file to the present version.
pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    configure(connection)?;
    if version(connection)? == MIGRATIONS.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let present = version(&transaction)?;
    if present > MIGRATIONS.len() {
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_SCHEMA);
        let text = format!(
            "the file was written by a newer version (schema {present}, this one knows {})",
            MIGRATIONS.len()
        );
        return Err(rusqlite::Error::SqliteFailure(error, Some(text)));
    }
    for migration in &MIGRATIONS[present..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as u32)?;
    transaction.commit()
}

/// Settings of every connection.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    switch_to_wal(connection)?;
    // In WAL mode FULL is one fsync of the WAL per commit; NORMAL would acknowledge before it.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // 16 MiB: checkpoints are rare enough not to be felt, and a restart reads little.
    connection.pragma_update(None, "wal_autocheckpoint", 4_096)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// The busy timeout does not cover the switch: of two processes that make the file at once, SQLite
/// refuses one without waiting (its guard against deadlock). The refused one finds it switched.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let end = Instant::now() + BUSY;
    loop {
        // Read first: switching takes a lock, and most opens find it switched.
        let switched = connection
            .pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
            .and_then(|mode| match mode.as_str() {
                "wal" => Ok(()),
                _ => connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())),
            });
        match switched {
            Err(e) if is_busy(&e) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            ended => return ended,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
        .map(|v| v as usize)
}
