//! The plan cache over a real Redis: killed, slowed, restarted, filled with what nobody signed.
//! Nothing fails; modes switch and come back by themselves, and the counters say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use l05_core::goal::Goal;
use l05_core::id::{AgentDid, GoalId};
use l05_core::plan::CacheHit;
use l05_core::template::Template;
use l05_engine::PlanningService;
use l05_engine::cache::{CacheInvalidation, CacheMode, CacheReport, CacheRules, LatencyRules};
use l05_engine::keys::MasterKey;
use l05_engine::port::{BoxFuture, CacheError, CacheLevel, Choice};
use l05_engine::rules::ServiceRules;
use l05_engine::service::PlannedGoal;
use l05_store::RedisCache;
use l05_store::test_support::PrivateRedis;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WINDOW: Duration = Duration::from_millis(200);

/// A template whose tasks need nothing but a model or an agent would do: none is asked here, so it
/// stands for any plan that is made.
fn template() -> Template {
    let file = json!({
        "id": "wait-a-bit", "version": "1.0.0", "description": "Waits", "tags": ["idle"],
        "match": { "patterns": ["^wait (?P<name>\\w+)$"] },
        "parameters": [{ "name": "name", "required": true, "description": "for whom" }],
        "examples": { "match": [{ "goal": "wait here" }], "no_match": ["go"] },
        "tasks": [{ "id": "a", "name": "Wait for {{ name }}", "tool": "time.wait", "inputs": { "seconds": 0 } }],
    });
    Template::read(&file).unwrap_or_else(|findings| panic!("{findings:?}"))
}

struct Waits;

impl l05_engine::port::Executor for Waits {
    fn tools(&self) -> Vec<l05_core::catalog::ToolSpec> {
        vec![l05_core::catalog::ToolSpec::bare("time.wait")]
    }

    fn execute(
        &self,
        _: l05_engine::port::ToolCall,
    ) -> BoxFuture<'static, Result<l05_engine::port::ExecutorOutput, l05_engine::port::Failure>>
    {
        Box::pin(async { Ok(json!({}).into()) })
    }
}

/// A process of its own: its memory is its own, the key is the same for all. A busy machine is not
/// to look like a slow server.
fn service(level: Arc<dyn CacheLevel>, l1_plans: u64) -> PlanningService {
    service_that_finds_slow(level, l1_plans, Duration::from_secs(5))
}

fn service_that_finds_slow(
    level: Arc<dyn CacheLevel>,
    l1_plans: u64,
    threshold: Duration,
) -> PlanningService {
    let latency = LatencyRules { threshold, window: WINDOW, ..LatencyRules::default() };
    PlanningService::builder()
        .executor(Arc::new(Waits))
        .templates([template()])
        .master_key(MasterKey::new([7; 32]))
        .rules(ServiceRules {
            cache: CacheRules { l1_plans, l2: Some(level), latency, ..CacheRules::default() },
            ..ServiceRules::default()
        })
        .build()
        .unwrap()
}

async fn connected(url: &str) -> Arc<RedisCache> {
    let level = RedisCache::connect(url).unwrap();
    level.answers(Duration::from_secs(10)).await.unwrap();
    Arc::new(level)
}

