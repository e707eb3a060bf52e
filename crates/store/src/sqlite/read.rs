//! All SQL that reads.

use std::collections::HashMap;

use l05_core::goal::GoalStatus;
use l05_core::id::{PlanId, Sequence, WorkerId};
use l05_core::plan::PlanStatus;
use l05_core::time::Timestamp;
use l05_engine::port::{
    GoalQuery, HistoryPage, HistoryQuery, PlanSummary, PostedCommand, StoreError, StoredGoal,
    StoredPlan,
};
use l05_run::record::Record;
use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow, params};
use uuid::Uuid;

use super::failed;
use l05_run::codec::{DecodeError, EncodedRecord, decode};

/// Records of one page; a fold of a long journal holds no more than this at once.
const PAGE_RECORDS: u32 = 1_000;

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands the error over")]
fn at(error: rusqlite::Error) -> StoreError {
    failed(&error)
}

pub(super) fn records(
    connection: &mut Connection,
    plan: PlanId,
    from: Sequence,
) -> Result<Vec<Record>, StoreError> {
    let rows = rows(connection, plan, from).map_err(at)?;
    let mut records = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        match decode(plan, row) {
            Ok(record) => records.push(record),
            Err(error) => {
                let last = i + 1 == rows.len() && rows.len() < PAGE_RECORDS as usize;
                if last
                    && error == DecodeError::Checksum
                    && is_torn(connection, plan, row).map_err(at)?
                {
                    tracing::warn!(%plan, first = row.first, "the journal's last record is torn; it is left out");
                    break;
                }
                let (first, last) = (row.first, row.first + row.count.saturating_sub(1));
                return Err(StoreError::Corrupt(format!(
                    "the journal record with events {first} to {last} of plan {plan} is damaged: {error}"
                )));
            }
        }
    }
    Ok(records)
}

/// A torn record is one that its own plan does not count: the transaction that wrote it never
/// ended. SQLite leaves none, but a file copied while it was written may hold one.
fn is_torn(connection: &Connection, plan: PlanId, row: &EncodedRecord) -> rusqlite::Result<bool> {
    let next: i64 = connection.query_row(
        "SELECT next_sequence FROM plan WHERE id = ?1",
        [plan.0.as_bytes()],
        |row| row.get(0),
    )?;
    Ok(next.cast_unsigned() <= row.first)
}

fn rows(
    connection: &Connection,
    plan: PlanId,
    from: Sequence,
) -> rusqlite::Result<Vec<EncodedRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT first, count, j.epoch, at, format, crc, actor, body FROM journal AS j
         WHERE plan = (SELECT number FROM plan WHERE id = ?1) AND first + count > ?2
           AND first >= coalesce((SELECT max(first) FROM journal
             WHERE plan = (SELECT number FROM plan WHERE id = ?1) AND first <= ?2), 0)
         ORDER BY first LIMIT ?3",
    )?;
    let from = from.0.cast_signed();
    let rows = statement.query_map(params![plan.0.as_bytes(), from, PAGE_RECORDS], |row| {
        Ok(EncodedRecord {
            first: unsigned(row, 0)?,
            count: unsigned(row, 1)?,
            epoch: unsigned(row, 2)?,
            at: row.get(3)?,
            format: row.get(4)?,
            crc: row.get(5)?,
            actor: row.get(6)?,
            body: row.get(7)?,
        })
    })?;
    rows.collect()
}

fn unsigned(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

pub(super) fn blob(
    connection: &mut Connection,
    plan: PlanId,
    sha256: &str,
) -> Result<Vec<u8>, StoreError> {
    connection
        .prepare_cached(
            "SELECT json FROM blob WHERE plan = (SELECT number FROM plan WHERE id = ?1)
             AND sha256 = ?2",
        )
        .map_err(at)?
        .query_row(params![plan.0.as_bytes(), sha256], |row| row.get(0))
        .optional()
        .map_err(at)?
        .ok_or_else(|| StoreError::Corrupt(format!("output {sha256} is missing")))
}

pub(super) fn owner(
    connection: &mut Connection,
    plan: PlanId,
) -> Result<Option<WorkerId>, StoreError> {
    let owner: Option<Option<[u8; 16]>> = connection
        .prepare_cached("SELECT owner FROM plan WHERE id = ?1")
        .map_err(at)?
        .query_row([plan.0.as_bytes()], |row| row.get(0))
        .optional()
        .map_err(at)?;
    Ok(owner.flatten().map(|bytes| WorkerId(Uuid::from_bytes(bytes))))
}

/// Each owner is asked once whether it lives.
pub(super) fn unowned(
    connection: &mut Connection,
    limit: usize,
    is_free: impl Fn(Option<WorkerId>) -> bool,
) -> Result<Vec<PlanId>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT id, owner FROM plan WHERE status IN ('EXECUTING', 'APPROVED') ORDER BY id",
        )
        .map_err(at)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, Option<[u8; 16]>>(1)?)))
        .map_err(at)?;
    let mut known = HashMap::new();
    let mut free = Vec::new();
    for row in rows {
        let (id, owner) = row.map_err(at)?;
        let owner = owner.map(|bytes| WorkerId(Uuid::from_bytes(bytes)));
        if *known.entry(owner).or_insert_with(|| is_free(owner)) {
            free.push(PlanId(Uuid::from_bytes(id)));
        }
        if free.len() == limit {
            break;
        }
    }
    Ok(free)
}

