//! Tests of the search for values in every form, in one piece and in many.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::*;
use crate::secrets::encoded_forms::encoded_forms;
use crate::secrets::{json_escape, percent_encode};

const VALUE: &str = "4f-Correct Horse/battery\"staple+Ünïcode&co";

fn patterns_of(value: &str) -> SecretPatterns {
    SecretPatterns::new(encoded_forms(value))
}

/// Returns a text as it is masked in pieces of this size.
fn streamed(patterns: &SecretPatterns, text: &[u8], size: usize) -> Vec<u8> {
    let mut masker = StreamMasker::new();
    let mut out: Vec<u8> = text.chunks(size).flat_map(|piece| masker.feed(patterns, piece)).collect();
    out.extend(masker.finish(patterns, b""));
    assert_eq!(out.len(), text.len());
    out
}

fn escaped(value: &str, escape: impl Fn(u16) -> String) -> String {
    value.encode_utf16().map(escape).collect()
}

/// Returns a value as servers may write it, and those that make them.
fn encoded_variants(value: &str) -> Vec<String> {
    let json = json_escape(value).to_string();
    let every = value.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let html = value.replace('&', "&amp;").replace('"', "&quot;");
    let mut written = vec![
        value.to_owned(),
        value.to_lowercase(),
        value.to_ascii_uppercase(),
        value.chars().rev().collect(),
        json.replace('/', "\\/"),
        json.replace('&', "\\u0026"),
        json_escape(&json).to_string(),
        json,
        escaped(value, |unit| format!("\\u{unit:04x}")),
        escaped(value, |unit| if unit < 128 { String::from(unit as u8 as char) } else { format!("\\u{unit:04X}") }),
        percent_encode(value).to_string(),
        percent_encode(value).to_lowercase(),
        percent_encode(value).replace("%20", "+"),
        percent_encode(&percent_encode(value)).to_string(),
        every.replace('%', "%25"),
        every,
        html,
        value.replace('&', "&#x26;"),
        value.chars().map(|character| format!("&#x{:07x};", u32::from(character))).collect(),
        value.chars().map(|character| format!("&#{:027};", u32::from(character))).collect(),
        value.bytes().map(|byte| format!("{byte:02X}")).collect(),
        value.replace(' ', "\r\n  "),
    ];
    for around in ["", "x", "xy", "user:", "user:xy"] {
        let pair = format!("{around}{value}{around}");
        written.extend([
            STANDARD.encode(&pair),
            URL_SAFE.encode(&pair),
            percent_encode(&STANDARD.encode(&pair)).to_string(),
        ]);
        let wrapped = STANDARD.encode(format!("{pair}{pair}")).into_bytes();
        written.push(String::from_utf8(wrapped.chunks(20).collect::<Vec<_>>().join(b"\r\n".as_slice())).unwrap());
    }
    written
}

#[test]
fn values_are_found_in_every_form_in_one_piece_and_in_many() {
    let patterns = patterns_of(VALUE);
    for form in encoded_variants(VALUE) {
        for (before, after) in
            [("{\"a\": \"", "\", \"b\": 1}"), ("%", "%41"), ("\\u", "0"), ("&#x", ";"), ("%2", "%"), ("\\", "\\")]
        {
            let text = format!("{before}{form}{after}");
            let masked = patterns.masked(text.as_bytes()).unwrap_or_else(|| panic!("it is in {text}"));
            assert_eq!(masked.len(), text.len());
            let masked = String::from_utf8_lossy(&masked).into_owned();
            assert!(masked.matches('*').count() * 5 >= form.len() * 3, "{text} -> {masked}");
            for size in [1, 2, 3, 7, 64, 1000] {
                let streamed = String::from_utf8_lossy(&streamed(&patterns, text.as_bytes(), size)).into_owned();
                assert_eq!(streamed, masked, "in pieces of {size}");
            }
        }
    }
}

