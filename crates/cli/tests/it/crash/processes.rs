//! SIGKILL of the only worker, two hundred times.

use l05_store::test_support::PrivatePostgres;

use super::chance::Chance;
use super::{PLANS, World};
use crate::sandbox::wait_for;

const KILLS: usize = 200;

fn survives(mut world: World, seed: u64) {
    let mut chance = Chance::new(seed);
    for kill in 0..KILLS {
        if kill % 4 == 0 {
            world.keep_busy(PLANS);
        }
        let before = world.effects();
        let mut worker = world.worker();
        // Three times in four the moment lies after the takeover, else anywhere from the start on.
        if chance.below(4) > 0 {
            wait_for("the takeover", || (world.effects() > before).then_some(()));
        }
        chance.moment(150);
        worker.kill();
    }
    world.finish();
    let repeated = world.check();
    assert!(repeated > 0, "no kill met an effect: the moments are badly chosen");
    crate::crash::tell(&format!(
        "{} plans, {KILLS} kills, {repeated} effects repeated",
        world.plans.len()
    ));
}

#[test]
fn two_hundred_kills_on_sqlite() {
    survives(World::new(None), 0x5eed);
}

#[test]
fn two_hundred_kills_on_postgres() {
    let server = PrivatePostgres::start().unwrap();
    survives(World::new(Some(server.url())), 0xfeed);
}
