//! What only a file can suffer: death of its owner, damage, no room, no permission.

use l05_core::id::Sequence;
use l05_core::plan::PlanStatus;
use l05_engine::port::{AppendResult, ClaimResult, Journal, PlanCatalog, StoreError};
use l05_run::event::RunEvent;
use l05_store::SqliteStore;
use l05_store::sqlite::{DATABASE_FILE, SqliteOptions};
use rusqlite::Connection;

use crate::conformance::{plan_id, record, stored};

fn started() -> RunEvent {
    crate::conformance::started()
}

fn ended() -> RunEvent {
    RunEvent::RunFinished { status: PlanStatus::Completed, partial: false }
}

async fn claim(store: &SqliteStore, n: u128) -> l05_core::id::Epoch {
    match store.claim(plan_id(n), store.worker()).await.unwrap() {
        ClaimResult::Granted { epoch, .. } => epoch,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dead_owner_is_known_dead_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = SqliteStore::open(folder.path()).unwrap();
    first.put(stored(1)).await.unwrap();
    let epoch = claim(&first, 1).await;
    first.append(vec![record(plan_id(1), epoch, 1, vec![started()])]).await.unwrap();
    let second = SqliteStore::open(folder.path()).unwrap();
    assert_eq!(second.claim(plan_id(1), second.worker()).await.unwrap(), ClaimResult::Held);
    // Without a release: as if it had been killed.
    drop(first);
    assert!(!second.is_owned(plan_id(1)).await.unwrap());
    assert!(claim(&second, 1).await > epoch);
    assert_eq!(
        second.read(plan_id(1), Sequence(1)).await.unwrap().len(),
        1,
        "the journal is there"
    );
}

/// The switch to WAL is not covered by SQLite's own waiting.
#[test]
fn many_make_one_file_at_once() {
    for _ in 0..100 {
        let folder = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            let open = || {
                start.wait();
                SqliteStore::open(folder.path()).map(drop)
            };
            let opening: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            for one in opening {
                one.join().unwrap().unwrap();
            }
        });
    }
}

/// The document has a table of its own since schema 3.
#[tokio::test]
async fn an_older_file_is_brought_forward() {
    let folder = tempfile::tempdir().unwrap();
    let old = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    old.execute_batch(include_str!("sqlite-2.sql")).unwrap();
    old.execute("UPDATE plan SET id = ?1", [plan_id(1).0.as_bytes()]).unwrap();
    drop(old);
    for _ in 0..2 {
        let store = SqliteStore::open(folder.path()).unwrap();
        let plan = store.get(plan_id(1)).await.unwrap().unwrap();
        assert_eq!((plan.goal.as_str(), plan.created_at.0), ("old", 7));
        assert_eq!(plan.document, br#"{"goal":"old"}"#);
        claim(&store, 1).await;
    }
}

/// Two records, then something done to the file behind the store's back.
async fn damaged(sql: &str) -> Result<usize, StoreError> {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    store.put(stored(1)).await.unwrap();
    let epoch = claim(&store, 1).await;
    for (first, event) in [(1, started()), (2, ended())] {
        store.append(vec![record(plan_id(1), epoch, first, vec![event])]).await.unwrap();
    }
    let behind = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    behind.execute_batch(sql).unwrap();
    store.read(plan_id(1), Sequence(1)).await.map(|records| records.len())
}

#[tokio::test]
async fn a_flipped_byte_is_named_and_a_torn_tail_is_left_out() {
    let flip = |first: u8| {
        format!(
            "UPDATE journal SET body = CAST(replace(CAST(body AS TEXT), 'run', 'rum') AS BLOB) WHERE first = {first}"
        )
    };
    for first in [1, 2] {
        let error = damaged(&flip(first)).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, StoreError::Corrupt(_)), "{text}");
        assert!(
            text.contains(&format!("events {first} to {first}")) && text.contains("checksum"),
            "{text}"
        );
    }
    // A tail that the plan does not count was never acknowledged.
    let torn = format!("{}; UPDATE plan SET next_sequence = 2", flip(2));
    assert_eq!(damaged(&torn).await.unwrap(), 1);
    let newer = damaged("UPDATE journal SET format = 99 WHERE first = 2").await.unwrap_err();
    assert!(newer.to_string().contains("newer version"), "{newer}");
}

#[tokio::test]
async fn a_torn_tail_makes_room_for_what_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    store.put(stored(1)).await.unwrap();
    let epoch = claim(&store, 1).await;
    for (first, event) in [(1, started()), (2, ended())] {
        store.append(vec![record(plan_id(1), epoch, first, vec![event])]).await.unwrap();
    }
    let behind = Connection::open(folder.path().join(DATABASE_FILE)).unwrap();
    behind
        .execute_batch(
            "UPDATE journal SET body = x'00' WHERE first = 2; UPDATE plan SET next_sequence = 2",
        )
        .unwrap();
    let epoch = claim(&store, 1).await;
    let again = record(plan_id(1), epoch, 2, vec![ended()]);
    assert_eq!(store.append(vec![again]).await.unwrap(), [AppendResult::Appended]);
    assert_eq!(store.read(plan_id(1), Sequence(1)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_full_disk_refuses_and_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { page_count_max: Some(40) };
    let store = SqliteStore::open_with(folder.path(), options).unwrap();
    store.put(stored(1)).await.unwrap();
    let epoch = claim(&store, 1).await;
    let mut acknowledged = 0;
    let error = loop {
        let events = vec![RunEvent::TasksBlocked {
            cause: l05_core::id::TaskIndex(0),
            tasks: vec![l05_core::id::TaskIndex(7); 2_000],
        }];
        match store.append(vec![record(plan_id(1), epoch, acknowledged + 1, events)]).await {
            Ok(results) => assert_eq!(results, [AppendResult::Appended]),
            Err(error) => break error,
        }
        acknowledged += 1;
        assert!(acknowledged < 1_000, "40 pages hold more than expected");
    };
    assert!(matches!(error, StoreError::Unavailable(_)));
    assert!(error.to_string().contains("no room"), "{error}");
    let kept = store.read(plan_id(1), Sequence(1)).await.unwrap();
    assert_eq!(kept.len() as u64, acknowledged, "everything acknowledged, nothing else");
    // With room again the same store goes on.
    drop(store);
    let store = SqliteStore::open(folder.path()).unwrap();
    let epoch = claim(&store, 1).await;
    let next = record(plan_id(1), epoch, acknowledged + 1, vec![ended()]);
    assert_eq!(store.append(vec![next]).await.unwrap(), [AppendResult::Appended]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(DATABASE_FILE),
        "not a database, but long enough to be one".repeat(100),
    )
    .unwrap();
    let Err(error) = SqliteStore::open(folder.path()) else { panic!("it opened") };
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    let Err(missing) = SqliteStore::open(&folder.path().join("nowhere")) else {
        panic!("it opened")
    };
    assert!(matches!(missing, StoreError::Unavailable(_)), "{missing}");
}

#[tokio::test]
async fn long_journals_are_read_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    store.put(stored(1)).await.unwrap();
    let epoch = claim(&store, 1).await;
    let count = 2_500;
    for first in 1..=count {
        store.append(vec![record(plan_id(1), epoch, first, vec![started()])]).await.unwrap();
    }
    let (mut from, mut read, mut pages) = (Sequence(1), 0, 0);
    loop {
        let page = store.read(plan_id(1), from).await.unwrap();
        let Some(last) = page.last() else { break };
        from = last.next();
        read += page.len() as u64;
        pages += 1;
    }
    assert_eq!((read, pages), (count, 3));
}
