//! Files that are not what they look like, and who else may read ours.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::bounded::bounded;
use crate::sandbox::{Ran, Sandbox};

/// One task; its attempts, as `show` counts them, and what was said.
fn task(sandbox: &Sandbox, tool: &str, inputs: &Value) -> (Ran, usize) {
    let plan = json!({"goal": "x", "tasks": [
        {"id": "a", "tool": tool, "inputs": inputs, "retry": {"max_retries": 3, "base_seconds": 0.01}}
    ]});
    sandbox.write("plan.json", &plan.to_string());
    let ran = sandbox.run(&["execute", "plan.json", "--output", "json"]);
    let attempts = ran.json()["tasks"][0]["attempts"].as_array().map_or(0, Vec::len);
    (ran, attempts)
}

fn make(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success());
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let sandbox = Sandbox::new();
    let at = |name: &str| sandbox.work().join(name);
    symlink("loop-b", at("loop-a")).unwrap();
    symlink("loop-a", at("loop-b")).unwrap();
    make("mkfifo", &[at("pipe").to_str().unwrap()]);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    for name in ["loop-a", "pipe", "socket", "zero"] {
        for (tool, inputs) in [
            ("fs.read", json!({"path": name})),
            ("data.read", json!({"path": name, "format": "csv"})),
            ("fs.write", json!({"path": name, "text": "x", "if_exists": "append"})),
        ] {
            let (ran, attempts) = task(&sandbox, tool, &inputs);
            assert_ne!(ran.code, 0, "{tool} {name}: {ran:?}");
            assert!(attempts <= 1, "{tool} {name} was tried {attempts} times: {ran:?}");
        }
    }
}

#[test]
fn a_key_file_that_is_a_pipe_is_refused() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.data()).unwrap();
    make("mkfifo", &["-m", "600", sandbox.data().join("master.key").to_str().unwrap()]);
    let ended = bounded(
        sandbox.command(&["run", "Create a summary of the project status"]),
        Duration::from_secs(10),
    );
    assert_ne!(ended.ran.code, 0);
    assert!(
        ended.ran.stderr.contains("E5612") && ended.ran.stderr.contains("not a regular file"),
        "{:?}",
        ended.ran
    );
}

/// The data folder inside the workspace, and its key.
fn data_inside() -> (Sandbox, String, Vec<u8>) {
    let sandbox = Sandbox::new();
    let data = sandbox.work().join(".l05").display().to_string();
    sandbox.write("good.yaml", "goal: x\ntasks:\n  - {id: a, tool: fs.list}\n");
    assert_eq!(sandbox.run(&["execute", "good.yaml", "--data-dir", &data]).code, 0);
    let key = std::fs::read(Path::new(&data).join("master.key")).unwrap();
    (sandbox, data, key)
}

#[test]
fn the_key_has_no_second_name() {
    let (sandbox, data, _) = data_inside();
    std::fs::hard_link(Path::new(&data).join("master.key"), sandbox.work().join("innocent.txt"))
        .unwrap();
    symlink(".l05/master.key", sandbox.work().join("link.txt")).unwrap();
    for name in ["innocent.txt", "link.txt", ".l05/master.key"] {
        for (tool, inputs) in [
            ("fs.read", json!({"path": name})),
            ("fs.write", json!({"path": name, "text": "x", "if_exists": "append_linked"})),
        ] {
            let plan = json!({"goal": "x", "tasks": [{"id": "a", "tool": tool, "inputs": inputs}]});
            sandbox.write("plan.json", &plan.to_string());
            let ran = sandbox.run(&["execute", "plan.json", "--data-dir", &data]);
            assert_ne!(ran.code, 0, "{tool} {name}: {ran:?}");
            assert!(format!("{ran:?}").contains("L05's own data"), "{tool} {name}: {ran:?}");
        }
    }
}

#[test]
fn a_link_that_is_exchanged_reaches_no_key() {
    let (sandbox, data, key) = data_inside();
    let (name, harmless) = (sandbox.work().join("swap"), sandbox.write("harmless.txt", "harmless"));
    let secret = Path::new(&data).join("master.key");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let fresh = sandbox.work().join("swap.new");
            while !stop.load(Ordering::Relaxed) {
                for target in [&harmless, &secret] {
                    let _ = std::fs::remove_file(&fresh);
                    let relative = target.strip_prefix(sandbox.work()).unwrap();
                    symlink(relative, &fresh).unwrap();
                    std::fs::rename(&fresh, &name).unwrap();
                }
            }
        });
        let reads: Vec<Value> = (0..200)
            .map(|i| json!({"id": format!("r{i}"), "tool": "fs.read", "allow_failure": true, "retry": {"max_retries": 0}, "inputs": {"path": "swap"}}))
            .collect();
        sandbox.write("plan.json", &json!({"goal": "x", "tasks": reads}).to_string());
        for _ in 0..3 {
            let ran =
                sandbox.run(&["execute", "plan.json", "--data-dir", &data, "--output", "json"]);
            let text = ran.stdout;
            assert!(text.contains("harmless"), "nothing was read: {text}");
            let shown = serde_json::to_string(&String::from_utf8_lossy(&key)).unwrap();
            assert!(!text.contains(shown.trim_matches('"')), "the key was read");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn append_stays_inside() {
    let sandbox = Sandbox::new();
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("file");
    std::fs::write(&file, "before\n").unwrap();
    std::fs::hard_link(&file, sandbox.work().join("inside.txt")).unwrap();
    let append = |word: &str| json!({"path": "inside.txt", "text": "after\n", "if_exists": word});
    let (ran, _) = task(&sandbox, "fs.write", &append("append"));
    assert!(format!("{ran:?}").contains("hard links"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before\n");
    let (ran, _) = task(&sandbox, "fs.write", &append("append_linked"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before\nafter\n");
}

#[test]
fn nobody_else_reads_our_files() {
    for umask in ["000", "022", "077"] {
        let sandbox = Sandbox::new();
        sandbox.write("t.csv", "a,b\n1,2\n");
        sandbox.write(
            "plan.yaml",
            "goal: x\ntasks:\n  - {id: a, tool: data.read, inputs: {path: t.csv}}\n",
        );
        let inside = sandbox.command(&[]);
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!("umask {umask}; exec \"$0\" execute plan.yaml"),
                env!("CARGO_BIN_EXE_l05"),
            ])
            .envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir(sandbox.work());
        assert!(command.output().unwrap().status.success());
        let mut folders = vec![sandbox.data()];
        while let Some(folder) = folders.pop() {
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(
                mode(&folder) & 0o077,
                0,
                "umask {umask}: {} {:o}",
                folder.display(),
                mode(&folder)
            );
            for entry in std::fs::read_dir(&folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    let mode = mode(&entry.path());
                    assert_eq!(
                        mode & 0o077,
                        0,
                        "umask {umask}: {} {mode:o}",
                        entry.path().display()
                    );
                }
            }
        }
    }
}
