//! The handshake, and two authentication methods
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html>).

use std::io::{Read, Write};

use rsa::PublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::packet::{Packets, Reader};

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const SSL: u32 = 1 << 11;
/// `ER_ACCESS_DENIED_ERROR`: also sent to a user who may only log in with TLS.
const DENIED: u16 = 1045;
/// `ER_SECURE_TRANSPORT_REQUIRED`.
const TLS_REQUIRED: u16 = 3159;
const UTF8MB4: u8 = 45;

const NATIVE: &str = "mysql_native_password";
const CACHING_SHA2: &str = "caching_sha2_password";

/// Logs in, and out again. The error is the reason, without the password.
pub(crate) fn login(stream: impl Read + Write, user: &str, password: &str, database: &str) -> Result<(), String> {
    let mut packets = Packets::new(stream);
    let greeting = packets.receive()?;
    let Greeting { mut nonce, mut plugin, has_tls } = parse_greeting(&greeting)?;
    let refused = |rest: &[u8]| error_text(rest) + tls_hint(rest, has_tls);
    // A server may name a method that is not known here; then a known one is requested.
    if plugin != CACHING_SHA2 {
        NATIVE.clone_into(&mut plugin);
    }
    packets.send(&response(user, password, database, &nonce, &plugin))?;
    loop {
        let answer = packets.receive()?;
        match answer.split_first() {
            Some((0x00, _)) => break,
            Some((0xff, rest)) => return Err(refused(rest)),
            Some((0xfe, [])) => return Err("the server requires a password of before MySQL 4.1".to_owned()),
            Some((0xfe, rest)) => {
                let mut reader = Reader(rest);
                plugin = reader.text();
                nonce = without_trailing_zero(reader.0).to_vec();
                packets.send(&proof(&plugin, password, &nonce)?)?;
            }
            // It has seen this password before.
            Some((0x01, [0x03])) => {}
            Some((0x01, [0x04])) if plugin == CACHING_SHA2 => prove_in_full(&mut packets, password, &nonce)?,
            _ => return Err("the server answers the login with something unknown".to_owned()),
        }
    }
    // COM_QUIT: otherwise the server counts an aborted connection, and blocks this host after a number of them.
    packets.reset_sequence();
    let _ = packets.send(&[0x01]);
    Ok(())
}

/// First packet of the server.
struct Greeting {
    nonce: Vec<u8>,
    /// Authentication method.
    plugin: String,
    has_tls: bool,
}

/// Returns a hint for servers that require TLS, which this check does not support.
fn tls_hint(rest: &[u8], has_tls: bool) -> &'static str {
    match Reader(rest).short() {
        Some(TLS_REQUIRED) => "; this check logs in without TLS: `ports: [3306]` is what it can do for this server",
        Some(DENIED) if has_tls => {
            "; if the password is right, the server may demand TLS (`require_secure_transport`, `REQUIRE SSL`), and this check \
             logs in without: `ports: [3306]` is what it can do then"
        }
        _ => "",
    }
}

fn parse_greeting(greeting: &[u8]) -> Result<Greeting, String> {
    let strange = || "what listens there does not speak MySQL's protocol".to_owned();
    let mut reader = Reader(greeting);
    match reader.byte() {
        Some(10) => {}
        Some(0xff) => return Err(error_text(reader.0)),
        _ => return Err(strange()),
    }
    let read = |mut reader: Reader| {
        reader.text(); // The server's version.
        reader.bytes(4)?; // The connection's number.
        let mut nonce = reader.bytes(8)?.to_vec();
        reader.bytes(1)?;
        let low = reader.short()?;
        reader.bytes(1 + 2)?; // Character set, status.
        let high = reader.short()?;
        let length = usize::from(reader.byte()?);
        reader.bytes(10)?;
        nonce.extend_from_slice(without_trailing_zero(reader.bytes(length.saturating_sub(8).max(13))?));
        let capabilities = u32::from(high) << 16 | u32::from(low);
        let needed = PROTOCOL_41 | SECURE_CONNECTION;
        let plugin = if capabilities & PLUGIN_AUTH == 0 { NATIVE.to_owned() } else { reader.text() };
        (capabilities & needed == needed).then_some(Greeting { nonce, plugin, has_tls: capabilities & SSL != 0 })
    };
    read(reader).ok_or_else(strange)
}

/// Returns a `HandshakeResponse41`.
fn response(user: &str, password: &str, database: &str, nonce: &[u8], plugin: &str) -> Vec<u8> {
    let flags = LONG_PASSWORD | CONNECT_WITH_DB | PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;
    let mut packet = flags.to_le_bytes().to_vec();
    packet.extend((1u32 << 24).to_le_bytes());
    packet.push(UTF8MB4);
    packet.extend([0; 23]);
    packet.extend(user.bytes().filter(|byte| *byte != 0));
    packet.push(0);
    // Both are known here, and their proofs are short.
    let proof = proof(plugin, password, nonce).unwrap_or_default();
    packet.push(u8::try_from(proof.len()).unwrap_or(0));
    packet.extend(proof);
    packet.extend(database.bytes().filter(|byte| *byte != 0));
    packet.push(0);
    packet.extend(plugin.bytes());
    packet.push(0);
    packet
}

fn proof(plugin: &str, password: &str, nonce: &[u8]) -> Result<Vec<u8>, String> {
    if !matches!(plugin, NATIVE | CACHING_SHA2) {
        return Err(format!(
            "the server requires the authentication method `{plugin}`, which this check does not support"
        ));
    }
    if password.is_empty() {
        return Ok(Vec::new());
    }
    if plugin == NATIVE {
        // SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password)))
        let once = Sha1::digest(password);
        let salted = Sha1::new().chain_update(nonce).chain_update(Sha1::digest(once)).finalize();
        Ok(xor(&once, &salted))
    } else {
        // SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)
        let once = Sha256::digest(password);
        let salted = Sha256::new().chain_update(Sha256::digest(once)).chain_update(nonce).finalize();
        Ok(xor(&once, &salted))
    }
}

/// Sends the password, encrypted with the server's key: the server has not seen it since it started.
fn prove_in_full<S: Read + Write>(packets: &mut Packets<S>, password: &str, nonce: &[u8]) -> Result<(), String> {
    packets.send(&[0x02])?;
    let answer = packets.receive()?;
    let key = match answer.split_first() {
        Some((0x01, key)) => {
            std::str::from_utf8(key).ok().and_then(|pem| PublicKey::from_public_key_pem(pem.trim()).ok())
        }
        Some((0xff, rest)) => return Err(error_text(rest)),
        _ => None,
    };
    let key = key.ok_or("the server has no key for a login without TLS")?;
    let mut secret = password.as_bytes().to_vec();
    secret.push(0);
    let masked: Vec<u8> = secret.iter().zip(nonce.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let encrypted = key.oaep_encrypt::<Sha1>(&masked).map_err(|error| error.to_string())?;
    packets.send(&encrypted)
}

/// Reads an `ERR_Packet` after its first byte.
fn error_text(rest: &[u8]) -> String {
    let mut reader = Reader(rest);
    let number = reader.short().unwrap_or(0);
    if reader.0.first() == Some(&b'#') {
        reader.bytes(6);
    }
    format!("{} ({number})", reader.text())
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(a, b)| a ^ b).collect()
}

/// Returns the nonce without the zero at its end.
fn without_trailing_zero(nonce: &[u8]) -> &[u8] {
    nonce.strip_suffix(&[0]).unwrap_or(nonce)
}
