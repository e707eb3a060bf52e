//! One suite for every store. Each case gets a fresh store and two workers that share it.

use std::sync::Arc;

use l05_core::goal::GoalStatus;
use l05_core::id::{Attempt, Epoch, PlanId, Sequence, TaskIndex, WorkerId};
use l05_core::plan::PlanStatus;
use l05_core::time::Timestamp;
use l05_engine::memory::MemoryStore;
use l05_engine::port::{
    AppendRefusal, AppendResult, ClaimResult, FailedGoalsKept, GoalQuery, HistoryQuery, Journal,
    PlanCatalog, RemoteCommand, StoreError, StoredGoal, StoredPlan,
};
use l05_run::amounts::Amounts;
use l05_run::amounts::Usage;
use l05_run::event::{RunEvent, TaskOutput};
use l05_run::record::{OutputBlob, Record};
use l05_store::test_support::PrivatePostgres;
use l05_store::{PostgresStore, SqliteStore};
use serde_json::json;
use uuid::Uuid;

/// A store under test: two handles on the same data, as two processes would have.
struct Subject {
    first: Arc<dyn Store>,
    second: Arc<dyn Store>,
    first_worker: WorkerId,
    second_worker: WorkerId,
    _keeps: Box<dyn std::any::Any>,
}

trait Store: Journal + PlanCatalog {}
impl<S: Journal + PlanCatalog> Store for S {}

async fn memory() -> Subject {
    let store = Arc::new(MemoryStore::new());
    Subject {
        first: store.clone(),
        second: store,
        first_worker: WorkerId(Uuid::from_u128(1)),
        second_worker: WorkerId(Uuid::from_u128(2)),
        _keeps: Box::new(()),
    }
}

async fn sqlite() -> Subject {
    let folder = tempfile::tempdir().unwrap();
    let first = Arc::new(SqliteStore::open(folder.path()).unwrap());
    let second = Arc::new(SqliteStore::open(folder.path()).unwrap());
    Subject {
        first_worker: first.worker(),
        second_worker: second.worker(),
        first,
        second,
        _keeps: Box::new(folder),
    }
}

async fn postgres() -> Subject {
    let server = PrivatePostgres::start_unsafe().unwrap();
    // Together: one of them migrates, the other waits for it.
    let (url, folder) = (server.url(), tempfile::tempdir().unwrap());
    let connect = || PostgresStore::connect(&url, folder.path());
    let (first, second) = tokio::join!(connect(), connect());
    let (first, second) = (Arc::new(first.unwrap()), Arc::new(second.unwrap()));
    Subject {
        first_worker: first.worker(),
        second_worker: second.worker(),
        first,
        second,
        _keeps: Box::new((server, folder)),
    }
}

/// Declares one test per store for each case.
macro_rules! conformance {
    ($($case:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test] async fn $case() { super::$case(super::memory().await).await; })*
        }
        mod on_sqlite {
            $(#[tokio::test] async fn $case() { super::$case(super::sqlite().await).await; })*
        }
        mod on_postgres {
            $(#[tokio::test] async fn $case() { super::$case(super::postgres().await).await; })*
        }
    };
}

conformance!(
    what_is_appended_is_read,
    refused_records_leave_no_trace_and_take_none_down,
    one_owner_at_a_time,
    large_outputs_are_kept,
    plans_are_listed_newest_first,
    commands_reach_the_owner_once,
    the_end_of_a_run_is_the_end_of_its_ownership,
    what_nobody_drives_is_found,
    a_plan_is_kept_once,
    goals_are_kept_with_their_plans,
);

pub(crate) fn plan_id(n: u128) -> PlanId {
    PlanId(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + n))
}

pub(crate) fn stored(n: u128) -> StoredPlan {
    StoredPlan {
        asked: None,
        plan_id: plan_id(n),
        goal: format!("goal {n}"),
        created_at: Timestamp(1_000 + n as i64),
        document: format!("{{\"n\":{n}}}").into_bytes(),
    }
}