async fn plan(service: &PlanningService, text: &str) -> PlannedGoal {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let id = GoalId::new(format!("goal-{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
    service.create_plan(Goal::new(id, AgentDid::local(), text)).await.unwrap()
}

fn hit(planned: &PlannedGoal) -> Option<CacheHit> {
    planned.plan.document().cached.map(|cached| cached.hit)
}

/// Waits until the cache's report is as wanted.
async fn until(
    service: &PlanningService,
    what: &str,
    fits: impl Fn(&CacheReport) -> bool,
) -> CacheReport {
    let begin = std::time::Instant::now();
    loop {
        let report = service.stats().cache;
        if fits(&report) {
            return report;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}: {report:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_one_process_planned_another_copies() {
    let server = PrivateRedis::start().unwrap();
    let first = service(connected(&server.url()).await, 100);
    let second = service(connected(&server.url()).await, 100);
    let made = plan(&first, "wait alice").await;
    let again = plan(&first, "wait alice").await;
    let shared = plan(&second, "wait  alice").await;
    let then = plan(&second, "wait alice").await;
    assert_eq!((hit(&made), hit(&again)), (None, Some(CacheHit::L1)));
    assert_eq!((hit(&shared), hit(&then)), (Some(CacheHit::L2), Some(CacheHit::L1)));
    let ids: std::collections::HashSet<_> =
        [&made, &again, &shared, &then].iter().map(|p| p.plan.id()).collect();
    assert_eq!(ids.len(), 4, "never the same plan twice");
    assert_eq!(shared.plan.document().goal, "wait  alice", "the goal is the asker's");
    for planned in [&made, &again] {
        // Each copy can be opened by its own signature, and runs.
        first.load(planned.plan.id()).await.unwrap();
        first.run(planned.plan.id()).await.unwrap();
    }
    assert_eq!(second.stats().cache.l2_hits, 1);

    // By hand: a tag that it has not, then its template.
    let other = |tag: &str| CacheInvalidation::Tag(tag.to_owned());
    assert_eq!(first.invalidate(&other("busy")).await.unwrap(), 0);
    assert_eq!(
        first.invalidate(&CacheInvalidation::Template("wait-a-bit".to_owned())).await.unwrap(),
        1
    );
    assert_eq!(hit(&plan(&first, "wait alice").await), None);
    plan(&first, "wait bob").await;
    let goal = CacheInvalidation::Goal("wait bob".to_owned());
    assert_eq!(first.invalidate(&goal).await.unwrap(), 1);
    assert_eq!(hit(&plan(&first, "wait alice").await), Some(CacheHit::L1));
    assert_eq!(first.invalidate(&other("idle")).await.unwrap(), 1);
    assert_eq!(first.invalidate(&CacheInvalidation::All).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_dies_is_missed_and_found_again() {
    let mut server = PrivateRedis::start().unwrap();
    let service = service(connected(&server.url()).await, 100);
    plan(&service, "wait alice").await;
    assert_eq!(service.stats().cache.mode, CacheMode::Full);
    server.kill().unwrap();
    assert_eq!(hit(&plan(&service, "wait alice").await), Some(CacheHit::L1));
    plan(&service, "wait bob").await;
    until(&service, "the death is seen", |report| report.mode == CacheMode::L1Only).await;
    plan(&service, "wait carol").await;
    server.launch().unwrap();
    let report =
        until(&service, "the return is seen", |report| report.mode == CacheMode::Full).await;
    assert!(report.mode_changes >= 2 && report.l2_failures >= 1, "{report:?}");
    // It came back empty: what is planned now is there for others.
    plan(&service, "wait dave").await;
    let other = self::service(connected(&server.url()).await, 100);
    assert_eq!(hit(&plan(&other, "wait dave").await), Some(CacheHit::L2));
}

#[tokio::test]
async fn without_a_level_of_its_own_a_dead_server_means_no_cache_and_a_warning() {
    let mut server = PrivateRedis::start().unwrap();
    let service = service(connected(&server.url()).await, 0);
    plan(&service, "wait alice").await;
    assert_eq!(hit(&plan(&service, "wait alice").await), Some(CacheHit::L2));
    server.kill().unwrap();
    until(&service, "the death is seen", |report| report.mode == CacheMode::None).await;
    let planned = plan(&service, "wait alice").await;
    assert_eq!(hit(&planned), None);
    assert!(
        planned.warnings.iter().any(|w| w.code.to_string() == "E5008"),
        "{:?}",
        planned.warnings
    );
    assert_eq!(service.stats().cache.uncached, 1);
    server.launch().unwrap();
    until(&service, "the return is seen", |report| report.mode == CacheMode::Full).await;
}

/// A way to the server on which every answer takes as long as `delay` says.
async fn slowed(server: &PrivateRedis) -> (String, Arc<AtomicU64>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (port, delay) = (server.port(), Arc::new(AtomicU64::new(0)));
    let told = delay.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let told = told.clone();
            tokio::spawn(async move {
                let mut answer = vec![0; 1 << 16];
                while let Ok(n @ 1..) = from_server.read(&mut answer).await {
                    tokio::time::sleep(Duration::from_millis(told.load(Ordering::Relaxed))).await;
                    if to_client.write_all(&answer[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, delay)
}

#[tokio::test]
async fn a_slow_server_is_bypassed_until_it_is_quick_again() {
    let server = PrivateRedis::start().unwrap();
    let (url, delay) = slowed(&server).await;
    let threshold = LatencyRules::default().threshold;
    let service = service_that_finds_slow(connected(&url).await, 100, threshold);
    plan(&service, "wait alice").await;
    delay.store(300, Ordering::Relaxed);
    until(&service, "its slowness is seen", |report| report.mode == CacheMode::L2Bypassed).await;
    let begin = std::time::Instant::now();
    assert_eq!(hit(&plan(&service, "wait bob").await), None);
    assert!(begin.elapsed() < Duration::from_millis(250), "nobody waits for it: {begin:?}");
    assert_eq!(hit(&plan(&service, "wait bob").await), Some(CacheHit::L1));
    delay.store(0, Ordering::Relaxed);
    until(&service, "its quickness is seen", |report| report.mode == CacheMode::Full).await;
}

#[tokio::test]
async fn what_nobody_here_signed_is_dropped_and_planned_afresh() {
    let server = PrivateRedis::start().unwrap();
    let level = connected(&server.url()).await;
    let kept = Arc::new(Kept { level: level.clone(), key: std::sync::Mutex::default() });
    let writer = service(kept.clone(), 100);
    plan(&writer, "wait alice").await;
    let alice = kept.key.lock().unwrap().clone();
    plan(&writer, "wait bob").await;
    let bob = kept.key.lock().unwrap().clone();
    let genuine = level.get(&alice).await.unwrap().unwrap();
    let mut flipped = genuine.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let others = level.get(&bob).await.unwrap().unwrap();
    let (mut forged, mut corrupt) = (0, 0);
    for (bytes, is_forged) in [
        (flipped, true),
        // A genuine entry under another's key.
        (others, true),
        (genuine[..40].to_vec(), true),
        (b"garbage".to_vec(), false),
        (vec![0; 100_000], true),
        // Nothing of what is too large for an entry is read but its beginning.
        (vec![b'x'; 300 << 20], true),
    ] {
        level.put(&alice, bytes, Duration::from_secs(60)).await.unwrap();
        let read = level.get(&alice).await.unwrap().unwrap();
        assert!(read.len() <= (8 << 20) + 1, "{} bytes are read", read.len());
        let reader = service(level.clone(), 100);
        assert_eq!(hit(&plan(&reader, "wait alice").await), None);
        let report = reader.stats().cache;
        assert_eq!((report.forged, report.corrupt), (u64::from(is_forged), u64::from(!is_forged)));
        forged += report.forged;
        corrupt += report.corrupt;
        // What it planned instead is there for the next.
        let next = service(level.clone(), 100);
        assert_eq!(hit(&plan(&next, "wait alice").await), Some(CacheHit::L2));
    }
    assert_eq!((forged, corrupt), (5, 1));
}

/// Remembers the last key that was written.
struct Kept {
    level: Arc<RedisCache>,
    key: std::sync::Mutex<String>,
}

impl CacheLevel for Kept {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Vec<u8>>, CacheError>> {
        self.level.get(key)
    }

    fn put(
        &self,
        key: &str,
        value: Vec<u8>,
        keep: Duration,
    ) -> BoxFuture<'_, Result<(), CacheError>> {
        key.clone_into(&mut self.key.lock().unwrap());
        self.level.put(key, value, keep)
    }

    fn remove(&self, key: &str) -> BoxFuture<'_, Result<(), CacheError>> {
        self.level.remove(key)
    }

    fn remove_if(&self, which: Choice) -> BoxFuture<'_, Result<usize, CacheError>> {
        self.level.remove_if(which)
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), CacheError>> {
        self.level.ping()
    }
}
