//! Runs of no-op plans: tasks a second from `execute` to the durable end.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use l05_core::Error;
use l05_core::id::PlanId;
use l05_core::plan::PlanDocument;
use l05_core::validate::Limits;
use l05_engine::PlanningService;
use l05_engine::memory::MemoryStore;
use l05_store::SqliteStore;

use crate::measure::{Bench, SAMPLES_MIN};
use crate::workload::{Noop, chain, fan, layered};

struct Workload {
    name: &'static str,
    plans: usize,
    document: PlanDocument,
}

pub(crate) fn run(bench: &Bench) {
    let workloads = [
        Workload { name: "chain100", plans: 1, document: chain(100) },
        Workload { name: "fan200", plans: 1, document: fan(200, 1_000) },
        Workload { name: "fan200_p10", plans: 1, document: fan(200, 10) },
        Workload { name: "layered200", plans: 1, document: layered(10, 20, 42) },
        Workload { name: "many", plans: 1_000, document: layered(4, 5, 42) },
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for workload in &workloads {
        for store in ["memory", "sqlite"] {
            let name = format!("run/{store}/{}", workload.name);
            if bench.wants(&name) {
                let samples = runtime.block_on(samples(bench, store, workload));
                bench.report(&name, "tasks/s", samples.expect("the bench plans run"));
            }
        }
    }
}

async fn samples(bench: &Bench, store: &str, workload: &Workload) -> Result<Vec<f64>, Error> {
    let folder = bench.dir().join(format!("{store}-{}", workload.name));
    let _ = std::fs::remove_dir_all(&folder);
    let service = service(store, &folder)?;
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
    let _ = std::fs::remove_dir_all(&folder);
    Ok(samples)
}

async fn one(service: &PlanningService, id: PlanId) -> Result<(), Error> {
    service.execute(id).await?;
    service.wait(id).await?;
    Ok(())
}

fn service(store: &str, folder: &Path) -> Result<PlanningService, Error> {
    let builder = PlanningService::builder().executor(Arc::new(Noop)).in_flight_max(100_000);
    let limits = Limits { tasks_max: 100_000, complexity_max: 1e9, ..Limits::default() };
    let builder = builder.limits(limits);
    if store == "memory" {
        return builder.store(Arc::new(MemoryStore::new())).build();
    }
    std::fs::create_dir_all(folder).expect("the bench folder is writable");
    let store = Arc::new(SqliteStore::open(folder)?);
    builder.worker(store.worker()).store(store).build()
}
