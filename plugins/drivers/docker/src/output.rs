//! Output of a container, from the engine's stream.

/// Length of the header of each piece: the stream's number, three zeros, and the length of the piece in four bytes, the
/// highest first.
const FRAME_HEADER_BYTES: usize = 8;

/// Returns the text of `GET /containers/ID/logs`: standard output and error in the order in which they were written. A
/// container with a terminal has one stream without headers.
pub(crate) fn text(stream: &[u8]) -> String {
    let bytes = demultiplexed(stream).unwrap_or_else(|| stream.to_vec());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Joins the pieces; none if the stream has no headers.
fn demultiplexed(mut stream: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::with_capacity(stream.len());
    while !stream.is_empty() {
        let (header, rest) = stream.split_at_checked(FRAME_HEADER_BYTES)?;
        let [0..=2, 0, 0, 0, a, b, c, d] = *header else { return None };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        // The last piece may be cut off.
        let (piece, rest) = rest.split_at(length.min(rest.len()));
        whole.extend_from_slice(piece);
        stream = rest;
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_are_read_in_order() {
        let stream = b"\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x04two\n\x01\0\0\0\0\0\0\x09thr";
        assert_eq!(text(stream), "one\ntwo\nthr");
        assert_eq!(text(b""), "");
        assert_eq!(text(b"a terminal\n"), "a terminal\n");
        assert_eq!(text(b"\x01\0\0\0\0\0\0\x02\xff\n"), "\u{fffd}\n");
    }
}
