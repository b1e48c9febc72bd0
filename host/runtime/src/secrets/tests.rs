//! Tests of placeholders, signatures and redaction. The key under `testdata` was made for these tests; the signatures
//! beside it are OpenSSL's.

use futures::FutureExt as _;
use sha1::Digest;

use super::*;
use crate::call_clock::{ComputeTimeExhausted, WorkBudget};

fn secrets(values: &[(&str, &str)]) -> CallSecrets {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), Zeroizing::new((*value).to_owned())));
    CallSecrets::new(values, BTreeSet::from(["user".to_owned()]))
}

fn filled(secrets: &CallSecrets, text: &str) -> String {
    String::from_utf8(secrets.fill(text.as_bytes()).unwrap().to_vec()).unwrap()
}

fn at_once<T>(work: impl Future<Output = Result<Option<T>, ComputeTimeExhausted>>) -> Option<T> {
    work.now_or_never().expect("it never waits").expect("it has no budget")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn placeholders_become_values() {
    let secrets = secrets(&[("user", "me"), ("password", "a\"b c/ü")]);
    let plain = secrets.placeholder("password", Encoding::Plain).unwrap();
    let json = secrets.placeholder("password", Encoding::Json).unwrap();
    let percent = secrets.placeholder("password", Encoding::Percent).unwrap();
    let basic = secrets.basic("password", "me").unwrap();
    assert!(plain.starts_with("occopus-secret-") && plain.len() == 47 && plain != json);
    assert_eq!(filled(&secrets, &format!("<{plain}{plain}>")), "<a\"b c/üa\"b c/ü>");
    assert_eq!(filled(&secrets, &json), r#"a\"b c/ü"#);
    assert_eq!(filled(&secrets, &percent), "a%22b%20c%2F%C3%BC");
    assert_eq!(filled(&secrets, &format!("Basic {basic}")), format!("Basic {}", STANDARD.encode("me:a\"b c/ü")));
    assert_eq!(secrets.placeholder("password", Encoding::Plain).unwrap(), plain);
    assert_eq!(secrets.placeholder("other", Encoding::Plain), None);
}

#[test]
fn a_placeholder_works_in_its_own_call_only() {
    let mine = secrets(&[("password", "hunter2")]);
    let other = secrets(&[("password", "hunter2")]);
    assert!(!mine.has_placeholders());
    let placeholder = mine.placeholder("password", Encoding::Plain).unwrap();
    assert!(mine.has_placeholders());
    assert!(other.fill(placeholder.as_bytes()).is_none());
    other.placeholder("password", Encoding::Plain).unwrap();
    assert!(other.fill(placeholder.as_bytes()).is_none());
    for text in ["", "occopus-secret-", &placeholder[..46], "occopus-secret-00000000000000000000000000000000"] {
        assert!(mine.fill(text.as_bytes()).is_none(), "{text}");
    }
    assert_eq!(filled(&mine, &format!("occopus-secret-{placeholder}")), "occopus-secret-hunter2");
}

#[test]
fn placeholders_are_bounded() {
    let secrets = secrets(&[("password", "hunter2")]);
    for number in 0..MAX_PLACEHOLDERS {
        secrets.basic("password", &number.to_string()).unwrap();
    }
    let worthless = secrets.basic("password", "one more").unwrap();
    assert!(secrets.fill(worthless.as_bytes()).is_none());
}

#[test]
fn public_values_are_given_and_others_are_not() {
    let secrets = secrets(&[("user", "me"), ("password", "hunter2")]);
    assert_eq!(secrets.public("user").as_deref(), Some("me"));
    assert_eq!(secrets.public("password"), None);
    assert_eq!(secrets.fields(), ["password", "user"]);
    assert!(!format!("{secrets:?}").contains("hunter2"));
    let schema = serde_json::json!({"properties": {"a": {"x-public": true}, "b": {"x-public": false}, "c": {}}});
    assert_eq!(public_fields(&schema), BTreeSet::from(["a".to_owned()]));
    assert_eq!(public_fields(&Value::Null), BTreeSet::new());
}

#[test]
fn hmacs_are_those_of_the_standards() {
    // RFC 2202 case 2 and RFC 4231 case 2.
    let jefe = secrets(&[("key", "Jefe")]);
    let message = b"what do ya want for nothing?";
    assert_eq!(
        hex(&at_once(jefe.hmac_sha1("key", message, &mut WorkBudget::unlimited())).unwrap()),
        "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
    );
    assert_eq!(
        hex(&at_once(jefe.hmac_sha256("key", b"", &[message.to_vec()], &mut WorkBudget::unlimited())).unwrap()),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    // The signing key of the example in the documentation of AWS Signature Version 4.
    let aws = secrets(&[("key", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")]);
    let chain = ["20120215", "us-east-1", "iam", "aws4_request"].map(|text| text.as_bytes().to_vec());
    assert_eq!(
        hex(&at_once(aws.hmac_sha256("key", b"AWS4", &chain, &mut WorkBudget::unlimited())).unwrap()),
        "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d"
    );
    assert_eq!(at_once(aws.hmac_sha256("key", b"AWS4", &[], &mut WorkBudget::unlimited())).unwrap(), b"");
    assert_eq!(at_once(aws.hmac_sha1("none", b"", &mut WorkBudget::unlimited())), None);
}

/// Tests the vectors of AWS's own test suite (`aws-sig-v4-test-suite`).
#[test]
fn aws_signatures_are_those_of_aws() {
    let secrets = secrets(&[("key", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), ("token", "a  secret token")]);
    let now = "2015-08-30T12:36:00Z".parse().unwrap();
    let request = |method: &str, url: &str| AwsRequest {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        payload: sha2::Sha256::digest(b"").to_vec(),
        region: "us-east-1".to_owned(),
        service: "service".to_owned(),
    };
    let sign = |request: &AwsRequest| secrets.aws_sign("key", request, "example.amazonaws.com", now);
    for (method, url, signature) in [
        ("GET", "https://example.amazonaws.com/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "GET",
            "https://example.amazonaws.com/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("POST", "https://example.amazonaws.com", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ] {
        let signed = sign(&request(method, url)).unwrap().unwrap();
        assert_eq!(signed.signature, signature, "{method} {url}");
        assert_eq!((signed.date.as_str(), signed.signed_headers.as_str()), ("20150830T123600Z", "host;x-amz-date"));
        assert_eq!(signed.scope, "20150830/us-east-1/service/aws4_request");
    }
    assert_eq!(secrets.aws_sign("none", &request("GET", "https://x/"), "x", now), Ok(None));
    // A placeholder is signed as what is sent in its place.
    let with = |value: &str| AwsRequest {
        headers: vec![("X-Amz-Security-Token".to_owned(), value.to_owned())],
        ..request("GET", "https://x/")
    };
    let placeholder = secrets.placeholder("token", Encoding::Plain).unwrap();
    assert_eq!(sign(&with(&placeholder)), sign(&with("a secret token")));
    assert_ne!(sign(&with(&placeholder)), sign(&with("another token")));
    // Requests whose text would say something else than the request.
    let invalid = [
        request("GET\n/\n\nhost:x", "https://x/"),
        request("GET", "https://x/\n"),
        request("GET", "https://x/?X-Amz-Expires=604800"),
        request("GET", "https://x/?%58-Amz-Expires=604800"),
        AwsRequest { region: "a/b".to_owned(), ..request("GET", "https://x/") },
        AwsRequest { service: String::new(), ..request("GET", "https://x/") },
        AwsRequest { payload: vec![0; 31], ..request("GET", "https://x/") },
        AwsRequest { headers: vec![("Host".to_owned(), "y".to_owned())], ..request("GET", "https://x/") },
        with("a\nhost:y"),
    ];
    for request in invalid {
        assert!(sign(&request).is_err(), "{request:?}");
    }
}

#[test]
fn rsa_signatures_are_those_of_openssl() {
    for pem in [include_str!("testdata/rsa-pkcs1.pem"), include_str!("testdata/rsa-pkcs8.pem")] {
        let secrets = secrets(&[("key", pem), ("text", "no key")]);
        let sign = |algorithm: &str, digest: &[u8]| secrets.rsa_sign("key", algorithm, digest).map(|bytes| hex(&bytes));
        let sha256 = sha2::Sha256::digest(b"hello");
        assert_eq!(sign("sha256", &sha256).unwrap(), include_str!("testdata/hello.sha256.hex"));
        assert_eq!(sign("sha1", &sha1::Sha1::digest(b"hello")).unwrap(), include_str!("testdata/hello.sha1.hex"));
        assert_eq!(sign("", b"hello").unwrap(), include_str!("testdata/hello.raw.hex"));
        assert_eq!(sign("sha1", &sha256), None);
        assert_eq!(sign("md5", b"hello"), None);
        assert_eq!(sign("", &[0; 1000]), None);
        assert_eq!(secrets.rsa_sign("text", "sha256", &sha256), None);
    }
}

#[test]
fn values_are_taken_out_of_texts_in_every_form() {
    let value = "correct horse/battery\"staple";
    let secrets = secrets(&[("password", value), ("user", "visible-user"), ("short", "ab")]);
    let mut forms = vec![value.to_owned(), json_escape(value).to_string(), percent_encode(value).to_string()];
    for around in ["", "x", "xy", "xyz", "user:"] {
        forms.push(STANDARD.encode(format!("{around}{value}{around}")));
        forms.push(base64::engine::general_purpose::URL_SAFE.encode(format!("{around}{value}{around}")));
    }
    forms.push(hex(value.as_bytes()));
    for form in forms {
        let redacted = secrets.redact(&format!("before {form} after"));
        assert!(redacted.contains("***") && redacted.starts_with("before "), "{form} -> {redacted}");
        assert!(!redacted.contains(&form), "{form} -> {redacted}");
    }
    assert_eq!(secrets.redact("visible-user, abc"), "visible-user, abc");
    let pem = include_str!("testdata/rsa-pkcs1.pem");
    let key = super::tests::secrets(&[("key", pem)]);
    let line = pem.lines().nth(3).unwrap();
    assert_eq!(key.redact(&format!("bad key: {line}")), "bad key: ***");
}

#[test]
fn nothing_is_left_of_values_at_the_edge_of_what_is_searched() {
    let value = "correct horse/bättery\"staple";
    let secrets = secrets(&[("password", value)]);
    for form in
        [value.to_owned(), json_escape(value).to_string(), percent_encode(value).to_string(), hex(value.as_bytes())]
    {
        let text = format!("{}{form}{form}", ".".repeat(40));
        for max_bytes in 41..text.len() {
            let beginning = secrets.redact_prefix(&text, max_bytes);
            let left = beginning.trim_start_matches('.').trim_start_matches('*');
            assert_eq!(left, "", "{form} in {max_bytes}");
        }
        let text = format!("{form}{}", ".".repeat(40));
        // All of it is in the twice as many bytes.
        for max_bytes in text.len().div_ceil(2)..=text.len() {
            let end = secrets.redact_suffix(&text, max_bytes);
            assert_eq!(end.trim_end_matches('.').trim_end_matches('*'), "", "{form} in {max_bytes}");
        }
    }
    assert_eq!(secrets.redact_prefix("nothing of it", 7), "nothing");
    assert_eq!(secrets.redact_prefix("nothing of it", 100), "nothing of it");
    assert_eq!(secrets.redact_prefix("it is corr", 9), "it is ");
    assert_eq!(secrets.redact_suffix("nothing of it", 5), "of it");
    assert_eq!(secrets.redact_suffix("nothing of it", 100), "nothing of it");
    // What the cut leaves of a longer text's last value goes with the part that is searched, and not kept.
    let long = format!("{value}{}", ".".repeat(100));
    assert_eq!(secrets.redact_suffix(&long, 60), ".".repeat(60));
}

#[test]
fn a_digest_over_a_text_with_the_secret_in_it() {
    let secrets = secrets(&[("password", "b")]);
    // FIPS 180-4, of "abc".
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        at_once(secrets.sha256("password", b"a", b"c", &mut WorkBudget::unlimited()))
            .map(|digest| hex(&digest))
            .as_deref(),
        Some(expected)
    );
    assert_eq!(at_once(secrets.sha256("other", b"a", b"c", &mut WorkBudget::unlimited())), None);
}
