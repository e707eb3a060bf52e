//! Whether small plans mind a large one beside them: the time until a hundred of them have ended,
//! alone and while a plan of 100,000 tasks runs in the same process.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use l05_core::Error;
use l05_core::id::PlanId;
use l05_core::plan::PlanDocument;
use l05_engine::PlanningService;
use l05_engine::rules::IN_FLIGHT_MAX_DEFAULT;

use crate::measure::{BenchRun, SAMPLES_MIN};
use crate::runs::{one, place, runtime, service};
use crate::workload::{CALLS, brief, fan, layered};

/// The number of small plans there are.
const SMALL: usize = 100;
/// The tasks of the large one.
const LARGE: usize = 100_000;

/// Only when asked for by name: making, signing and loading 100,000 tasks ten times takes minutes.
pub(crate) fn run(bench: &BenchRun) {
    if !bench.names("fair") {
        return;
    }
    let runtime = runtime();
    for store in ["memory", "sqlite", "postgres"] {
        for tasks in ["noop", "brief"] {
            let name = format!("fair/{store}/{tasks}");
            if !bench.wants(&name) {
                continue;
            }
            let of_kind = if tasks == "brief" { brief } else { std::convert::identity };
            let (small, large) = (of_kind(layered(4, 5, 42)), of_kind(fan(LARGE - 2, 10_000)));
            let Some(place) = place(bench, store) else { continue };
            let measured = runtime.block_on(async {
                let service = service(&place, IN_FLIGHT_MAX_DEFAULT).await?;
                let (mut alone, mut beside) = (Vec::new(), Vec::new());
                // Once unmeasured: the first large plan touches memory that all others find.
                let id = service.accept(large.clone(), false).await?.plan.id();
                one(&service, id).await?;
                for _ in 0..SAMPLES_MIN {
                    let made = make(&service, &small).await?;
                    alone.push(time(&service, &made).await?);
                }
                // Afterwards: what large plans leave behind is dropped beside what comes next.
                for _ in 0..SAMPLES_MIN {
                    let made = make(&service, &small).await?;
                    let id = service.accept(large.clone(), false).await?.plan.id();
                    under_way(&service, id).await?;
                    beside.push(time(&service, &made).await?);
                    let ended = tokio::time::timeout(Duration::ZERO, service.wait(id)).await;
                    assert!(ended.is_err(), "the large plan ended too early to matter");
                    service.wait(id).await?;
                }
                service.shutdown().await;
                Ok::<_, Error>((alone, beside))
            });
            let (alone, beside) = measured.expect("the bench plans run");
            bench.report(&format!("{name}/alone"), "ms", alone);
            bench.report(&format!("{name}/beside_100000"), "ms", beside);
        }
    }
}

/// All small plans, before the large one is there: what is compared is how they run.
async fn make(service: &PlanningService, small: &PlanDocument) -> Result<Vec<PlanId>, Error> {
    let mut ids = Vec::new();
    for _ in 0..SMALL {
        ids.push(service.accept(small.clone(), false).await?.plan.id());
    }
    Ok(ids)
}

/// Executes the large plan and returns when it is under way: before that, a hundred thousand tasks come
/// ready in one step.
async fn under_way(service: &PlanningService, id: PlanId) -> Result<(), Error> {
    let before = CALLS.load(Ordering::Relaxed);
    service.execute(id).await?;
    while CALLS.load(Ordering::Relaxed) < before + SMALL {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The time until all of them have ended, in milliseconds.
async fn time(service: &PlanningService, plans: &[PlanId]) -> Result<f64, Error> {
    let start = Instant::now();
    try_join_all(plans.iter().map(|id| one(service, *id))).await?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
