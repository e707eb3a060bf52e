//! What only a server can do: go away and come back, forget a worker, be of another version.

use std::time::Duration;

use l05_core::id::Sequence;
use l05_engine::port::{AppendResult, ClaimResult, Journal, LeaseRenewal, PlanCatalog, StoreError};
use l05_store::PostgresStore;
use l05_store::test_support::PrivatePostgres;
use sqlx::postgres::PgPoolOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::conformance::{plan_id, record, started, stored};

/// Each store in a folder of its own, as on a machine of its own.
async fn connect(server: &PrivatePostgres) -> PostgresStore {
    PostgresStore::connect(&server.url(), tempfile::tempdir().unwrap().path()).await.unwrap()
}

async fn sql(url: &str, statement: &'static str) {
    let pool = PgPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    pool.close().await;
}

async fn claim(store: &PostgresStore, n: u128) -> l05_core::id::Epoch {
    match store.claim(plan_id(n), store.worker()).await.unwrap() {
        ClaimResult::Granted { epoch, .. } => epoch,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_servers_death_and_the_store_connects_again() {
    let mut server = PrivatePostgres::start().unwrap();
    let store = connect(&server).await;
    store.put(stored(1)).await.unwrap();
    let epoch = claim(&store, 1).await;
    store.append(vec![record(plan_id(1), epoch, 1, vec![started()])]).await.unwrap();
    server.kill().unwrap();
    let away = store.append(vec![record(plan_id(1), epoch, 2, vec![started()])]).await;
    assert!(matches!(away, Err(StoreError::Unavailable(_))), "{away:?}");
    server.launch().unwrap();
    // The first connections of the pool are dead; each try replaces one.
    for _ in 0..20 {
        if store.read(plan_id(1), Sequence(1)).await.is_ok() {
            break;
        }
    }
    assert_eq!(store.read(plan_id(1), Sequence(1)).await.unwrap().len(), 1);
    let result = store.append(vec![record(plan_id(1), epoch, 2, vec![started()])]).await.unwrap();
    assert_eq!(result, [AppendResult::Appended]);
}

#[tokio::test]
async fn a_worker_without_a_lease_owns_nothing_and_claims_nothing() {
    let server = PrivatePostgres::start_unsafe().unwrap();
    let first = connect(&server).await;
    let second = connect(&server).await;
    for n in 1..=2 {
        first.put(stored(n)).await.unwrap();
    }
    let epoch = claim(&first, 1).await;
    first.append(vec![record(plan_id(1), epoch, 1, vec![started()])]).await.unwrap();
    assert_eq!(second.claim(plan_id(1), second.worker()).await.unwrap(), ClaimResult::Held);
    // Ten seconds pass for the server.
    let expire = "UPDATE l05.worker SET expires_at = expires_at - interval '11 s'";
    sql(&server.url(), expire).await;
    assert!(!second.is_owned(plan_id(1)).await.unwrap());
    assert_eq!(second.unowned(5).await.unwrap(), [plan_id(1)]);
    let refused = first.claim(plan_id(2), first.worker()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(second.renew(second.worker()).await.unwrap(), LeaseRenewal::Lapsed);
    assert_eq!(second.renew(second.worker()).await.unwrap(), LeaseRenewal::Renewed);
    assert!(claim(&second, 1).await > epoch);
    // It comes back: what it lost stays lost, and it may claim again.
    assert_eq!(first.renew(first.worker()).await.unwrap(), LeaseRenewal::Lapsed);
    assert_eq!(first.claim(plan_id(1), first.worker()).await.unwrap(), ClaimResult::Held);
    claim(&first, 2).await;
}

#[tokio::test]
async fn who_resigns_gives_the_lease_up() {
    let server = PrivatePostgres::start_unsafe().unwrap();
    let first = connect(&server).await;
    let second = connect(&server).await;
    first.put(stored(1)).await.unwrap();
    claim(&first, 1).await;
    first.resign(first.worker()).await.unwrap();
    claim(&second, 1).await;
}

#[tokio::test]
async fn a_neighbour_that_was_killed_owns_nothing_any_more() {
    let server = PrivatePostgres::start_unsafe().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let connect = || async { PostgresStore::connect(&server.url(), folder.path()).await.unwrap() };
    let (first, second) = (connect().await, connect().await);
    first.put(stored(1)).await.unwrap();
    let epoch = claim(&first, 1).await;
    first.append(vec![record(plan_id(1), epoch, 1, vec![started()])]).await.unwrap();
    assert!(second.unowned(5).await.unwrap().is_empty(), "it lives");
    // What a killed process leaves: its file, locked by nobody.
    let file = folder.path().join(format!("workers/{}.lock", first.worker().0));
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "").unwrap();
    assert_eq!(second.unowned(5).await.unwrap(), [plan_id(1)]);
    assert!(claim(&second, 1).await > epoch);
    assert!(!file.exists());
}

/// A network that falls silent: after `answers` more answers of the server, nothing passes, and
/// nobody is told.
async fn silent_after(server: &PrivatePostgres) -> (String, tokio::sync::watch::Sender<usize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = server.url();
    let to = url.split_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let (left, budget) = tokio::sync::watch::channel(usize::MAX);
    let spend = left.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(&to).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let (spend, mut budget) = (spend.clone(), budget.clone());
            tokio::spawn(async move {
                let mut answer = vec![0; 1 << 16];
                loop {
                    let n = from_server.read(&mut answer).await.unwrap_or(0);
                    budget.wait_for(|left| *left > 0).await.unwrap();
                    spend.send_modify(|left| *left -= 1);
                    if n == 0 || to_client.write_all(&answer[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (format!("postgres://postgres@127.0.0.1:{port}/postgres"), left)
}

/// What is frozen, or cut off, in the middle of an append holds no plan back from who takes over.
#[tokio::test]
async fn a_worker_that_is_frozen_holds_no_plan() {
    let server = PrivatePostgres::start_unsafe().unwrap();
    let other = connect(&server).await;
    for answered in 0..8 {
        let (url, answers) = silent_after(&server).await;
        let folder = tempfile::tempdir().unwrap();
        let frozen = PostgresStore::connect(&url, folder.path()).await.unwrap();
        let n = 1 + answered as u128;
        frozen.put(stored(n)).await.unwrap();
        let epoch = claim(&frozen, n).await;
        frozen.append(vec![record(plan_id(n), epoch, 1, vec![started()])]).await.unwrap();
        answers.send_replace(answered);
        let append = frozen.append(vec![record(plan_id(n), epoch, 2, vec![started()])]);
        tokio::pin!(append);
        let stuck = tokio::time::timeout(Duration::from_millis(200), &mut append).await;
        let expire = "UPDATE l05.worker SET expires_at = expires_at - interval '11 s'";
        sql(&server.url(), expire).await;
        other.renew(other.worker()).await.unwrap();
        let taken = tokio::time::timeout(Duration::from_secs(3), claim(&other, n)).await;
        assert!(taken.is_ok_and(|by| by > epoch), "after {answered} answers ({stuck:?})");
    }
}

#[tokio::test]
async fn a_damaged_record_is_named() {
    let server = PrivatePostgres::start_unsafe().unwrap();
    let store = connect(&server).await;
    store.put(stored(1)).await.unwrap();
    let epoch = claim(&store, 1).await;
    for first in [1, 2] {
        let batch = vec![record(plan_id(1), epoch, first, vec![started()])];
        store.append(batch).await.unwrap();
    }
    sql(&server.url(), "UPDATE l05.journal SET at = at + 1 WHERE first = 2").await;
    let error = store.read(plan_id(1), Sequence(1)).await.unwrap_err();
    let StoreError::Corrupt(text) = error else { panic!("{error:?}") };
    assert!(text.contains("events 2 to 2") && text.contains("checksum"), "{text}");
}

/// The refusal to connect, in words.
async fn refusal(url: &str) -> String {
    match tokio::time::timeout(
        Duration::from_secs(20),
        PostgresStore::connect(url, std::env::temp_dir().as_path()),
    )
    .await
    .unwrap()
    {
        Ok(_) => panic!("it connects"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_newer_database_and_a_wrong_url_are_refused_in_words() {
    let server = PrivatePostgres::start_unsafe().unwrap();
    drop(connect(&server).await);
    sql(
        &server.url(),
        "INSERT INTO l05._sqlx_migrations
         VALUES (99, 'later', now(), true, decode('00', 'hex'), 1)",
    )
    .await;
    let newer = refusal(&server.url()).await;
    assert!(newer.contains("newer version (schema 99"), "{newer}");
    let secret = refusal("postgres://me:secret@[broken").await;
    assert!(secret.contains("no PostgreSQL URL") && !secret.contains("secret"), "{secret}");
    let nobody = refusal("postgres://me:secret@127.0.0.1:1/x").await;
    assert!(nobody.contains("127.0.0.1:1") && !nobody.contains("secret"), "{nobody}");
}

#[tokio::test]
async fn a_server_that_acknowledges_early_is_overruled() {
    let folder = tempfile::tempdir().unwrap();
    let server = PrivatePostgres::start_in(folder, &["synchronous_commit=off"]).unwrap();
    let store = connect(&server).await;
    assert_eq!(store.setting("synchronous_commit").await.unwrap(), "on");
}
