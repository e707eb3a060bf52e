//! All SQL that reads.

use l05_core::goal::GoalStatus;
use l05_core::id::{PlanId, Sequence, WorkerId};
use l05_core::plan::PlanStatus;
use l05_core::time::Timestamp;
use l05_engine::port::{
    GoalQuery, HistoryPage, HistoryQuery, PlanSummary, PostedCommand, StoreError, StoredGoal,
    StoredPlan,
};
use l05_run::record::Record;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::failed;
use l05_run::codec::{EncodedRecord, decode};

/// Records of one page; a fold of a long journal holds no more than this at once.
const PAGE_RECORDS: i64 = 1_000;

/// A transaction that did not commit leaves nothing here, so there is no torn tail to forgive.
pub(super) async fn records(
    pool: &PgPool,
    plan: PlanId,
    from: Sequence,
) -> Result<Vec<Record>, StoreError> {
    let rows = sqlx::query(
        "SELECT first, count, journal.epoch, at, format, crc, actor, body
         FROM journal JOIN run ON run.number = journal.plan
         WHERE run.id = $1 AND first + count > $2
           AND first >= coalesce((SELECT max(first) FROM journal
             WHERE plan = run.number AND first <= $2), 0)
         ORDER BY first LIMIT $3",
    )
    .bind(plan.0)
    .bind(from.0.cast_signed())
    .bind(PAGE_RECORDS)
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    let record = |row: &PgRow| {
        let row = journal_row(row).map_err(failed)?;
        decode(plan, &row).map_err(|error| {
            let (first, last) = (row.first, row.first + row.count.saturating_sub(1));
            StoreError::Corrupt(format!(
                "the journal record with events {first} to {last} of plan {plan} is damaged: {error}"
            ))
        })
    };
    rows.iter().map(record).collect()
}

fn journal_row(row: &PgRow) -> Result<EncodedRecord, sqlx::Error> {
    let unsigned = |column: usize| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    Ok(EncodedRecord {
        first: unsigned(0)?,
        count: unsigned(1)?,
        epoch: unsigned(2)?,
        at: row.try_get(3)?,
        format: row.try_get::<i32, _>(4)?.cast_unsigned(),
        crc: unsigned(5)? as u32,
        actor: row.try_get(6)?,
        body: row.try_get(7)?,
    })
}

pub(super) async fn blob(pool: &PgPool, plan: PlanId, sha256: &str) -> Result<Vec<u8>, StoreError> {
    let found: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT json FROM blob WHERE plan = (SELECT number FROM run WHERE id = $1)
         AND sha256 = $2",
    )
    .bind(plan.0)
    .bind(sha256)
    .fetch_optional(pool)
    .await
    .map_err(failed)?;
    found.ok_or_else(|| StoreError::Corrupt(format!("output {sha256} is missing")))
}

pub(super) async fn is_owned(pool: &PgPool, plan: PlanId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM run JOIN worker ON worker.id = run.owner
         WHERE run.id = $1 AND expires_at > clock_timestamp())",
    )
    .bind(plan.0)
    .fetch_one(pool)
    .await
}

pub(super) async fn unowned(pool: &PgPool, limit: usize) -> Result<Vec<PlanId>, sqlx::Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM run WHERE status IN ('EXECUTING', 'APPROVED')
           AND NOT EXISTS (SELECT FROM worker
             WHERE worker.id = run.owner AND expires_at > clock_timestamp())
         ORDER BY id LIMIT $1",
    )
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    Ok(ids.into_iter().map(PlanId).collect())
}

