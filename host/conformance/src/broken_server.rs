//! Servers that break the protocol.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

/// Behaviour of a server on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ServerBehaviour {
    /// Accepts it and sends nothing.
    Silent,
    /// Accepts it and closes it.
    Closing,
    /// Sends meaningless bytes.
    Garbage,
}

/// Listens for as long as the process lives. Returns the port.
pub(crate) fn listen(behaviour: ServerBehaviour) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || match behaviour {
                ServerBehaviour::Silent => std::thread::sleep(Duration::from_secs(60)),
                ServerBehaviour::Closing => {}
                ServerBehaviour::Garbage => {
                    let noise: Vec<u8> = (0_u32..4096).map(|at| (at * at / 7 % 251) as u8).collect();
                    // Ends when the client closes the connection.
                    while stream.write_all(&noise).is_ok() {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            });
        }
    });
    Ok(port)
}
