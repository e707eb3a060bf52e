//! All SQL that writes.

use std::path::Path;
use std::sync::Arc;

use l05_core::id::{Epoch, PlanId, WorkerId};
use l05_core::plan::PlanStatus;
use l05_engine::port::{
    AppendRefusal, AppendResult, ClaimResult, FailedGoalsKept, RemoteCommand, StoredGoal,
    StoredPlan,
};
use l05_run::record::Record;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use crate::worker;
use l05_run::codec::encode;

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// One transaction for the batch. A refused record writes nothing; an error takes all down.
pub(super) fn append(
    connection: &mut Connection,
    batch: &[Arc<Record>],
) -> rusqlite::Result<Vec<AppendResult>> {
    let transaction = begin(connection)?;
    let results = batch
        .iter()
        .map(|record| append_one(&transaction, record))
        .collect::<rusqlite::Result<Vec<_>>>()?;
    transaction.commit()?;
    Ok(results)
}

fn append_one(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<AppendResult> {
    // The fence: epoch and sequence are checked and moved by the statement that reserves the row.
    let status = record.status_after();
    let sql = match status {
        None => {
            "UPDATE plan SET next_sequence = ?1
             WHERE id = ?2 AND epoch = ?3 AND next_sequence = ?4 RETURNING number"
        }
        Some(_) => {
            "UPDATE plan SET next_sequence = ?1, status = ?5, owner = iif(?6, NULL, owner)
             WHERE id = ?2 AND epoch = ?3 AND next_sequence = ?4 RETURNING number"
        }
    };
    let mut fence = transaction.prepare_cached(sql)?;
    fence.raw_bind_parameter(1, record.next().0.cast_signed())?;
    fence.raw_bind_parameter(2, record.plan.0.as_bytes())?;
    fence.raw_bind_parameter(3, record.epoch.0.cast_signed())?;
    fence.raw_bind_parameter(4, record.first.0.cast_signed())?;
    if let Some(status) = status {
        fence.raw_bind_parameter(5, status.as_str())?;
        fence.raw_bind_parameter(6, status.has_ended())?;
    }
    let mut rows = fence.raw_query();
    let number: Option<i64> = rows.next()?.map(|row| row.get(0)).transpose()?;
    drop(rows);
    let Some(number) = number else { return refusal(transaction, record) };
    let row = encode(record);
    transaction
        .prepare_cached(
            "INSERT INTO journal (plan, first, count, epoch, at, format, crc, actor, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            number,
            row.first.cast_signed(),
            row.count.cast_signed(),
            row.epoch.cast_signed(),
            row.at,
            row.format,
            row.crc,
            row.actor,
            row.body
        ])?;
    for blob in &record.blobs {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO blob (plan, sha256, json) VALUES (?1, ?2, ?3)")?
            .execute(params![number, blob.sha256, blob.json])?;
    }
    if status.is_some_and(|status| status != PlanStatus::Executing) {
        // Meant for the run that ended, not for the next one.
        transaction.prepare_cached("DELETE FROM posted WHERE plan = ?1")?.execute([number])?;
    }
    Ok(AppendResult::Appended)
}