pub(super) fn posted(
    connection: &mut Connection,
    worker: WorkerId,
) -> Result<Vec<PostedCommand>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT plan.id, posted.command, posted.position FROM posted
             JOIN plan ON plan.number = posted.plan WHERE plan.owner = ?1 ORDER BY posted.position",
        )
        .map_err(at)?;
    let rows = statement
        .query_map([worker.0.as_bytes()], |row| {
            Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?))
        })
        .map_err(at)?;
    let mut posted = Vec::new();
    for row in rows {
        let (plan, command, position) = row.map_err(at)?;
        // One that this version does not know is from a newer one; it goes with its run.
        if let Ok(command) = serde_json::from_str(&command) {
            let plan = PlanId(Uuid::from_bytes(plan));
            posted.push(PostedCommand { position: position.cast_unsigned(), plan, command });
        }
    }
    Ok(posted)
}

pub(super) fn plan(
    connection: &mut Connection,
    plan: PlanId,
) -> Result<Option<StoredPlan>, StoreError> {
    connection
        .prepare_cached(
            "SELECT goal, created_at, json FROM plan JOIN document ON plan = number WHERE id = ?1",
        )
        .map_err(at)?
        .query_row([plan.0.as_bytes()], |row| {
            Ok(StoredPlan {
                asked: None,
                plan_id: plan,
                goal: row.get(0)?,
                created_at: Timestamp(row.get(1)?),
                document: row.get(2)?,
            })
        })
        .optional()
        .map_err(at)
}

pub(super) fn list(
    connection: &mut Connection,
    query: &HistoryQuery,
) -> Result<HistoryPage, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT id, goal, status, created_at FROM plan
             WHERE (?1 IS NULL OR id < ?1) AND (?2 IS NULL OR status = ?2)
             ORDER BY id DESC LIMIT ?3",
        )
        .map_err(at)?;
    let before = query.before.map(|plan| plan.0.into_bytes());
    let status = query.status.map(PlanStatus::as_str);
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let rows = statement
        .query_map(params![before, status, limit], |row| {
            Ok((
                row.get::<_, [u8; 16]>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, i64>(3)?,
            ))
        })
        .map_err(at)?;
    let mut page = HistoryPage::default();
    for row in rows {
        let (id, goal, status, created_at) = row.map_err(at)?;
        if page.plans.len() == query.limit {
            page.next = page.plans.last().map(|plan| plan.plan_id);
            break;
        }
        let plan_id = PlanId(Uuid::from_bytes(id));
        let status = serde_json::from_value(status.clone().into()).map_err(|_| {
            StoreError::Corrupt(format!("plan {plan_id} has the unknown status `{status}`"))
        })?;
        page.plans.push(PlanSummary { plan_id, goal, status, created_at: Timestamp(created_at) });
    }
    Ok(page)
}

pub(super) fn find(connection: &mut Connection, prefix: &str) -> Result<Vec<PlanId>, StoreError> {
    let digits: String = prefix.chars().filter(|c| *c != '-').collect();
    let mut statement = connection
        .prepare_cached("SELECT id FROM plan WHERE lower(hex(id)) LIKE ?1 || '%' LIMIT 2")
        .map_err(at)?;
    let rows = statement.query_map([digits], |row| row.get::<_, [u8; 16]>(0)).map_err(at)?;
    rows.map(|id| id.map(|bytes| PlanId(Uuid::from_bytes(bytes))).map_err(at)).collect()
}

pub(super) fn goals(
    connection: &mut Connection,
    query: &GoalQuery,
) -> Result<Vec<StoredGoal>, StoreError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT id, parent, plan, status, created_at, record FROM goal
             WHERE (?1 IS NULL OR id = ?1) AND (?2 IS NULL OR parent = ?2)
               AND (?3 IS NULL OR status = ?3)
             ORDER BY number DESC LIMIT ?4",
        )
        .map_err(at)?;
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let filters = params![query.goal_id, query.parent, query.status.map(GoalStatus::as_str), limit];
    let rows = statement.query_map(filters, |row| {
        let plan: Option<[u8; 16]> = row.get(2)?;
        let status: String = row.get(3)?;
        Ok(StoredGoal {
            goal_id: row.get(0)?,
            parent: row.get(1)?,
            plan: plan.map(|bytes| PlanId(Uuid::from_bytes(bytes))),
            status: GoalStatus::parse(&status).unwrap_or(GoalStatus::Failed),
            created_at: Timestamp(row.get(4)?),
            record: row.get(5)?,
        })
    });
    rows.map_err(at)?.collect::<Result<_, _>>().map_err(at)
}
