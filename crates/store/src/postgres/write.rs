//! All SQL that writes.

use std::sync::Arc;

use l05_core::id::{Epoch, PlanId, WorkerId};
use l05_core::plan::PlanStatus;
use l05_engine::port::{
    AppendRefusal, AppendResult, ClaimResult, FailedGoalsKept, RemoteCommand, StoredGoal,
    StoredPlan,
};
use l05_run::record::Record;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use l05_run::codec::encode;

/// One statement, so one commit, for the whole batch. The fence (epoch and sequence) is checked and
/// moved by the same statement that writes; a record that it stops writes nothing. Commands meant
/// for a run that ended are not kept for the next one.
///
/// No transaction around it: a process that is frozen between two statements of one would keep its
/// plans locked, and whoever takes them over would wait for as long as it sleeps.
const APPEND: &str = "
    WITH batch AS (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
            $6::bigint[], $7::text[], $8::bytea[], $9::text[])
            WITH ORDINALITY AS t (plan, first, count, epoch, at, crc, actor, body, status, place)
    ), fenced AS (
        UPDATE run SET next_sequence = batch.first + batch.count,
            status = coalesce(batch.status, run.status),
            owner = CASE WHEN batch.status IN ('COMPLETED', 'FAILED', 'CANCELLED') THEN NULL
                ELSE run.owner END
        FROM batch
        WHERE run.id = batch.plan AND run.epoch = batch.epoch AND run.next_sequence = batch.first
        RETURNING run.id, run.number, batch.place, batch.status
    ), written AS (
        INSERT INTO journal (plan, first, count, epoch, at, format, crc, actor, body)
        SELECT fenced.number, first, count, epoch, at, $10, crc, actor, body
        FROM fenced JOIN batch USING (place) ORDER BY place
    ), blobs AS (
        INSERT INTO blob (plan, sha256, json)
        SELECT fenced.number, sha256, json
        FROM unnest($11::bigint[], $12::text[], $13::bytea[]) AS b (place, sha256, json)
        JOIN fenced USING (place)
        ON CONFLICT DO NOTHING
    ), forgotten AS (
        DELETE FROM posted USING fenced
        WHERE posted.plan = fenced.id AND fenced.status <> 'EXECUTING'
    )
    SELECT place FROM fenced";

pub(super) async fn append(
    pool: &PgPool,
    batch: &[Arc<Record>],
) -> Result<Vec<AppendResult>, sqlx::Error> {
    let columns = RowColumns::of(batch);
    let written = sqlx::query(APPEND)
        .bind(&columns.plan)
        .bind(&columns.first)
        .bind(&columns.count)
        .bind(&columns.epoch)
        .bind(&columns.at)
        .bind(&columns.crc)
        .bind(&columns.actor)
        .bind(&columns.body)
        .bind(&columns.status)
        .bind(l05_run::codec::FORMAT.cast_signed())
        .bind(&columns.blob_place)
        .bind(&columns.blob_sha256)
        .bind(&columns.blob_json)
        .fetch_all(pool)
        .await?;
    let mut results = vec![None; batch.len()];
    for row in &written {
        let place: i64 = row.try_get(0)?;
        results[place as usize - 1] = Some(AppendResult::Appended);
    }
    if results.contains(&None) {
        refusals(pool, batch, &mut results).await?;
    }
    Ok(results.into_iter().flatten().collect())
}

/// Says why records were refused; these rows are locked by nobody and may have moved since.
async fn refusals(
    pool: &PgPool,
    batch: &[Arc<Record>],
    results: &mut [Option<AppendResult>],
) -> Result<(), sqlx::Error> {
    let refused = |result: &&mut Option<AppendResult>| result.is_none();
    for (record, result) in
        batch.iter().zip(results.iter_mut()).filter(|(_, result)| refused(result))
    {
        let epoch: Option<i64> = sqlx::query_scalar("SELECT epoch FROM run WHERE id = $1")
            .bind(record.plan.0)
            .fetch_optional(pool)
            .await?;
        *result = Some(AppendResult::Refused(match epoch {
            None => AppendRefusal::UnknownPlan,
            Some(epoch) if epoch != record.epoch.0.cast_signed() => AppendRefusal::StaleEpoch,
            Some(_) => AppendRefusal::WrongSequence,
        }));
    }
    Ok(())
}