fn refusal(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<AppendResult> {
    let epoch: Option<i64> = transaction
        .prepare_cached("SELECT epoch FROM plan WHERE id = ?1")?
        .query_row([record.plan.0.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(AppendResult::Refused(match epoch {
        None => AppendRefusal::UnknownPlan,
        Some(epoch) if epoch != record.epoch.0.cast_signed() => AppendRefusal::StaleEpoch,
        Some(_) => AppendRefusal::WrongSequence,
    }))
}

/// Commits without an fsync of its own. Right for ownership: it means nothing after a power cut,
/// and the fsync of the next append covers it, because the WAL is one sequence.
pub(super) fn unsynced<T>(
    connection: &mut Connection,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let done = work(connection);
    connection.pragma_update(None, "synchronous", "FULL")?;
    done
}

pub(super) fn claim(
    connection: &mut Connection,
    plan: PlanId,
    worker: WorkerId,
    locks: &Path,
) -> rusqlite::Result<ClaimResult> {
    let transaction = begin(connection)?;
    let found: Option<(Option<[u8; 16]>, i64)> = transaction
        .query_row("SELECT owner, epoch FROM plan WHERE id = ?1", [plan.0.as_bytes()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((owner, epoch)) = found else { return Ok(ClaimResult::UnknownPlan) };
    let owner = owner.map(|bytes| WorkerId(Uuid::from_bytes(bytes)));
    if owner.is_some_and(|owner| owner != worker && worker::is_alive(locks, owner)) {
        return Ok(ClaimResult::Held);
    }
    // A torn tail was never acknowledged and stands in the way of what comes next.
    transaction.execute(
        "DELETE FROM journal WHERE plan = (SELECT number FROM plan WHERE id = ?1)
         AND first >= (SELECT next_sequence FROM plan WHERE id = ?1)",
        [plan.0.as_bytes()],
    )?;
    let after_death = owner.is_some_and(|owner| owner != worker);
    let epoch = epoch + 1;
    transaction.execute(
        "UPDATE plan SET owner = ?1, epoch = ?2 WHERE id = ?3",
        params![worker.0.as_bytes(), epoch, plan.0.as_bytes()],
    )?;
    transaction.commit()?;
    Ok(ClaimResult::Granted { epoch: Epoch(epoch.cast_unsigned()), after_death })
}

pub(super) fn release(
    connection: &mut Connection,
    plan: PlanId,
    worker: WorkerId,
    epoch: Epoch,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE plan SET owner = NULL WHERE id = ?1 AND owner = ?2 AND epoch = ?3")?
        .execute(params![plan.0.as_bytes(), worker.0.as_bytes(), epoch.0.cast_signed()])?;
    Ok(())
}

pub(super) fn post(
    connection: &mut Connection,
    plan: PlanId,
    command: &RemoteCommand,
) -> rusqlite::Result<()> {
    let command = serde_json::to_string(command).expect("a command is plain data");
    connection.execute(
        "INSERT INTO posted (plan, command) SELECT number, ?2 FROM plan WHERE id = ?1",
        params![plan.0.as_bytes(), command],
    )?;
    Ok(())
}

pub(super) fn settle_posted(
    connection: &mut Connection,
    settled: &[(PlanId, u64)],
) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    for (plan, position) in settled {
        // The plan, too: numbers of rows that are gone are given out again.
        transaction.execute(
            "DELETE FROM posted WHERE position = ?1
             AND plan = (SELECT number FROM plan WHERE id = ?2)",
            params![position.cast_signed(), plan.0.as_bytes()],
        )?;
    }
    transaction.commit()
}

pub(super) fn put(connection: &mut Connection, plan: &StoredPlan) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    let number = transaction
        .prepare_cached(
            "INSERT INTO plan (id, goal, status, created_at) VALUES (?1, ?2, 'VALIDATED', ?3)
             ON CONFLICT DO NOTHING RETURNING number",
        )?
        .query_row(params![plan.plan_id.0.as_bytes(), plan.goal, plan.created_at.0], |row| {
            row.get::<_, i64>(0)
        })
        .optional()?;
    if let Some(number) = number {
        transaction
            .prepare_cached("INSERT INTO document (plan, json) VALUES (?1, ?2)")?
            .execute(params![number, plan.document])?;
        if let Some(goal) = &plan.asked {
            insert_goal(&transaction, goal)?;
        }
    }
    transaction.commit()
}

fn insert_goal(connection: &Connection, goal: &StoredGoal) -> rusqlite::Result<()> {
    let plan = goal.plan.as_ref().map(|plan| plan.0.as_bytes());
    connection
        .prepare_cached(
            "INSERT INTO goal (id, parent, plan, status, created_at, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            goal.goal_id,
            goal.parent,
            plan,
            goal.status.as_str(),
            goal.created_at.0,
            goal.record
        ])?;
    Ok(())
}

pub(super) fn put_failed(
    connection: &mut Connection,
    goal: &StoredGoal,
    keep: FailedGoalsKept,
) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    insert_goal(&transaction, goal)?;
    transaction.execute(
        "DELETE FROM goal WHERE plan IS NULL AND (created_at < ?1 OR number <= coalesce(
             (SELECT number FROM goal WHERE plan IS NULL ORDER BY number DESC LIMIT 1 OFFSET ?2), 0))",
        params![keep.since.0, keep.count],
    )?;
    transaction.commit()
}
