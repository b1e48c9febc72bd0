//! TCP, to granted targets.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Can a connection be made? Tries every address of a name until one answers.
///
/// # Errors
/// The error of the last address tried, or of the look-up.
pub fn connect(host: &str, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