/// A batch as the arrays of one statement.
#[derive(Default)]
struct RowColumns {
    plan: Vec<Uuid>,
    first: Vec<i64>,
    count: Vec<i64>,
    epoch: Vec<i64>,
    at: Vec<i64>,
    crc: Vec<i64>,
    actor: Vec<String>,
    body: Vec<Vec<u8>>,
    status: Vec<Option<&'static str>>,
    blob_place: Vec<i64>,
    blob_sha256: Vec<String>,
    blob_json: Vec<Vec<u8>>,
}

impl RowColumns {
    fn of(batch: &[Arc<Record>]) -> RowColumns {
        let mut columns = RowColumns::default();
        for (place, record) in (1..).zip(batch) {
            let row = encode(record);
            columns.plan.push(record.plan.0);
            columns.first.push(row.first.cast_signed());
            columns.count.push(row.count.cast_signed());
            columns.epoch.push(row.epoch.cast_signed());
            columns.at.push(row.at);
            columns.crc.push(i64::from(row.crc));
            columns.actor.push(row.actor);
            columns.body.push(row.body);
            columns.status.push(record.status_after().map(PlanStatus::as_str));
            for blob in &record.blobs {
                columns.blob_place.push(place);
                columns.blob_sha256.push(blob.sha256.clone());
                columns.blob_json.push(blob.json.clone());
            }
        }
        columns
    }
}

/// Only a worker whose lease runs may claim, and only what no other such worker owns. Durable like
/// an append: an epoch that was given out must never be given out again.
const CLAIM: &str = "
    WITH before AS (SELECT id, owner FROM run WHERE id = $1 FOR UPDATE)
    UPDATE run SET owner = $2, epoch = run.epoch + 1
    FROM before
    WHERE run.id = before.id
      AND (before.owner IS NULL OR before.owner = $2
        OR NOT EXISTS (SELECT FROM worker WHERE id = before.owner AND expires_at > clock_timestamp()))
      AND EXISTS (SELECT FROM worker WHERE id = $2 AND expires_at > clock_timestamp())
    RETURNING run.epoch, before.owner IS NOT NULL AND before.owner <> $2";

/// The answer to a claim that changed nothing: there is no such plan, or the claimant has no lease.
const WHY_NOT: &str = "
    SELECT EXISTS (SELECT FROM run WHERE id = $1),
        EXISTS (SELECT FROM worker WHERE id = $2 AND expires_at > clock_timestamp())";

pub(super) async fn claim(
    pool: &PgPool,
    plan: PlanId,
    worker: WorkerId,
) -> Result<Option<ClaimResult>, sqlx::Error> {
    let granted: Option<(i64, bool)> =
        sqlx::query_as(CLAIM).bind(plan.0).bind(worker.0).fetch_optional(pool).await?;
    if let Some((epoch, after_death)) = granted {
        let epoch = Epoch(epoch.cast_unsigned());
        return Ok(Some(ClaimResult::Granted { epoch, after_death }));
    }
    let (known, leased): (bool, bool) =
        sqlx::query_as(WHY_NOT).bind(plan.0).bind(worker.0).fetch_one(pool).await?;
    Ok(match (known, leased) {
        (false, _) => Some(ClaimResult::UnknownPlan),
        (true, true) => Some(ClaimResult::Held),
        (true, false) => None,
    })
}

pub(super) async fn release(
    pool: &PgPool,
    plan: PlanId,
    worker: WorkerId,
    epoch: Epoch,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE run SET owner = NULL WHERE id = $1 AND owner = $2 AND epoch = $3")
        .bind(plan.0)
        .bind(worker.0)
        .bind(epoch.0.cast_signed())
        .execute(pool)
        .await?;
    Ok(())
}

