//! SIGKILL of the database server under a worker that goes on.

use l05_store::test_support::PrivatePostgres;

use super::chance::Chance;
use super::{PLANS, World};
use crate::sandbox::wait_for;

const KILLS: usize = 8;

#[test]
fn the_server_is_killed_and_comes_back() {
    let mut server = PrivatePostgres::start().unwrap();
    let mut world = World::new(Some(server.url()));
    let mut chance = Chance::new(0xdead);
    let worker = world.worker();
    for _ in 0..KILLS {
        world.keep_busy(PLANS);
        let before = world.effects();
        wait_for("work", || (world.effects() > before).then_some(()));
        chance.moment(300);
        server.kill().unwrap();
        chance.moment(500);
        server.launch().unwrap();
    }
    world.wait_until_all_ended();
    drop(worker);
    world.check();
}