pub(super) async fn posted(
    pool: &PgPool,
    worker: WorkerId,
) -> Result<Vec<PostedCommand>, sqlx::Error> {
    let rows: Vec<(i64, Uuid, String)> = sqlx::query_as(
        "SELECT position, plan, command FROM posted JOIN run ON run.id = posted.plan
         WHERE owner = $1 ORDER BY position",
    )
    .bind(worker.0)
    .fetch_all(pool)
    .await?;
    let read = |(position, plan, command): (i64, Uuid, String)| {
        // One that this version does not know is from a newer one; it goes with its run.
        let command = serde_json::from_str(&command).ok()?;
        Some(PostedCommand { position: position.cast_unsigned(), plan: PlanId(plan), command })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

pub(super) async fn plan(pool: &PgPool, plan: PlanId) -> Result<Option<StoredPlan>, sqlx::Error> {
    let row: Option<(String, i64, Vec<u8>)> =
        sqlx::query_as("SELECT goal, created_at, document FROM plan WHERE id = $1")
            .bind(plan.0)
            .fetch_optional(pool)
            .await?;
    Ok(row.map(|(goal, created_at, document)| StoredPlan {
        asked: None,
        plan_id: plan,
        goal,
        created_at: Timestamp(created_at),
        document,
    }))
}

pub(super) async fn list(pool: &PgPool, query: &HistoryQuery) -> Result<HistoryPage, StoreError> {
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let rows: Vec<(Uuid, String, String, i64)> = sqlx::query_as(
        "SELECT id, goal, status, created_at FROM plan JOIN run USING (id)
         WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR status = $2)
         ORDER BY id DESC LIMIT $3",
    )
    .bind(query.before.map(|plan| plan.0))
    .bind(query.status.map(PlanStatus::as_str))
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(failed)?;
    let mut page = HistoryPage::default();
    for (id, goal, status, created_at) in rows {
        if page.plans.len() == query.limit {
            page.next = page.plans.last().map(|plan| plan.plan_id);
            break;
        }
        let plan_id = PlanId(id);
        let status = serde_json::from_value(status.clone().into()).map_err(|_| {
            StoreError::Corrupt(format!("plan {plan_id} has the unknown status `{status}`"))
        })?;
        page.plans.push(PlanSummary { plan_id, goal, status, created_at: Timestamp(created_at) });
    }
    Ok(page)
}

/// A row of the table of goals: id, parent, plan, status, time, record.
type GoalRow = (String, Option<String>, Option<Uuid>, String, i64, Vec<u8>);

pub(super) async fn goals(
    pool: &PgPool,
    query: &GoalQuery,
) -> Result<Vec<StoredGoal>, sqlx::Error> {
    let rows: Vec<GoalRow> = sqlx::query_as(
        "SELECT id, parent, plan, status, created_at, record FROM goal
         WHERE ($1::text IS NULL OR id = $1) AND ($2::text IS NULL OR parent = $2)
           AND ($3::text IS NULL OR status = $3)
         ORDER BY number DESC LIMIT $4",
    )
    .bind(&query.goal_id)
    .bind(&query.parent)
    .bind(query.status.map(GoalStatus::as_str))
    .bind(i64::try_from(query.limit).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    let goal = |(goal_id, parent, plan, status, created_at, record): GoalRow| StoredGoal {
        goal_id,
        parent,
        plan: plan.map(PlanId),
        status: GoalStatus::parse(&status).unwrap_or(GoalStatus::Failed),
        created_at: Timestamp(created_at),
        record,
    };
    Ok(rows.into_iter().map(goal).collect())
}

/// Ids sort by their digits, so a prefix is a range.
pub(super) async fn find(pool: &PgPool, prefix: &str) -> Result<Vec<PlanId>, sqlx::Error> {
    let digits: String = prefix.chars().filter(|c| *c != '-').collect();
    let bound = |fill: char| {
        let whole: String = digits.chars().chain(std::iter::repeat(fill)).take(32).collect();
        Uuid::try_parse(&whole).ok()
    };
    let (Some(least), Some(most)) = (bound('0'), bound('f')) else { return Ok(Vec::new()) };
    let ids: Vec<Uuid> =
        sqlx::query_scalar("SELECT id FROM run WHERE id BETWEEN $1 AND $2 LIMIT 2")
            .bind(least)
            .bind(most)
            .fetch_all(pool)
            .await?;
    Ok(ids.into_iter().map(PlanId).collect())
}