/// True if there was a lease to renew.
pub(super) async fn renew(
    pool: &PgPool,
    worker: WorkerId,
    seconds: f64,
) -> Result<bool, sqlx::Error> {
    let renewed = sqlx::query(
        "UPDATE worker SET expires_at = clock_timestamp() + make_interval(secs => $2)
         WHERE id = $1 AND expires_at > clock_timestamp()",
    )
    .bind(worker.0)
    .bind(seconds)
    .execute(pool)
    .await?;
    if renewed.rows_affected() > 0 {
        return Ok(true);
    }
    sqlx::query(
        "INSERT INTO worker (id, expires_at)
         VALUES ($1, clock_timestamp() + make_interval(secs => $2))
         ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at",
    )
    .bind(worker.0)
    .bind(seconds)
    .execute(pool)
    .await?;
    Ok(false)
}

/// Workers that died long ago; what they owned is free either way.
pub(super) async fn forget_dead_workers(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM worker WHERE expires_at < clock_timestamp() - interval '1 day'")
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn resign(pool: &PgPool, worker: WorkerId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM worker WHERE id = $1").bind(worker.0).execute(pool).await?;
    Ok(())
}

pub(super) async fn post(
    pool: &PgPool,
    plan: PlanId,
    command: &RemoteCommand,
) -> Result<(), sqlx::Error> {
    let command = serde_json::to_string(command).expect("a command is plain data");
    sqlx::query("INSERT INTO posted (plan, command) SELECT id, $2 FROM plan WHERE id = $1")
        .bind(plan.0)
        .bind(command)
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn settle_posted(
    pool: &PgPool,
    settled: &[(PlanId, u64)],
) -> Result<(), sqlx::Error> {
    let positions: Vec<i64> = settled.iter().map(|(_, position)| position.cast_signed()).collect();
    sqlx::query("DELETE FROM posted WHERE position = ANY($1)")
        .bind(positions)
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn put(pool: &PgPool, plan: &StoredPlan) -> Result<(), sqlx::Error> {
    sqlx::query(
        "WITH kept AS (
            INSERT INTO plan (id, goal, created_at, document) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING RETURNING id, number
        )
        , asked AS (
            INSERT INTO goal (id, parent, plan, status, created_at, record)
            SELECT $5, $6, id, $7, $8, $9 FROM kept WHERE $5::text IS NOT NULL
        )
        INSERT INTO run (id, number, status) SELECT id, number, 'VALIDATED' FROM kept",
    )
    .bind(plan.plan_id.0)
    .bind(&plan.goal)
    .bind(plan.created_at.0)
    .bind(&plan.document)
    .bind(plan.asked.as_ref().map(|goal| goal.goal_id.as_str()))
    .bind(plan.asked.as_ref().and_then(|goal| goal.parent.as_deref()))
    .bind(plan.asked.as_ref().map(|goal| goal.status.as_str()))
    .bind(plan.asked.as_ref().map(|goal| goal.created_at.0))
    .bind(plan.asked.as_ref().map(|goal| goal.record.as_slice()))
    .execute(pool)
    .await?;
    Ok(())
}

pub(super) async fn put_failed(
    pool: &PgPool,
    goal: &StoredGoal,
    keep: FailedGoalsKept,
) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "INSERT INTO goal (id, parent, status, created_at, record) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&goal.goal_id)
    .bind(&goal.parent)
    .bind(goal.status.as_str())
    .bind(goal.created_at.0)
    .bind(&goal.record)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "DELETE FROM goal WHERE plan IS NULL AND (created_at < $1 OR number <= coalesce(
             (SELECT number FROM goal WHERE plan IS NULL ORDER BY number DESC LIMIT 1 OFFSET $2), 0))",
    )
    .bind(keep.since.0)
    .bind(i64::from(keep.count))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