fn dispatched(task: u32) -> RunEvent {
    let (task, attempt, reserved) = (TaskIndex(task), Attempt(1), Amounts::NONE);
    RunEvent::TaskDispatched { task, attempt, not_after: Timestamp(9), reserved, placed: None }
}

pub(crate) fn started() -> RunEvent {
    RunEvent::RunStarted {
        run: 1,
        keep: vec![],
        kept_maps: vec![],
        deadline: None,
        began: None,
        by: None,
        account: None,
        workspace: None,
    }
}

pub(crate) fn record(plan: PlanId, epoch: Epoch, first: u64, events: Vec<RunEvent>) -> Arc<Record> {
    Arc::new(Record {
        plan,
        first: Sequence(first),
        epoch,
        at: Timestamp(5),
        actor: "test".into(),
        events,
        blobs: vec![],
    })
}

async fn granted(store: &dyn Store, plan: PlanId, worker: WorkerId) -> Epoch {
    match store.claim(plan, worker).await.unwrap() {
        ClaimResult::Granted { epoch, .. } => epoch,
        other => panic!("{other:?}"),
    }
}

async fn append(store: &dyn Store, records: Vec<Arc<Record>>) -> Vec<AppendResult> {
    store.append(records).await.unwrap()
}

async fn what_is_appended_is_read(subject: Subject) {
    let plan = plan_id(1);
    subject.first.put(stored(1)).await.unwrap();
    let epoch = granted(&*subject.first, plan, subject.first_worker).await;
    let records = vec![
        record(plan, epoch, 1, vec![dispatched(0), dispatched(1)]),
        record(plan, epoch, 3, vec![dispatched(2)]),
        record(plan, epoch, 4, vec![dispatched(3), dispatched(4), dispatched(5)]),
    ];
    for one in &records {
        let result = append(&*subject.first, vec![one.clone()]).await;
        assert_eq!(result, [AppendResult::Appended]);
    }
    let read = |from| subject.second.read(plan, Sequence(from));
    let whole: Vec<Record> = records.iter().map(|r| (**r).clone()).collect();
    assert_eq!(read(1).await.unwrap(), whole);
    // A record that begins before `from` and reaches it is given whole.
    assert_eq!(read(2).await.unwrap(), whole);
    assert_eq!(read(3).await.unwrap(), whole[1..]);
    assert_eq!(read(5).await.unwrap(), whole[2..]);
    assert_eq!(read(7).await.unwrap(), []);
    assert_eq!(subject.first.read(plan_id(9), Sequence(1)).await.unwrap(), []);
}

async fn refused_records_leave_no_trace_and_take_none_down(subject: Subject) {
    let store = &*subject.first;
    for n in 1..=4 {
        store.put(stored(n)).await.unwrap();
    }
    let one = granted(store, plan_id(1), subject.first_worker).await;
    let two = granted(store, plan_id(2), subject.first_worker).await;
    let stale = granted(store, plan_id(3), subject.first_worker).await;
    let fresh = granted(store, plan_id(3), subject.first_worker).await;
    assert!(fresh > stale, "each grant has a higher epoch");
    let results = append(
        store,
        vec![
            record(plan_id(1), one, 1, vec![dispatched(0)]),
            record(plan_id(3), stale, 1, vec![dispatched(0)]),
            record(plan_id(2), two, 5, vec![dispatched(0)]),
            record(plan_id(7), one, 1, vec![dispatched(0)]),
            record(plan_id(4), Epoch(0), 1, vec![dispatched(0)]),
        ],
    )
    .await;
    assert_eq!(
        results,
        [
            AppendResult::Appended,
            AppendResult::Refused(AppendRefusal::StaleEpoch),
            AppendResult::Refused(AppendRefusal::WrongSequence),
            AppendResult::Refused(AppendRefusal::UnknownPlan),
            // Never claimed: nobody's epoch is the plan's first one.
            AppendResult::Appended,
        ]
    );
    assert_eq!(store.read(plan_id(1), Sequence(1)).await.unwrap().len(), 1);
    for refused in [2, 3, 7] {
        assert_eq!(store.read(plan_id(refused), Sequence(1)).await.unwrap(), []);
    }
    // The same record twice: the second is out of sequence.
    let again = append(store, vec![record(plan_id(1), one, 1, vec![dispatched(0)])]).await;
    assert_eq!(again, [AppendResult::Refused(AppendRefusal::WrongSequence)]);
}

