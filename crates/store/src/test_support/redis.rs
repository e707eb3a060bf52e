//! A private Redis server on a free loopback port, with nothing on a disk.

use std::io;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{KEEPER, PATIENCE, free_port};

/// A server that ends with whoever started it.
pub struct PrivateRedis {
    port: u16,
    keeper: Option<Child>,
}

impl PrivateRedis {
    /// An empty server.
    pub fn start() -> io::Result<PrivateRedis> {
        let mut server = PrivateRedis { port: free_port()?, keeper: None };
        server.launch()?;
        Ok(server)
    }

    /// Its port on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where to connect to.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again, empty, on the same port.
    pub fn launch(&mut self) -> io::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 3<&0; {KEEPER}"), "keeper", "redis-server"]);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.keeper = Some(command.spawn()?);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.keeper.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || Instant::now() > until {
                let why = "Redis does not start (Debian: apt-get install redis-server)";
                return Err(io::Error::other(why));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait()?;
        }
        Ok(())
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
