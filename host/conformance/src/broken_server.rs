//! Servers that are none.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

/// What a server does with a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ServerBehaviour {
    /// It takes it and says nothing.
    Silent,
    /// It takes it and closes it.
    Closing,
    /// It sends bytes that mean nothing.
    Garbage,
}

/// Listens for as long as the process lives. The answer is the port.
pub(crate) fn listen(manner: ServerBehaviour) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || match manner {
                ServerBehaviour::Silent => std::thread::sleep(Duration::from_secs(60)),
                ServerBehaviour::Closing => {}
                ServerBehaviour::Garbage => {
                    let noise: Vec<u8> = (0_u32..4096).map(|at| (at * at / 7 % 251) as u8).collect();
                    // Whoever has heard enough goes.
                    while stream.write_all(&noise).is_ok() {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            });
        }
    });
    Ok(port)
}
