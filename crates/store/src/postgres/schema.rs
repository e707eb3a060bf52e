//! The tables, and how they come to be. Forward only: a migration is never changed, only added.

use std::time::Duration;

use l05_engine::port::StoreError;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgPool, SqlSafeStr as _};

/// The schema that holds all tables, so that a database may be shared.
pub(super) const SCHEMA: &str = "l05";

/// The time that a start waits for another process's migrations.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(60);

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "tables", include_str!("migrations/1_tables.sql")),
    (2, "goals", include_str!("migrations/2_goals.sql")),
];

/// Brings the database to the present version, under the server's advisory lock: processes that
/// start together do it one after the other.
pub(super) async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let list = MIGRATIONS.iter().map(|(version, name, sql)| {
        let kind = MigrationType::Simple;
        Migration::new(*version, (*name).into(), kind, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(list.collect());
    migrator.create_schema(SCHEMA);
    match tokio::time::timeout(MIGRATION_PATIENCE, migrator.run(pool)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(MigrateError::VersionMissing(version))) => Err(StoreError::Corrupt(format!(
            "the database was written by a newer version (schema {version}, this one knows {})",
            MIGRATIONS.len()
        ))),
        Ok(Err(MigrateError::VersionMismatch(version))) => Err(StoreError::Corrupt(format!(
            "schema {SCHEMA} of the database is not this program's: migration {version} differs"
        ))),
        Ok(Err(error)) => Err(StoreError::Unavailable(format!("migrations: {error}"))),
        Err(_) => Err(StoreError::Unavailable("another process migrates for too long".to_owned())),
    }
}