async fn one_owner_at_a_time(subject: Subject) {
    let plan = plan_id(1);
    subject.first.put(stored(1)).await.unwrap();
    assert_eq!(
        subject.first.claim(plan_id(9), subject.first_worker).await.unwrap(),
        ClaimResult::UnknownPlan
    );
    assert!(!subject.first.is_owned(plan).await.unwrap());
    let old = granted(&*subject.first, plan, subject.first_worker).await;
    assert!(subject.second.is_owned(plan).await.unwrap());
    assert_eq!(subject.second.claim(plan, subject.second_worker).await.unwrap(), ClaimResult::Held);
    // A release by somebody else changes nothing.
    subject.second.release(plan, subject.second_worker, old).await.unwrap();
    assert_eq!(subject.second.claim(plan, subject.second_worker).await.unwrap(), ClaimResult::Held);
    // Nor does one of another epoch.
    subject.first.release(plan, subject.first_worker, Epoch(99)).await.unwrap();
    assert!(subject.second.is_owned(plan).await.unwrap());
    subject.first.release(plan, subject.first_worker, old).await.unwrap();
    assert!(!subject.second.is_owned(plan).await.unwrap());
    let new = granted(&*subject.second, plan, subject.second_worker).await;
    assert!(new > old);
    let late = append(&*subject.first, vec![record(plan, old, 1, vec![dispatched(0)])]).await;
    assert_eq!(late, [AppendResult::Refused(AppendRefusal::StaleEpoch)], "the fence");
}

async fn large_outputs_are_kept(subject: Subject) {
    let plan = plan_id(1);
    subject.first.put(stored(1)).await.unwrap();
    let epoch = granted(&*subject.first, plan, subject.first_worker).await;
    let json = vec![b'x'; 100_000];
    let output = TaskOutput::Blob { sha256: "ab".repeat(32), bytes: json.len() as u64 };
    let event = RunEvent::TaskCompleted {
        task: TaskIndex(0),
        attempt: Attempt(1),
        output,
        usage: Usage::default(),
    };
    let mut with_blob = (*record(plan, epoch, 1, vec![event])).clone();
    with_blob.blobs = vec![OutputBlob { sha256: "ab".repeat(32), json: json.clone() }];
    append(&*subject.first, vec![Arc::new(with_blob)]).await;
    assert_eq!(subject.second.blob(plan, "ab".repeat(32)).await.unwrap(), json);
    let missing = subject.second.blob(plan, "cd".repeat(32)).await.unwrap_err();
    assert!(matches!(missing, StoreError::Corrupt(_)));
    // Outputs never leak between plans.
    subject.first.put(stored(2)).await.unwrap();
    assert!(subject.second.blob(plan_id(2), "ab".repeat(32)).await.is_err());
}

