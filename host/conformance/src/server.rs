//! Processes of a fixture's servers: started for the tests, and killed with them.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time until a server must accept connections.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct ServerProcess(Child);

impl ServerProcess {
    /// Starts a server in this directory, and waits until it accepts connections at this port.
    pub(crate) async fn start(command: &[String], folder: &Path, port: u16) -> Result<Self, String> {
        let [name, arguments @ ..] = command else {
            return Err("`server.command` is empty".to_owned());
        };
        let child = Command::new(name)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // So that its children are killed with it.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("the server `{name}` does not start: {error}"))?;
        let mut server = Self(child);
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Ok(Some(status)) = server.0.try_wait() {
                return Err(format!("the server `{name}` ended at once: {status}"));
            }
            if began.elapsed() > STARTUP_TIMEOUT {
                return Err(format!("the server `{name}` takes no connections at port {port}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a port of this machine that nobody listens at.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
