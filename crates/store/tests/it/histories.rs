//! Journals of each feature as they were written once, kept for ever: every later version reads them
//! and comes to the same state.
//!
//! `L05_TEST_RECORD=1` writes the files of features that have none yet. A file that is there is
//! never written again: it stands for what users have on their disks.

mod scripted_service;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use l05_core::agent::Agent;
use l05_core::caller::{Caller, CallerRole};
use l05_core::id::PlanId;
use l05_core::plan::{PlanDocument, PlanStatus};
use l05_engine::PlanningService;
use l05_engine::service::{GateAnswer, NewBudget};
use l05_run::explain::Topic;
use l05_store::SqliteStore;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use scripted_service::{Tools, service};

/// A journal with the state that it led to.
#[derive(Serialize, Deserialize)]
struct History {
    plan_id: PlanId,
    goal: String,
    status_column: String,
    created_at: i64,
    document: Value,
    rows: Vec<Row>,
    blobs: BTreeMap<String, Value>,
    /// `status` and `result` of the recorded run, without what depends on the present.
    status: Value,
    result: Value,
}

/// A journal row as the table holds it.
#[derive(Serialize, Deserialize)]
struct Row {
    first: i64,
    count: i64,
    epoch: i64,
    at: i64,
    format: i64,
    crc: i64,
    actor: String,
    body: String,
}