async fn plans_are_listed_newest_first(subject: Subject) {
    let store = &*subject.first;
    for n in [2, 5, 1, 4, 3] {
        store.put(stored(n)).await.unwrap();
    }
    let epoch = granted(store, plan_id(4), subject.first_worker).await;
    let started = started();
    let ended = RunEvent::RunFinished { status: PlanStatus::Failed, partial: false };
    append(store, vec![record(plan_id(4), epoch, 1, vec![started.clone(), ended])]).await;
    let epoch = granted(store, plan_id(2), subject.first_worker).await;
    append(store, vec![record(plan_id(2), epoch, 1, vec![started])]).await;

    let list = async |query: HistoryQuery| {
        let page = store.list(query).await.unwrap();
        let ids: Vec<u128> = page.plans.iter().map(|p| p.plan_id.0.as_u128() & 0xff).collect();
        (ids, page.next, page.plans)
    };
    let query = |limit| HistoryQuery { limit, ..HistoryQuery::default() };
    let (ids, next, plans) = list(query(10)).await;
    assert_eq!((ids.as_slice(), next), (&[5, 4, 3, 2, 1][..], None));
    let statuses: Vec<PlanStatus> = plans.iter().map(|plan| plan.status).collect();
    let (validated, failed, executing) =
        (PlanStatus::Validated, PlanStatus::Failed, PlanStatus::Executing);
    assert_eq!(statuses, [validated, failed, validated, executing, validated]);
    assert_eq!((plans[0].goal.as_str(), plans[0].created_at), ("goal 5", Timestamp(1_005)));
    let (ids, next, _) = list(query(2)).await;
    assert_eq!((ids.as_slice(), next), (&[5, 4][..], Some(plan_id(4))));
    let (ids, next, _) = list(HistoryQuery { before: next, ..query(3) }).await;
    assert_eq!((ids.as_slice(), next), (&[3, 2, 1][..], None));
    let (ids, ..) = list(HistoryQuery { status: Some(executing), ..query(9) }).await;
    assert_eq!(ids, [2]);

    let find = |prefix: String| store.find(prefix);
    assert_eq!(find(plan_id(3).to_string()).await.unwrap(), [plan_id(3)]);
    assert_eq!(find("0199".to_owned()).await.unwrap().len(), 2, "two are enough to say: not one");
    assert_eq!(find("ffff".to_owned()).await.unwrap(), []);
}

async fn commands_reach_the_owner_once(subject: Subject) {
    let plan = plan_id(1);
    subject.first.put(stored(1)).await.unwrap();
    let epoch = granted(&*subject.first, plan, subject.first_worker).await;
    let cancel = RemoteCommand::Cancel { reason: "enough".to_owned(), task: None, by: None };
    subject.second.post(plan, cancel.clone()).await.unwrap();
    assert_eq!(subject.second.posted(subject.second_worker).await.unwrap(), []);
    let posted = async || subject.first.posted(subject.first_worker).await.unwrap();
    let told = posted().await;
    assert_eq!(told.iter().map(|p| (p.plan, &p.command)).collect::<Vec<_>>(), [(plan, &cancel)]);
    assert_eq!(posted().await, told, "an owner that dies before it acts leaves it to the next");
    subject.first.settle_posted(vec![(plan, told[0].position)]).await.unwrap();
    assert_eq!(posted().await, []);
    // What comes too late for a run is not kept for the next one.
    let cancel = RemoteCommand::Cancel { reason: "late".to_owned(), task: None, by: None };
    subject.second.post(plan, cancel).await.unwrap();
    let ended = RunEvent::RunFinished { status: PlanStatus::Completed, partial: false };
    append(&*subject.first, vec![record(plan, epoch, 1, vec![ended])]).await;
    assert_eq!(posted().await, []);
}

async fn a_plan_is_kept_once(subject: Subject) {
    subject.first.put(stored(1)).await.unwrap();
    let other =
        StoredPlan { document: json!({"other": true}).to_string().into_bytes(), ..stored(1) };
    subject.first.put(other).await.unwrap();
    assert_eq!(subject.second.get(plan_id(1)).await.unwrap(), Some(stored(1)), "the first stands");
    assert_eq!(subject.second.get(plan_id(2)).await.unwrap(), None);
}

