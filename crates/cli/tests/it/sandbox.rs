//! A workspace and a data folder of its own for each test, and the binary to run in it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        Sandbox { folder }
    }

    /// The workspace: where commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.work().join(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_l05"));
        command
            .args(arguments)
            .current_dir(self.work())
            .env("L05_DATA_DIR", self.data())
            .env_remove("PLANNING_CONFIG_PATH")
            // What runs on the machine of whoever runs the tests is no part of them.
            .env("L05_MODEL_GATEWAY", "none")
            .stdin(Stdio::null());
        command
    }

    /// The same in a terminal of its own (`script` is a part of every Debian); keys come from a pipe.
    pub(crate) fn in_terminal(&self, arguments: &str) -> Command {
        let inside = self.command(&[]);
        let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_l05"));
        let mut command = Command::new("script");
        command
            .args(["-qefc", &line, "/dev/null"])
            .envs(inside.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env_remove("PLANNING_CONFIG_PATH")
            .current_dir(self.work())
            .stdin(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs with `--batch -`: lines in, one answer each.
    pub(crate) fn batch(&self, arguments: &[&str], lines: &str) -> Vec<Value> {
        let mut child = self
            .command(&[arguments, &["--batch", "-"]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let lines = lines.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs with `--output json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let ran = self.run(&[arguments, &["--output", "json"]].concat());
        (ran.code, ran.json())
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        self.spawn_to(arguments, Stdio::null())
    }

    /// In the background, its results to `stdout`.
    pub(crate) fn spawn_to(&self, arguments: &[&str], stdout: impl Into<Stdio>) -> Running {
        let child = self.command(arguments).stdout(stdout).stderr(Stdio::null()).spawn().unwrap();
        Running(child)
    }

    /// The newest plan's id.
    pub(crate) fn newest_plan(&self) -> Option<String> {
        let (_, history) = self.json(&["history", "--limit", "1"]);
        history["plans"][0]["plan_id"].as_str().map(str::to_owned)
    }
}

/// A child that never outlives its test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn of(child: Child) -> Running {
        Running(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL, and wait until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub(crate) fn wait(mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks until the answer is there; a limit instead of a fixed sleep.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-C"])
        .arg(folder)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
