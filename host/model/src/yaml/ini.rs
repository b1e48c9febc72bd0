//! Values of files such as `~/.aws/credentials`, parsed as that cloud's own tools do: with the `configparser` of
//! Python.
//! <https://docs.python.org/3/library/configparser.html#supported-ini-file-structure>
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

/// Returns the value of a key in a section. A key may be indented, its case does not matter, and `:` is equal to `=`. A
/// line that is indented more than the key above it belongs to that key's value.
pub(super) fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let (mut inside, mut found) = (false, None::<String>);
    // Indentation of the last key, to which further lines may belong, and whether it is the requested one.
    let mut above: Option<(usize, bool)> = None;
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if let Some((_, is_wanted)) = above.filter(|(of_key, _)| indent > *of_key) {
            if let (true, Some(found)) = (is_wanted, &mut found) {
                found.push('\n');
                found.push_str(content);
            }
            continue;
        }
        if found.is_some() {
            break;
        }
        above = None;
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')) {
            inside = name.0.trim() == section;
        } else if let Some((name, value)) = content.split_once(['=', ':']) {
            let is_wanted = inside && name.trim().to_lowercase() == key.trim().to_lowercase();
            above = Some((indent, is_wanted));
            if is_wanted {
                found = Some(without_comment(value).to_owned());
            }
        }
    }
    found.map(|found| found.trim().to_owned())
}

/// Removes a comment after a value. It needs a blank before it: keys may have these characters in them.
fn without_comment(value: &str) -> &str {
    let end = [" #", " ;"].iter().filter_map(|mark| value.find(mark)).min().unwrap_or(value.len());
    value[..end].trim()
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn profiles_of_a_cloud_tool() {
        let text = "# mine\n[default]\naws_access_key_id = AKIA1 ; the old one\r\naws_secret_access_key=a/b+c=#;d\n\
                    [work]\ns3 =\n  aws_access_key_id = nested\naws_access_key_id=AKIA2\n";
        let get = |section: &str, key: &str| value(text, section, key);
        assert_eq!(get("default", "aws_access_key_id").as_deref(), Some("AKIA1"));
        assert_eq!(get("default", "aws_secret_access_key").as_deref(), Some("a/b+c=#;d"));
        assert_eq!(get("work", "aws_access_key_id").as_deref(), Some("AKIA2"));
        assert_eq!(get("work", "aws_secret_access_key"), None);
        assert_eq!(get("work", "s3").as_deref(), Some("aws_access_key_id = nested"));
        assert_eq!(get("nobody", "aws_access_key_id"), None);
        assert_eq!(value("[", "", "x"), None);
    }

    #[test]
    fn forms_that_the_clouds_own_tools_take() {
        for text in [
            "[p]\n  k = v\n  other = w\n",
            "[p]\nother = w\nK = v\n",
            "[p]\nk: v\n",
            "  [p]\n  k=v\n",
            "[ p ]\n\tk\t=\tv\n",
            "[p]\nother =\n\nk = v\n[q]\nk = x\n",
            "\u{feff}[p]\nk = v # mine\n",
        ] {
            assert_eq!(value(text, "p", "k").as_deref(), Some("v"), "{text}");
        }
        assert_eq!(value("[p]\nk =\n", "p", "k").as_deref(), Some(""));
        assert_eq!(value("[p]\nk = a\n    b\n  # c\n    d\nl = e\n", "p", "k").as_deref(), Some("a\nb\nd"));
        assert_eq!(value("[p]\nk = a=b:c\n", "p", "k").as_deref(), Some("a=b:c"));
    }
}