async fn the_end_of_a_run_is_the_end_of_its_ownership(subject: Subject) {
    let plan = plan_id(1);
    subject.first.put(stored(1)).await.unwrap();
    let epoch = granted(&*subject.first, plan, subject.first_worker).await;
    append(&*subject.first, vec![record(plan, epoch, 1, vec![started()])]).await;
    assert!(subject.second.is_owned(plan).await.unwrap());
    let ended = RunEvent::RunFinished { status: PlanStatus::Completed, partial: false };
    append(&*subject.first, vec![record(plan, epoch, 2, vec![ended])]).await;
    assert!(!subject.second.is_owned(plan).await.unwrap());
    // A late report may still be recorded until somebody claims it.
    append(&*subject.first, vec![record(plan, epoch, 3, vec![dispatched(0)])]).await;
    let next = granted(&*subject.second, plan, subject.second_worker).await;
    assert!(next > epoch);
}

async fn what_nobody_drives_is_found(subject: Subject) {
    let store = &*subject.first;
    for n in 1..=4 {
        store.put(stored(n)).await.unwrap();
    }
    let unowned = async |limit| {
        let mut ids = subject.second.unowned(limit).await.unwrap();
        ids.sort();
        ids
    };
    assert_eq!(unowned(9).await, [], "nobody asked for any of them to run");
    let mut epochs = Vec::new();
    for n in 1..=3 {
        let epoch = granted(store, plan_id(n), subject.first_worker).await;
        append(store, vec![record(plan_id(n), epoch, 1, vec![started()])]).await;
        epochs.push(epoch);
    }
    assert_eq!(unowned(9).await, [], "each has its owner");
    for n in 1..=2 {
        store.release(plan_id(n), subject.first_worker, epochs[n as usize - 1]).await.unwrap();
    }
    assert_eq!(unowned(9).await, [plan_id(1), plan_id(2)]);
    assert_eq!(unowned(1).await.len(), 1);
    let ended = RunEvent::RunFinished { status: PlanStatus::Completed, partial: false };
    append(store, vec![record(plan_id(3), epochs[2], 2, vec![ended])]).await;
    assert_eq!(unowned(9).await, [plan_id(1), plan_id(2)], "one has ended");
}

fn goal(id: &str, plan: Option<u128>, at: i64) -> StoredGoal {
    StoredGoal {
        goal_id: id.to_owned(),
        parent: (id == "part").then(|| "whole".to_owned()),
        plan: plan.map(|n| stored(n).plan_id),
        status: if plan.is_some() { GoalStatus::Ready } else { GoalStatus::Failed },
        created_at: Timestamp(at),
        record: id.as_bytes().to_vec(),
    }
}

/// Goals are kept with their plans; those without are bounded in number and age.
async fn goals_are_kept_with_their_plans(subject: Subject) {
    let store = &subject.first;
    let put =
        |n: u128, asked: StoredGoal| store.put(StoredPlan { asked: Some(asked), ..stored(n) });
    put(1, goal("whole", Some(1), 1)).await.unwrap();
    put(2, goal("part", Some(2), 2)).await.unwrap();
    // The same plan once more is no second planning.
    put(2, goal("part", Some(2), 2)).await.unwrap();
    let keep = FailedGoalsKept { count: 2, since: Timestamp(5) };
    for (id, at) in [("old", 4), ("a", 6), ("b", 7), ("c", 8)] {
        store.put_failed(goal(id, None, at), keep).await.unwrap();
    }
    let ids = async |query: GoalQuery| -> Vec<String> {
        let found = subject.second.goals(GoalQuery { limit: 10, ..query }).await.unwrap();
        found.into_iter().map(|goal| goal.goal_id).collect()
    };
    assert_eq!(ids(GoalQuery::default()).await, ["c", "b", "part", "whole"]);
    let of = |status| GoalQuery { status: Some(status), ..GoalQuery::default() };
    assert_eq!(ids(of(GoalStatus::Failed)).await, ["c", "b"]);
    let parts = GoalQuery { parent: Some("whole".to_owned()), ..GoalQuery::default() };
    assert_eq!(ids(parts).await, ["part"]);
    let one = GoalQuery { goal_id: Some("part".to_owned()), limit: 10, ..GoalQuery::default() };
    assert_eq!(subject.second.goals(one).await.unwrap(), [goal("part", Some(2), 2)]);
}