#[test]
fn values_are_found_before_white_space_without_end() {
    let blanks = " ".repeat(40);
    for value in [VALUE, "pässword-1", "pass&word-1", "p&ssw\u{f6}rd/1"] {
        let patterns = patterns_of(value);
        for form in encoded_variants(value) {
            for text in [format!("{form}{blanks}"), format!("{blanks}{form}{blanks}{form}{blanks}\\u0026{blanks}")] {
                let masked = patterns.masked(text.as_bytes()).unwrap_or_else(|| panic!("{value} is in {text}"));
                for size in [1, 2, 7, 33, 64, 1000] {
                    assert_eq!(streamed(&patterns, text.as_bytes(), size), masked, "{text} in pieces of {size}");
                }
            }
        }
    }
    for (value, form) in [
        ("pässword-1", r"p\u00e4ssword-1"),
        ("pässword-1", "p%C3%A4ssword-1"),
        ("pässword-1", "p&#228;ssword-1"),
        ("pass&word-1", r"pass\u0026word-1"),
        ("pass&word-1", "pass&amp;word-1"),
        ("pass&word-1", "pass&#x0000026;word-1"),
    ] {
        let masked =
            patterns_of(value).masked(format!("{form}{blanks}").as_bytes()).unwrap_or_else(|| panic!("{form}"));
        assert_eq!(String::from_utf8(masked).unwrap(), format!("{}{blanks}", "*".repeat(form.len())), "{form}");
    }
}

#[test]
fn numbers_of_characters_may_have_zeros_in_front() {
    let read = |text: &str| decode_escape(text.as_bytes(), false).map(|unit| (unit.length, unit.bytes[0], unit.count));
    for text in ["&#99;", "&#x63;", "&#X63;", "&#x0000063;", "&#x000000000000000000000000063;"] {
        assert_eq!(read(text), Some((text.len(), b'c', 1)), "{text}");
        for end in 1..text.len() {
            assert_eq!(read(&text[..end]), None, "{text}");
        }
    }
    let itself = Some((1, b'&', 1));
    for text in [
        "& ",
        "&#x ",
        "&a=",
        "&ampersand;",
        "&;",
        "&#;",
        "&#x110000;",
        "&#+99;",
        "&#x00000000000000000000000000000063;",
    ] {
        assert_eq!(read(text), itself, "{text}");
    }
}

#[test]
fn what_is_no_value_is_given_away_at_once() {
    let patterns = patterns_of(VALUE);
    let mut masker = StreamMasker::new();
    assert_eq!(masker.feed(&patterns, b"{\"status\": \"pulling\"}\r\n"), b"{\"status\": \"pulling\"}\r\n");
    assert_eq!(masker.feed(&patterns, b"{\"status\": \"4f-corr"), b"{\"status\": \"");
    assert_eq!(masker.feed(&patterns, b"elation\"}\n"), b"4f-correlation\"}\n");
    assert!(!masker.has_matches());
    // Half an escape is not the end of anything.
    assert_eq!(masker.feed(&patterns, b"#%"), b"#");
    assert_eq!(masker.feed(&patterns, b"# of #"), b"%# of #");
    assert_eq!(masker.finish(&patterns, b"\\"), b"\\");
}

#[test]
fn one_half_of_a_long_value_is_found() {
    let patterns = patterns_of("correct-horse-battery-staple");
    for cut in 1..27 {
        let (first, second) = "correct-horse-battery-staple".split_at(cut);
        let masked = [first, second].map(|part| streamed(&patterns, part.as_bytes(), 5));
        let stars = masked.iter().flatten().filter(|byte| **byte == MASK_BYTE).count();
        assert!(stars >= 14, "{first} {second}: {stars}");
    }
}

#[test]
fn what_is_cut_short_is_found() {
    let key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let patterns = patterns_of(key);
    for length in 10..key.len() {
        let masked = patterns.masked(&key.as_bytes()[..length]).expect("a piece of it");
        assert!(masked.iter().filter(|byte| **byte != MASK_BYTE).count() < 10, "{length}");
    }
}

#[test]
fn a_key_is_found_by_its_lines() {
    let pem = include_str!("../testdata/rsa-pkcs1.pem");
    let patterns = patterns_of(pem);
    for line in pem.lines().filter(|line| !line.starts_with("-----") && line.len() >= 16) {
        assert_eq!(patterns.masked(line.as_bytes()).unwrap(), vec![MASK_BYTE; line.len()], "{line}");
    }
    assert!(
        patterns.masked(pem.replace('\n', "\\n").as_bytes()).unwrap().iter().filter(|byte| **byte == MASK_BYTE).count()
            > 1000
    );
    assert_eq!(patterns.masked(b"-----BEGIN RSA PRIVATE KEY-----"), None);
}

#[test]
fn white_space_without_end_holds_nothing_up() {
    let patterns = patterns_of("correct-horse-battery-staple");
    let mut masker = StreamMasker::new();
    masker.feed(&patterns, b"correct");
    for _ in 0..100 {
        masker.feed(&patterns, &[b' '; 1000]);
        assert!(masker.pending_len() <= 2000, "{}", masker.pending_len());
    }
}
