//! Private servers, PostgreSQL and Redis: for tests and benchmarks, which start, kill and restart
//! them. Never part of the product: behind the feature `test-support`.
//!
//! The server listens on a free loopback port, keeps its data in a temporary folder, and ends with
//! whoever started it, however that dies: a shell between the two waits for the end of its input.

mod redis;

pub use redis::PrivateRedis;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts the server, ends it when the input ends, and ends itself when the server does.
const KEEPER: &str = r#""$@" & server=$!
(read -r _; kill -INT $server) 2>/dev/null <&3 & reader=$!
wait $server; kill $reader 2>/dev/null"#;

/// A server and its folder.
pub struct PrivatePostgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    port: u16,
    settings: Vec<String>,
    keeper: Option<Child>,
}

impl PrivatePostgres {
    /// A server that keeps its promises: commits are on the disk before they are acknowledged.
    pub fn start() -> io::Result<PrivatePostgres> {
        PrivatePostgres::start_in(tempfile::tempdir()?, &[])
    }

    /// A server that does not wait for the disk, for tests that do not pull the plug.
    pub fn start_unsafe() -> io::Result<PrivatePostgres> {
        PrivatePostgres::start_in(tempfile::tempdir()?, &["fsync=off", "full_page_writes=off"])
    }

    /// A server with its data in `folder`, which nobody else uses.
    pub fn start_in(folder: tempfile::TempDir, settings: &[&str]) -> io::Result<PrivatePostgres> {
        let mut server = PrivatePostgres {
            programs: programs()?,
            user: unprivileged(folder.path())?,
            port: free_port()?,
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            keeper: None,
            folder,
        };
        let initialised = server
            .command("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"])
            .args(["--locale=C", "-D"])
            .arg(server.data())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()?;
        if !initialised.status.success() {
            let text = String::from_utf8_lossy(&initialised.stderr).into_owned();
            return Err(io::Error::other(format!("initdb: {text}")));
        }
        server.launch()?;
        Ok(server)
    }

    /// Where to connect to.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The process id of the server itself.
    pub fn pid(&self) -> io::Result<u32> {
        let text = fs::read_to_string(self.data().join("postmaster.pid"))?;
        let first = text.lines().next().unwrap_or_default();
        first.trim().parse().map_err(|_| io::Error::other("postmaster.pid has no number"))
    }

    /// Ends the server as a power cut would end its processes: at once, without a checkpoint.
    pub fn kill(&mut self) -> io::Result<()> {
        let pid = self.pid()?;
        let status = Command::new("kill").args(["-9", &pid.to_string()]).status()?;
        if !status.success() {
            return Err(io::Error::other("kill failed"));
        }
        self.reap()
    }

    /// Starts it again on the same data and port.
    pub fn launch(&mut self) -> io::Result<()> {
        let programs = self.programs.join("postgres");
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 3<&0; {KEEPER}"), "keeper"]).arg(programs);
        command.arg("-D").arg(self.data());
        command.args(["-p", &self.port.to_string(), "-k", ""]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=60"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log())?;
        self.own(&mut command);
        self.keeper =
            Some(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn()?);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        let port = self.port.to_string();
        while Instant::now() < until {
            let mut asks = Command::new(self.programs.join("pg_isready"));
            let asks = asks.args(["-q", "-h", "127.0.0.1", "-U", "postgres", "-p", &port]);
            if asks.status()?.success() {
                return Ok(());
            }
            let ended = self.keeper.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        Err(io::Error::other(format!("PostgreSQL does not start: {log}")))
    }

    fn reap(&mut self) -> io::Result<()> {
        if let Some(mut keeper) = self.keeper.take() {
            // Its input ends: a server that still runs is told to stop.
            drop(keeper.stdin.take());
            keeper.wait()?;
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        self.own(&mut command);
        command
    }

    /// PostgreSQL refuses to run as root.
    fn own(&self, command: &mut Command) {
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.current_dir(self.folder.path());
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let _ = self.reap();
    }
}

/// The folder of the newest installed server's programs.
fn programs() -> io::Result<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    folders.sort();
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).find(|folder| folder.join("initdb").exists())
    });
    folders.pop().or(on_path).ok_or_else(|| {
        io::Error::other("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    })
}

/// Who runs the server when this process is root: the system's `postgres`, else `nobody`.
fn unprivileged(folder: &Path) -> io::Result<Option<(u32, u32)>> {
    if fs::metadata(folder)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let entry = |name: &str| {
        let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = fields.find(|fields| fields.first() == Some(&name) && fields.len() > 3)?;
        Some((found[2].parse().ok()?, found[3].parse().ok()?))
    };
    let user = entry("postgres").or_else(|| entry("nobody"));
    let Some((user, group)) = user else {
        return Err(io::Error::other("there is neither a user `postgres` nor `nobody`"));
    };
    chown(folder, Some(user), Some(group))?;
    Ok(Some((user, group)))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