/// All features, each with what it does to a service. The service may be replaced by another on the
/// same store, as after a crash.
const FEATURES: [&str; 18] = [
    "adoption",
    "agents",
    "approval",
    "budget",
    "callers",
    "cancel",
    "conditions",
    "deadline",
    "failure",
    "fan_out",
    "large_output",
    "limited",
    "overdraft",
    "rerun",
    "straggler",
    "superseded",
    "suspension",
    "workspace",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

async fn accept(service: &PlanningService, document: Value) -> PlanId {
    let document = PlanDocument::read(&document).unwrap();
    service.accept(document, false).await.unwrap().plan.id()
}

async fn ended(service: &PlanningService, id: PlanId) -> PlanStatus {
    service.wait(id).await.unwrap()
}

async fn answer(service: &PlanningService, id: PlanId, approve: bool, task: Option<&str>) {
    let (reason, task) = ("recorded".to_owned(), task.map(str::to_owned));
    let answer = GateAnswer { approve, reason, task, gate: None };
    service.as_caller(Caller::person("eve")).answer(id, answer).await.unwrap();
}

/// Makes all runs those of a process that is gone: what a death leaves behind.
fn orphan(folder: &Path) {
    let database = Connection::open(folder.join(l05_store::sqlite::DATABASE_FILE)).unwrap();
    let gone = uuid::Uuid::now_v7();
    database.execute("UPDATE plan SET owner = ?1", [gone.as_bytes()]).unwrap();
}

/// Waits until a task is being worked on.
async fn in_flight(service: &PlanningService, id: PlanId, task: &str) {
    let is_it = |line: &l05_engine::report::TaskResult| {
        line.task_id == task && line.status == l05_core::task::TaskStatus::Executing
    };
    while !service.status(id).await.unwrap().tasks.iter().any(is_it) {
        tokio::task::yield_now().await;
    }
}

fn agent(id: &str) -> Agent {
    serde_json::from_value(json!({
        "agent_id": id, "type": "worker", "version": "1.0.0", "status": "AVAILABLE",
        "capabilities": ["tool:ok", "tool:hang"], "max_concurrent_tasks": 1, "current_load": 0,
        "capacity": {"cpu_cores": 1.0, "memory_mb": 1}, "last_heartbeat": "2026-01-01T00:00:00Z",
    }))
    .unwrap()
}

/// Plays a feature in `folder`; gives the plan.
async fn play(feature: &str, folder: &Path) -> PlanId {
    let first = service(folder);
    let quick = json!({"max_retries": 2, "base_seconds": 0.01});
    match feature {
        "adoption" => {
            let id = accept(
                &first,
                json!({"goal": "adoption", "tasks": [
                    {"id": "a", "tool": "ok"},
                    {"id": "b", "tool": "slow", "depends_on": ["a"]},
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            // Another process of the same machine claims what this one lets go of.
            first.park(id).await.unwrap();
            let second = service(folder);
            second.execute(id).await.unwrap();
            assert_eq!(ended(&second, id).await, PlanStatus::Completed);
            id
        }
        "suspension" => {
            let tasks = json!([{"id": "a", "tool": "ok"}, {"id": "b", "tool": "hang", "depends_on": ["a"]}]);
            let id = accept(&first, json!({"goal": "suspension", "tasks": tasks})).await;
            first.execute(id).await.unwrap();
            in_flight(&first, id, "b").await;
            for _ in 0..2 {
                orphan(folder);
                let next = service(folder);
                next.execute(id).await.unwrap();
                in_flight(&next, id, "b").await;
            }
            orphan(folder);
            let last = service(folder);
            last.execute(id).await.unwrap();
            assert_eq!(ended(&last, id).await, PlanStatus::Suspended);
            last.as_caller(Caller::person("eve")).retry(id, None).await.unwrap();
            in_flight(&last, id, "b").await;
            last.cancel(id, "enough").await.unwrap();
            assert_eq!(ended(&last, id).await, PlanStatus::Cancelled);
            id
        }
        "agents" => {
            first.register_agent(agent("did:key:one"), Arc::new(Tools)).await.unwrap();
            first.agents().await.unwrap();
            let of_agent = |id: &str, tool: &str, after: &[&str]| {
                json!({"id": id, "tool": tool, "agent_version": "^1", "depends_on": after,
                    "retry": {"max_retries": 1, "base_seconds": 0.01}})
            };
            let tasks = json!([
                of_agent("first", "ok", &[]), of_agent("hangs", "hang", &["first"]),
                {"id": "slow", "tool": "slow"}, of_agent("nobody", "ok", &["slow"]),
            ]);
            let id = accept(&first, json!({"goal": "agents", "tasks": tasks})).await;
            first.execute(id).await.unwrap();
            while !first
                .events(id)
                .await
                .unwrap()
                .iter()
                .any(|e| e.kind.name() == "task.started" && e.task_id.as_deref() == Some("hangs"))
            {
                tokio::task::yield_now().await;
            }
            first.remove_agent("did:key:one").await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "approval" => {
            let id = accept(&first, json!({"goal": "approval", "constraints": {"require_approval": true},
                "tasks": [
                {"id": "a", "tool": "ok"}, {"id": "yes", "tool": "ok", "gate": true},
                {"id": "no", "tool": "ok", "gate": true}, {"id": "after", "tool": "ok", "depends_on": ["no"]},
            ]})).await;
            first.execute(id).await.unwrap();
            answer(&first, id, true, None).await;
            ended(&first, id).await;
            answer(&first, id, true, Some("yes")).await;
            answer(&first, id, false, Some("no")).await;
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "budget" => {
            let costly = |id: &str, after: &[&str]| {
                json!({"id": id, "tool": "costly", "depends_on": after,
                "resource_estimate": {"tokens_out": {"low": 0, "expected": 10, "high": 100}},
                "retry": {"max_retries": 0}})
            };
            let id = accept(
                &first,
                json!({"goal": "budget", "constraints": {"token_budget": 200}, "tasks": [
                    costly("a", &[]), costly("b", &["a"]), costly("c", &["b"]),
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "overdraft" => {
            let ask = |id: &str, after: &[&str]| json!({"id": id, "prompt": "Say hello.", "depends_on": after, "retry": {"max_retries": 0}});
            let id = accept(
                &first,
                json!({"goal": "overdraft", "constraints": {"token_budget": 11_000}, "on_budget": "ask",
                    "tasks": [ask("a", &[]), ask("b", &["a"])]}),
            )
            .await;
            first.execute(id).await.unwrap();
            // The model takes more than it was told: somebody is asked, and agrees once.
            ended(&first, id).await;
            answer(&first, id, true, None).await;
            ended(&first, id).await;
            answer(&first, id, false, None).await;
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            // A budget of its own for the next run, which is broken again.
            let budget = NewBudget { tokens: Some(50_000), cost_usd: None };
            first.retry_with(id, Some("a"), budget).await.unwrap();
            ended(&first, id).await;
            answer(&first, id, false, None).await;
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "callers" => {
            let named =
                |id: &str| first.as_caller(Caller { id: id.into(), role: CallerRole::Operator });
            let id = accept(
                &first,
                json!({"goal": "callers", "tasks": [
                    {"id": "gated", "tool": "ok", "gate": true},
                    {"id": "other", "tool": "obeys"},
                    {"id": "long", "tool": "obeys", "depends_on": ["gated"]},
                ]}),
            )
            .await;
            named("ann").execute(id).await.unwrap();
            named("bob").cancel_task(id, "other", "not needed").await.unwrap();
            answer(&first, id, true, None).await;
            named("cem").cancel(id, "enough").await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Cancelled);
            named("dan").retry(id, Some("long")).await.unwrap();
            named("eva").cancel(id, "again").await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Cancelled);
            id
        }
        "cancel" => {
            let id = accept(
                &first,
                json!({"goal": "cancel", "tasks": [
                    {"id": "a", "tool": "slow"}, {"id": "b", "tool": "ok", "depends_on": ["a"]},
                    {"id": "c", "tool": "hang"},
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            first.cancel_task(id, "c", "one task").await.unwrap();
            first.cancel(id, "all of it").await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Cancelled);
            id
        }
        "superseded" => {
            let id = accept(
                &first,
                json!({"goal": "superseded", "tasks": [
                    {"id": "a", "tool": "slow"}, {"id": "b", "tool": "obeys"},
                    {"id": "c", "tool": "ok", "depends_on": ["b"]},
                    {"id": "d", "tool": "ok", "depends_on": ["a", "c"], "join": "any", "cancel_others": true},
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Completed);
            id
        }
        "workspace" => {
            let id = accept(
                &first,
                json!({"goal": "workspace", "tasks": [
                    {"id": "a", "tool": "in_folder"}, {"id": "b", "tool": "fail", "depends_on": ["a"]},
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            first.retry(id, None).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "conditions" => {
            let when = |condition: &str| json!({"task": "a", "type": "conditional", "condition": condition});
            let id = accept(
                &first,
                json!({"goal": "conditions", "inputs": {"n": 3}, "tasks": [
                    {"id": "a", "tool": "ok", "inputs": {"n": "$[inputs].n"}},
                    {"id": "yes", "tool": "ok", "depends_on": [when("outputs.inputs.n == 3")]},
                    {"id": "no", "tool": "ok", "depends_on": [when("outputs.inputs.n > 3")]},
                    {"id": "behind", "tool": "ok", "depends_on": ["no"]},
                    {"id": "any", "tool": "ok", "join": "any", "depends_on": ["yes", "no"]},
                    {"id": "broken", "tool": "ok", "depends_on": [when("outputs.nowhere.n > 3")]},
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "deadline" => {
            let id = accept(&first, json!({"goal": "deadline", "constraints": {"deadline_seconds": 1.5}, "tasks": [
                {"id": "timeout", "tool": "hang", "timeout_seconds": 0.2, "expected_seconds": 0.1,
                    "retry": {"max_retries": 1, "base_seconds": 0.01}},
                {"id": "late", "tool": "hang", "expected_seconds": 0.1},
            ]})).await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "failure" => {
            let id = accept(&first, json!({"goal": "failure", "tasks": [
                {"id": "again", "tool": "fail_once", "retry": quick}, {"id": "bad", "tool": "fail"},
                {"id": "blocked", "tool": "ok", "depends_on": ["bad"]},
                {"id": "blocked_too", "tool": "ok", "depends_on": ["blocked"]},
                {"id": "may", "tool": "fail", "allow_failure": true},
                {"id": "tardy", "tool": "slow", "timeout_seconds": 0.2, "retry": {"max_retries": 0}},
                {"id": "long", "tool": "slow"}, {"id": "longer", "tool": "slow", "depends_on": ["long"]},
                {"id": "told", "tool": "ok", "depends_on": ["may"], "inputs": {"why": "$[may].error"}},
            ]})).await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "fan_out" => {
            let id = accept(&first, json!({"goal": "fan_out", "inputs": {"items": [1, "two", null]}, "tasks": [
                {"id": "map", "tool": "ok", "for_each": {"in": "$[inputs].items", "max_items": 5},
                    "inputs": {"item": "$[item]", "at": "$[index]"}},
                {"id": "after", "tool": "ok", "inputs": {"all": "$[map].output"}},
                {"id": "bad", "tool": "fail", "for_each": {"in": "$[inputs].items", "max_items": 5},
                    "retry": {"max_retries": 0}},
            ]})).await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Failed);
            id
        }
        "limited" => {
            let task = json!({"id": "a", "tool": "limited_once", "retry": quick});
            let id = accept(&first, json!({"goal": "limited", "tasks": [task]})).await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Completed);
            id
        }
        "large_output" => {
            let id = accept(
                &first,
                json!({"goal": "large_output", "tasks": [
                    {"id": "large", "tool": "large"},
                    {"id": "after", "tool": "ok", "inputs": {"text": "$[large].output.text"}},
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Completed);
            id
        }
        "rerun" => {
            let id = accept(
                &first,
                json!({"goal": "rerun", "tasks": [
                    {"id": "a", "tool": "ok"}, {"id": "b", "tool": "fail_once", "depends_on": ["a"],
                        "retry": {"max_retries": 0}},
                    {"id": "c", "tool": "ok", "depends_on": ["b"]},
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            ended(&first, id).await;
            first.retry(id, None).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Completed);
            first.retry(id, Some("b")).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Completed);
            id
        }
        "straggler" => {
            let id = accept(
                &first,
                json!({"goal": "straggler", "tasks": [
                    {"id": "slow", "tool": "slow", "expected_seconds": 0.1},
                ]}),
            )
            .await;
            first.execute(id).await.unwrap();
            assert_eq!(ended(&first, id).await, PlanStatus::Completed);
            id
        }
        other => panic!("no feature {other}"),
    }
}

/// What a service tells of a plan, without what depends on the present.
async fn told(service: &PlanningService, id: PlanId) -> (Value, Value) {
    let mut status = serde_json::to_value(service.status(id).await.unwrap()).unwrap();
    status.as_object_mut().unwrap().remove("forecast");
    (status, serde_json::to_value(service.result(id).await.unwrap()).unwrap())
}

async fn record(feature: &str) -> History {
    let folder = tempfile::tempdir().unwrap();
    let plan_id = play(feature, folder.path()).await;
    let (status, result) = told(&service(folder.path()), plan_id).await;
    let database = Connection::open(folder.path().join(l05_store::sqlite::DATABASE_FILE)).unwrap();
    let plan =
        "SELECT number, goal, status, created_at, json FROM plan JOIN document ON plan = number";
    let (number, goal, status_column, created_at, document): (i64, String, String, i64, Vec<u8>) =
        database
            .query_row(plan, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))
            .unwrap();
    let rows =
        "SELECT first, count, epoch, at, format, crc, actor, body FROM journal WHERE plan = ?1
                ORDER BY first";
    let mut statement = database.prepare(rows).unwrap();
    let rows = statement.query_map([number], |r| {
        let body = String::from_utf8(r.get(7)?).unwrap();
        let (first, count, epoch, at) = (r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?);
        let (format, crc, actor) = (r.get(4)?, r.get(5)?, r.get(6)?);
        Ok(Row { first, count, epoch, at, format, crc, actor, body })
    });
    let rows = rows.unwrap().map(Result::unwrap).collect();
    let mut statement = database.prepare("SELECT sha256, json FROM blob").unwrap();
    let blobs = statement.query_map([], |r| Ok((r.get(0)?, r.get::<_, Vec<u8>>(1)?))).unwrap();
    let blobs = blobs
        .map(Result::unwrap)
        .map(|(sha256, json)| (sha256, serde_json::from_slice(&json).unwrap()));
    let document = serde_json::from_slice(&document).unwrap();
    History {
        plan_id,
        goal,
        status_column,
        created_at,
        document,
        rows,
        blobs: blobs.collect(),
        status,
        result,
    }
}

/// Puts a history where a store finds it, as it lay on a disk.
fn restore(history: &History, folder: &Path) {
    drop(SqliteStore::open(folder).unwrap());
    let database = Connection::open(folder.join(l05_store::sqlite::DATABASE_FILE)).unwrap();
    let next = history.rows.last().map_or(1, |row| row.first + row.count);
    let epoch = history.rows.last().map_or(0, |row| row.epoch);
    let document = serde_json::to_vec(&history.document).unwrap();
    let plan = "INSERT INTO plan (number, id, goal, status, created_at, epoch, next_sequence)
                VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";
    let id = history.plan_id.0.as_bytes();
    let fields = params![id, history.goal, history.status_column, history.created_at, epoch, next];
    database.execute(plan, fields).unwrap();
    database.execute("INSERT INTO document VALUES (1, ?1)", [document]).unwrap();
    for row in &history.rows {
        let journal =
            "INSERT INTO journal (plan, first, count, epoch, at, format, crc, actor, body)
                       VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let Row { first, count, epoch, at, format, crc, actor, body } = row;
        let fields = params![first, count, epoch, at, format, crc, actor, body.as_bytes()];
        database.execute(journal, fields).unwrap();
    }
    for (sha256, json) in &history.blobs {
        let json = serde_json::to_vec(json).unwrap();
        database.execute("INSERT INTO blob VALUES (1, ?1, ?2)", params![sha256, json]).unwrap();
    }
}

fn file_of(feature: &str) -> PathBuf {
    folder().join(format!("{feature}.json"))
}

/// Every document that a service makes of a recorded history: what `show`, `status`, `events` and
/// `explain` print. A changed snapshot is a change that callers see.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_document_of_a_recorded_history_keeps_its_form() {
    for feature in FEATURES {
        let text = std::fs::read_to_string(file_of(feature)).unwrap();
        let history: History = serde_json::from_str(&text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        restore(&history, folder.path());
        let (service, id) = (service(folder.path()), history.plan_id);
        let events = service.events(id).await.unwrap();
        let explained = service.explain(id, Topic::EVERY).await.unwrap();
        insta::assert_json_snapshot!(format!("{feature}_show"), service.details(id).await.unwrap());
        insta::assert_json_snapshot!(format!("{feature}_events"), events);
        insta::assert_json_snapshot!(format!("{feature}_explain"), explained);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_history_replays_to_its_state() {
    if std::env::var_os("L05_TEST_RECORD").is_some() {
        for feature in FEATURES.iter().filter(|feature| !file_of(feature).exists()) {
            let text = serde_json::to_string_pretty(&record(feature).await).unwrap();
            std::fs::write(file_of(feature), text + "\n").unwrap();
        }
    }
    for feature in FEATURES {
        let text = std::fs::read_to_string(file_of(feature)).unwrap();
        let history: History = serde_json::from_str(&text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        restore(&history, folder.path());
        let (status, result) = told(&service(folder.path()), history.plan_id).await;
        assert_eq!(status, history.status, "{feature}");
        assert_eq!(as_recorded(result, &history.result), history.result, "{feature}");
    }
}

/// A result in the form of its recording. Until 2026-11-26 cancelled tasks stood among the failed ones, and
/// outputs were those of leaves alone.
fn as_recorded(mut result: Value, recorded: &Value) -> Value {
    if recorded.get("cancelled").is_some() {
        return result;
    }
    let cancelled = result.as_object_mut().unwrap().remove("cancelled").unwrap();
    let ended = |id: &Value| {
        let lists = [&result["failed"], &cancelled];
        lists.iter().any(|list| list.as_array().unwrap().contains(id))
    };
    let tasks = result["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].clone());
    let failed: Vec<Value> = tasks.filter(ended).collect();
    result["failed"] = json!(failed);
    let leaves = recorded["outputs"].as_object().unwrap();
    result["outputs"].as_object_mut().unwrap().retain(|id, _| leaves.contains_key(id));
    result
}

/// Together the recordings hold every kind of event that a journal can hold.
#[test]
fn every_kind_of_event_is_recorded() {
    let mut kinds = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(folder()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let history: History = serde_json::from_str(&text).unwrap();
        for row in history.rows {
            let events: Vec<Value> = serde_json::from_str(&row.body).unwrap();
            kinds.extend(events.iter().flat_map(|e| e.as_object().unwrap().keys().cloned()));
        }
    }
    let source = include_str!("../../../run/src/event.rs");
    let body = source.split_once("pub enum RunEvent {").unwrap().1.split_once("\n}").unwrap().0;
    let variants = body.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.split([' ', '{', '(', ',']).next()?;
        name.starts_with(char::is_uppercase).then(|| snake_case(name))
    });
    let missing: Vec<String> = variants.filter(|kind| !kinds.contains(kind)).collect();
    assert!(missing.is_empty(), "no recording has {missing:?}");
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}
