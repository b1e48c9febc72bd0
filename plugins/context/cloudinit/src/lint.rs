//! Checks how cloud-init reads user data, by its first line. It ignores what it does not recognise, and reports that
//! only in a log on the machine. The rules are those of its `handlers.type_from_starts_with`,
//! `templater.detect_template` and `util.load_yaml`.

use serde_yaml_ng::Value;

use crate::HEADER;

const JINJA: &str = "## template: jinja";
const SCRIPT: &str = "#!";
/// Beginnings of user data besides templates, in small letters.
const USER_DATA_PREFIXES: &[&str] =
    &["#include", SCRIPT, HEADER, "#part-handler", "#cloud-boothook", "#cloud-config-archive", "#cloud-config-jsonp"];
/// Number of bytes that are searched for the header of a MIME message.
const MIME_SEARCH_BYTES: usize = 4096;

/// Reason why cloud-init does not do what the user wants, at a line of the user data, from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) code: &'static str,
    pub(crate) line: usize,
    pub(crate) message: String,
}

fn ignored(line: usize, message: impl Into<String>) -> Warning {
    Warning { code: "cloudinit.ignored", line, message: message.into() }
}

/// Returns the reasons why cloud-init will not use the user data.
pub(crate) fn lint(text: &str) -> Vec<Warning> {
    let begins = text.trim_start();
    if begins.is_empty() || is_mime(text) {
        return Vec::new();
    }
    let line = first_line(text);
    let mut doubts = Vec::new();
    if begins.len() < text.len() {
        doubts.push(above(begins));
    }
    let small = begins.to_ascii_lowercase();
    if small.starts_with(JINJA) {
        doubts.extend(template(begins, line));
    } else if !USER_DATA_PREFIXES.iter().any(|form| small.starts_with(form)) {
        doubts.push(unrecognised(begins, line));
    } else if begins.starts_with(SCRIPT) && has_carriage_return(begins) {
        let message = "the script's first line ends with a carriage return, and the machine finds no program of that name: \
                       save the file with the line ends of Unix";
        doubts.push(Warning { code: "cloudinit.line-ends", line, message: message.to_owned() });
    } else if small.starts_with(HEADER) && !small.starts_with("#cloud-config-") {
        doubts.extend(not_a_mapping(begins, line));
    }
    doubts
}

/// Warns of blank lines, or spaces, before the first words.
fn above(begins: &str) -> Warning {
    let small = begins.to_ascii_lowercase();
    if begins.starts_with(SCRIPT) {
        ignored(
            1,
            format!("the script can't be run: `{SCRIPT}` must be its first two characters, and this stands above them"),
        )
    } else if small.starts_with(JINJA) {
        ignored(
            1,
            format!("cloud-init ignores this template: `{JINJA}` must be its first line, and this stands above it"),
        )
    } else {
        let message = "the header must be the first line: not every version of cloud-init, and not every cloud's own reader, looks \
                       further";
        Warning { code: "cloudinit.first-line", line: 1, message: message.to_owned() }
    }
}

fn unrecognised(begins: &str, line: usize) -> Warning {
    let first = begins.lines().next().unwrap_or_default().trim();
    let header_is_below = begins.lines().skip(1).any(|line| line.trim_start().to_ascii_lowercase().starts_with(HEADER));
    let spaced =
        first.starts_with('#') && first.trim_start_matches(['#', ' ']).to_ascii_lowercase().starts_with("cloud-config");
    let why = if header_is_below {
        format!("`{HEADER}` must be the first line, and this stands above it")
    } else if spaced {
        format!("its first line must be `{HEADER}`, to the letter")
    } else {
        format!(
            "it begins with none of the headers that cloud-init knows: `{HEADER}` for its configuration, `{SCRIPT}` for a script"
        )
    };
    ignored(line, format!("cloud-init ignores this user data: {why}"))
}

/// Checks a template, which cloud-init renders itself before it reads the result.
fn template(begins: &str, line: usize) -> Option<Warning> {
    let (_, behind) = begins.split_once('\n').unwrap_or((begins, ""));
    let line_behind = line + 1;
    let rendered = stand_ins(behind);
    let small = rendered.trim_start().to_ascii_lowercase();
    if small.is_empty() {
        return None;
    }
    if !USER_DATA_PREFIXES.iter().any(|form| small.starts_with(form)) {
        // A header that the template itself makes can't be known here.
        if behind.trim_start().starts_with("{{") || behind.trim_start().starts_with("{%") {
            return None;
        }
        let doubt = unrecognised(behind.trim_start(), line_behind + first_line(behind) - 1);
        return Some(ignored(doubt.line, doubt.message.replace("must be the first line", "must be the next line")));
    }
    if !small.starts_with(HEADER) || small.starts_with("#cloud-config-") {
        return None;
    }
    match serde_yaml_ng::from_str::<Value>(&rendered) {
        Ok(_) => not_a_mapping(&rendered, line_behind),
        // Both branches of an `if` are there.
        Err(error) if error.to_string().contains("duplicate entry") => None,
        Err(error) => {
            let below = error.location().map_or(1, |location| location.line());
            let message = format!("cloud-init ignores this template: what it renders to is not valid YAML: {error}");
            Some(ignored(line_behind + below - 1, message))
        }
    }
}

/// Returns the template with a stand-in for each expression; its lines stay the same.
fn stand_ins(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (close, stand_in) = match rest.as_bytes().get(1) {
            Some(b'{') => ("}}", "x"),
            Some(b'%') => ("%}", ""),
            Some(b'#') => ("#}", ""),
            _ => {
                out.push('{');
                rest = &rest[1..];
                continue;
            }
        };
        // cloud-init reports an expression without an end.
        let end = rest.find(close).map_or(rest.len(), |end| end + close.len());
        out.push_str(stand_in);
        out.extend(rest[..end].chars().filter(|c| *c == '\n'));
        rest = &rest[end..];
    }
    out + rest
}

/// Warns of a configuration that is not a mapping, which cloud-init ignores. A text that is not YAML is reported
/// elsewhere.
fn not_a_mapping(config: &str, line: usize) -> Option<Warning> {
    match serde_yaml_ng::from_str::<Value>(config) {
        Ok(Value::Mapping(_) | Value::Null | Value::Tagged(_)) | Err(_) => None,
        Ok(_) => {
            let below =
                config.lines().skip(1).position(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
            let message = "cloud-init ignores this configuration: it must be a mapping, such as `packages: [...]`";
            Some(ignored(line + below.map_or(0, |below| below + 1), message))
        }
    }
}

fn is_mime(text: &str) -> bool {
    let searched = text.as_bytes().get(..MIME_SEARCH_BYTES).unwrap_or(text.as_bytes());
    searched.to_ascii_lowercase().windows(b"mime-version:".len()).any(|window| window == b"mime-version:")
}

fn has_carriage_return(script: &str) -> bool {
    script.split('\n').next().is_some_and(|line| line.ends_with('\r'))
}

/// Returns the number of the first line that is not blank, from 1.
fn first_line(text: &str) -> usize {
    text.lines().position(|line| !line.trim().is_empty()).map_or(1, |at| at + 1)
}
