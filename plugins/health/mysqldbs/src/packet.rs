//! Packets (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html>).

use std::io::{ErrorKind, Read, Write};

/// Maximum length of a packet in a login.
const MAX_PACKET_BYTES: usize = 64 << 10;

/// A connection with the number of the next packet.
pub(crate) struct Packets<S> {
    stream: S,
    sequence: u8,
}

impl<S: Read + Write> Packets<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, sequence: 0 }
    }

    pub(crate) fn receive(&mut self) -> Result<Vec<u8>, String> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head).map_err(connection_error)?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        if length > MAX_PACKET_BYTES {
            return Err("what listens there does not speak MySQL's protocol".to_owned());
        }
        self.sequence = head[3].wrapping_add(1);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(connection_error)?;
        Ok(body)
    }

    pub(crate) fn send(&mut self, body: &[u8]) -> Result<(), String> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut packet = vec![length[0], length[1], length[2], self.sequence];
        packet.extend_from_slice(body);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&packet).and_then(|()| self.stream.flush()).map_err(connection_error)
    }

    /// Resets the sequence number, since the next packet begins a new exchange.
    pub(crate) fn reset_sequence(&mut self) {
        self.sequence = 0;
    }
}

fn connection_error(error: std::io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "the server does not answer".to_owned(),
        _ => error.to_string(),
    }
}

/// Reader of a packet. Beyond its end it returns nothing.
pub(crate) struct Reader<'p>(pub(crate) &'p [u8]);

impl<'p> Reader<'p> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'p [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(crate) fn short(&mut self) -> Option<u16> {
        self.bytes(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// Reads a text up to a zero, or to the end.
    pub(crate) fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        text
    }
}
