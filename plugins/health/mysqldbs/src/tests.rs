//! The check against servers that speak the other half of the protocol, and against a real one if there is one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use rsa::PrivateKey;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::json;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::*;

const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";
const ACCEPTED: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

fn databases(pass: &str) -> Databases {
    serde_json::from_value(json!([{"name": "wordpress", "user": "wp", "pass": pass}])).unwrap()
}

fn receive(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; usize::from(head[0]) + usize::from(head[1]) * 256];
    stream.read_exact(&mut body).unwrap();
    body
}

fn send(stream: &mut TcpStream, sequence: u8, body: &[u8]) {
    let length = u8::try_from(body.len() % 256).unwrap();
    stream.write_all(&[length, u8::try_from(body.len() / 256).unwrap(), 0, sequence]).unwrap();
    stream.write_all(body).unwrap();
}

fn greeting(plugin: &str) -> Vec<u8> {
    let mut packet = b"\x0a8.4.0\0\x01\0\0\0".to_vec();
    packet.extend(&NONCE[..8]);
    packet.extend(b"\0\xff\xff\x2d\x02\0\xff\xdf\x15");
    packet.extend([0; 10]);
    packet.extend(&NONCE[8..]);
    packet.push(0);
    packet.extend(plugin.bytes());
    packet.push(0);
    packet
}

/// Returns the proof in a response: after the fixed part and the user's name.
fn proof_in(response: &[u8]) -> Vec<u8> {
    let user_end = 32 + response[32..].iter().position(|byte| *byte == 0).unwrap();
    let length = usize::from(response[user_end + 1]);
    response[user_end + 2..user_end + 2 + length].to_vec()
}

/// Runs the check against a server that takes one login.
fn against(pass: &str, server: impl FnOnce(&mut TcpStream) + Send + 'static) -> Observation {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = thread::spawn(move || server(&mut listener.accept().unwrap().0));
    let observation = observe("127.0.0.1", port, &databases(pass));
    serving.join().unwrap();
    observation
}

fn is_healthy(observation: &Observation) -> bool {
    observation.verdict == occopus_sdk::Verdict::Healthy
}

#[test]
fn the_native_proof_is_what_a_server_computes() {
    let seen = against("s3cret", |stream| {
        send(stream, 0, &greeting("mysql_native_password"));
        let proof = proof_in(&receive(stream));
        // As the server does it: from the stored SHA1(SHA1(password)).
        let stored = Sha1::digest(Sha1::digest("s3cret"));
        let salted = Sha1::new().chain_update(NONCE).chain_update(stored).finalize();
        let once: Vec<u8> = proof.iter().zip(salted).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha1::digest(once), stored);
        send(stream, 2, ACCEPTED);
        assert_eq!(receive(stream), [0x01], "it leaves politely");
    });
    assert!(is_healthy(&seen), "{seen:?}");
}

#[test]
fn a_password_that_the_server_knows_is_proven_by_its_hash() {
    let seen = against("s3cret", |stream| {
        send(stream, 0, &greeting("caching_sha2_password"));
        let proof = proof_in(&receive(stream));
        let stored = Sha256::digest(Sha256::digest("s3cret"));
        let salted = Sha256::new().chain_update(stored).chain_update(NONCE).finalize();
        let once: Vec<u8> = proof.iter().zip(salted).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha256::digest(once), stored);
        send(stream, 2, &[0x01, 0x03]);
        send(stream, 3, ACCEPTED);
        receive(stream);
    });
    assert!(is_healthy(&seen), "{seen:?}");
}

#[test]
fn a_password_that_it_does_not_know_is_sent_encrypted() {
    let seen = against("s3cret", |stream| {
        let key = PrivateKey::new(&mut rand_core_of_the_system(), 2048).unwrap();
        send(stream, 0, &greeting("caching_sha2_password"));
        receive(stream);
        send(stream, 2, &[0x01, 0x04]);
        assert_eq!(receive(stream), [0x02]);
        let pem = key.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
        send(stream, 4, &[&[0x01], pem.as_bytes()].concat());
        let masked = key.oaep_decrypt::<Sha1>(&receive(stream)).unwrap();
        let password: Vec<u8> = masked.iter().zip(NONCE.iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(password, b"s3cret\0");
        send(stream, 6, ACCEPTED);
        receive(stream);
    });
    assert!(is_healthy(&seen), "{seen:?}");
}

#[test]
fn the_server_may_ask_for_another_proof() {
    let seen = against("s3cret", |stream| {
        send(stream, 0, &greeting("caching_sha2_password"));
        receive(stream);
        send(stream, 2, &[b"\xfemysql_native_password\0", &NONCE[..], b"\0"].concat());
        assert_eq!(receive(stream).len(), 20);
        send(stream, 4, ACCEPTED);
        receive(stream);
    });
    assert!(is_healthy(&seen), "{seen:?}");
}

#[test]
fn refusals_are_told_in_the_servers_words_without_the_password() {
    for (answer, said) in [
        (&b"\xff\x15\x04#28000Access denied for user 'wp'"[..], "Access denied for user 'wp' (1045)"),
        (b"\xff\x15\x04#28000Access denied for user 'wp'", "`require_secure_transport`"),
        (
            b"\xff\x57\x0c#HY000Connections using insecure transport are prohibited",
            "(3159); this check logs in without TLS",
        ),
        (b"\xff\x19\x04#42000Unknown database 'wordpress'", "Unknown database 'wordpress' (1049)"),
        (b"\xfesha256_password\0abc\0", "`sha256_password`"),
        (b"\x07", "something unknown"),
        (b"", "something unknown"),
    ] {
        let seen = against("s3cret", |stream| {
            send(stream, 0, &greeting("mysql_native_password"));
            receive(stream);
            send(stream, 2, answer);
        });
        let text = format!("{seen:?}");
        assert!(!is_healthy(&seen) && text.contains(said) && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn what_is_no_such_server_is_recognised() {
    for (greeting, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "MySQL's protocol"),
        (b"\x01\0\0\0\x0a", "MySQL's protocol"),
        (b"\x05\0\0\0\x09abcd", "MySQL's protocol"),
        (b"\x17\0\0\0\xff\x10\x04Too many connections", "Too many connections (1040)"),
        (b"", "closed the connection"),
    ] {
        let seen = against("", |stream| stream.write_all(greeting).unwrap());
        assert!(!is_healthy(&seen) && format!("{seen:?}").contains(said), "{said}: {seen:?}");
    }
    let seen = observe("127.0.0.1", 9, &databases(""));
    assert!(format!("{seen:?}").contains("connection refused"), "{seen:?}");
}

fn rand_core_of_the_system() -> impl rsa::rand_core::CryptoRng {
    rsa::rand_core::UnwrapErr(getrandom::SysRng)
}
