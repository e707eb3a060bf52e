//! A disk that fills up under load.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{PLANS, World};
use crate::sandbox::wait_for;

/// A small file system of its own. Mounting takes root, or sudo without a question.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, megabytes: usize) -> SmallDisk {
        std::fs::create_dir_all(folder).unwrap();
        let user = std::fs::metadata(folder).unwrap().uid();
        let options = format!("size={megabytes}m,mode=0755,uid={user}");
        let mut mount = as_root("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).status();
        assert!(mounted.unwrap().success(), "a tmpfs cannot be mounted: run this as root");
        SmallDisk(folder.to_owned())
    }

    /// Takes all room there is.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        let zeros = std::io::copy(&mut std::io::repeat(0), &mut file);
        assert!(zeros.is_err(), "the disk is full now");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = as_root("umount").arg("-l").arg(&self.0).status();
    }
}

fn as_root(program: &str) -> Command {
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

#[test]
fn a_full_disk_pauses_plans_until_there_is_room() {
    let mut world = World::new(None);
    let disk = SmallDisk::mount(&world.sandbox.data(), 16);
    world.keep_busy(PLANS);
    let worker = world.worker();
    for round in 1..=3 {
        let before = world.effects();
        wait_for("work", || (world.effects() > before).then_some(()));
        let filler = disk.fill();
        wait_for("the pause", || {
            let log = std::fs::read_to_string(world.log()).unwrap();
            (log.matches("is paused").count() >= round).then_some(())
        });
        std::fs::remove_file(filler).unwrap();
        world.keep_busy(PLANS);
    }
    world.wait_until_all_ended();
    drop(worker);
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("E5801"), "{log}");
    world.check();
}
