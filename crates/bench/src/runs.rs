//! Runs of no-op plans: tasks a second from `execute` to the durable end.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use l05_core::Error;
use l05_core::id::PlanId;
use l05_core::plan::PlanDocument;
use l05_core::validate::PlanLimits;
use l05_engine::PlanningService;
use l05_engine::memory::MemoryStore;
use l05_engine::rules::ServiceRules;
use l05_store::test_support::PrivatePostgres;
use l05_store::{PostgresStore, SqliteStore};

use crate::measure::{BenchRun, SAMPLES_MIN};
use crate::workload::{NoopExecutor, chain, fan, layered};

struct RunWorkload {
    name: &'static str,
    plans: usize,
    document: PlanDocument,
}

pub(crate) fn run(bench: &BenchRun) {
    let workloads = [
        RunWorkload { name: "chain100", plans: 1, document: chain(100) },
        RunWorkload { name: "fan200", plans: 1, document: fan(200, 1_000) },
        RunWorkload { name: "fan200_p10", plans: 1, document: fan(200, 10) },
        RunWorkload { name: "layered200", plans: 1, document: layered(10, 20, 42) },
        RunWorkload { name: "many", plans: 1_000, document: layered(4, 5, 42) },
    ];
    let runtime = runtime();
    for workload in &workloads {
        for store in ["memory", "sqlite", "postgres"] {
            let name = format!("run/{store}/{}", workload.name);
            if !bench.wants(&name) {
                continue;
            }
            let Some(place) = place(bench, store) else { continue };
            let samples = runtime.block_on(samples(&place, workload));
            bench.report(&name, "tasks/s", samples.expect("the bench plans run"));
        }
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime")
}

/// The store that holds plans and journals.
pub(crate) enum StorePlace {
    Memory,
    Sqlite(tempfile::TempDir),
    /// A server of its own, with the settings that Debian ships; its folder goes with it.
    Postgres(PrivatePostgres, tempfile::TempDir),
}

/// A store by name; none where PostgreSQL is not installed, which is said.
pub(crate) fn place(bench: &BenchRun, store: &str) -> Option<StorePlace> {
    let folder = || tempfile::tempdir_in(bench.dir()).expect("the bench folder is writable");
    match store {
        "memory" => Some(StorePlace::Memory),
        "sqlite" => Some(StorePlace::Sqlite(folder())),
        _ => match PrivatePostgres::start_in(folder(), &[]) {
            Ok(server) => Some(StorePlace::Postgres(server, folder())),
            Err(error) => {
                let mut stderr = std::io::stderr().lock();
                let _ = writeln!(stderr, "the lines of PostgreSQL are left out: {error}");
                None
            }
        },
    }
}

async fn samples(place: &StorePlace, workload: &RunWorkload) -> Result<Vec<f64>, Error> {
    let service = service(place, 100_000).await?;
    let mut samples = Vec::new();
    // The first run warms up. Short runs are repeated within a sample: a few milliseconds alone
    // would measure the scheduler.
    let repeats = if workload.plans == 1 { 10 } else { 1 };
    for _ in 0..=SAMPLES_MIN {
        let mut seconds = 0.0;
        for _ in 0..repeats {
            let mut ids = Vec::new();
            for _ in 0..workload.plans {
                ids.push(service.accept(workload.document.clone(), false).await?.plan.id());
            }
            let start = Instant::now();
            try_join_all(ids.iter().map(|id| one(&service, *id))).await?;
            seconds += start.elapsed().as_secs_f64();
        }
        let tasks = workload.document.tasks.len() * workload.plans * repeats;
        samples.push(tasks as f64 / seconds);
    }
    samples.remove(0);
    service.shutdown().await;
    Ok(samples)
}

pub(crate) async fn one(service: &PlanningService, id: PlanId) -> Result<(), Error> {
    service.execute(id).await?;
    service.wait(id).await?;
    Ok(())
}

pub(crate) async fn service(
    place: &StorePlace,
    in_flight_max: u32,
) -> Result<PlanningService, Error> {
    let limits = PlanLimits { tasks_max: 1_000_000, complexity_max: 1e9, ..PlanLimits::default() };
    let rules = ServiceRules { in_flight_max, limits, ..ServiceRules::default() };
    let builder = PlanningService::builder().executor(Arc::new(NoopExecutor)).rules(rules);
    match place {
        StorePlace::Memory => builder.store(Arc::new(MemoryStore::new())).build(),
        StorePlace::Sqlite(folder) => {
            let store = Arc::new(SqliteStore::open(folder.path())?);
            builder.worker(store.worker()).store(store).build()
        }
        StorePlace::Postgres(server, folder) => {
            let store = Arc::new(PostgresStore::connect(&server.url(), folder.path()).await?);
            builder.worker(store.worker()).store(store).build()
        }
    }
}
