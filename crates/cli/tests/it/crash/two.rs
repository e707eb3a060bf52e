//! Two workers on one server, each with a data folder of its own, as on two machines: whichever dies
//! or falls silent, the other goes on with its plans within fifteen seconds, and each plan ends once.

use std::time::{Duration, Instant, SystemTime};

use l05_store::test_support::PrivatePostgres;

use super::chance::Chance;
use super::{PLANS, World};
use crate::sandbox::{Running, wait_for};

/// Spec 06, 6.6.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);

struct Pair {
    world: World,
    folders: [tempfile::TempDir; 2],
    workers: [Option<Running>; 2],
    _server: PrivatePostgres,
}

impl Pair {
    fn new() -> Pair {
        let server = PrivatePostgres::start().unwrap();
        let mut world = World::new(Some(server.url()));
        world.keep_busy(PLANS);
        // The same key for all: a plan that one signed the other has to open.
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            let key = world.sandbox.data().join("master.key");
            std::fs::copy(key, folder.path().join("master.key")).unwrap();
        }
        Pair { world, folders, workers: [None, None], _server: server }
    }

    fn start(&mut self, which: usize) {
        self.workers[which] = Some(self.world.worker_in(self.folders[which].path()));
    }

    fn kill(&mut self, which: usize) {
        self.workers[which].take().unwrap().kill();
    }

    /// Waits until every plan has ended or gone on since `moment`; how long that took.
    fn until_all_go_on(&self, moment: SystemTime) -> Duration {
        let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let moment = l05_core::time::Timestamp(since.as_millis() as i64).to_string();
        let page = self.world.json(&["history", "--status", "EXECUTING", "--limit", "1000"]);
        let plans = page["plans"].as_array().unwrap().iter();
        let mut waiting: Vec<&str> = plans.map(|p| p["plan_id"].as_str().unwrap()).collect();
        let begin = Instant::now();
        while !waiting.is_empty() {
            waiting.retain(|plan| {
                let events = self.world.json(&["events", plan]);
                let last = events["events"].as_array().unwrap().last().unwrap().clone();
                let over = matches!(last["type"].as_str().unwrap(), "plan.completed");
                !over && last["time"].as_str().unwrap() <= moment.as_str()
            });
            assert!(begin.elapsed() < TAKEOVER_MAX, "nobody has taken over {waiting:?}");
        }
        begin.elapsed()
    }
}

#[test]
fn either_worker_dies_and_the_other_takes_over() {
    let mut pair = Pair::new();
    let mut chance = Chance::new(0xbeef);
    let mut slowest = Duration::ZERO;
    pair.start(0);
    pair.start(1);
    for _ in 0..3 {
        pair.world.keep_busy(PLANS);
        chance.moment(400);
        let dies = chance.below(2) as usize;
        pair.kill(dies);
        slowest = slowest.max(pair.until_all_go_on(SystemTime::now()));
        pair.start(dies);
    }
    pair.world.wait_until_all_ended();
    pair.world.check();
    crate::crash::tell(&format!("the slowest takeover took {slowest:?}"));
}

#[test]
fn a_worker_that_falls_silent_has_stopped_when_another_takes_over() {
    let mut pair = Pair::new();
    pair.start(0);
    wait_for("work", || (pair.world.effects() > 0).then_some(()));
    let silent = pair.workers[0].as_ref().unwrap().id();
    signal(silent, "-STOP");
    pair.start(1);
    pair.until_all_go_on(SystemTime::now());
    // It wakes up as the owner that it is no longer.
    signal(silent, "-CONT");
    pair.world.wait_until_all_ended();
    pair.world.check();
    let log = std::fs::read_to_string(pair.world.log()).unwrap();
    assert!(log.contains("lease"), "it says why it stopped: {log}");
}

fn signal(process: u32, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(status.unwrap().success());
}
