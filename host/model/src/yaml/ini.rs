//! Values of files such as `~/.aws/credentials`.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>

/// The value of a key in a section. Lines that begin with a blank belong to the one before them, and are left out.
pub(super) fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.trim() == section;
        } else if inside
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            // A comment after a value needs a blank before it: keys may have these characters in them.
            let end = [" #", " ;"].iter().filter_map(|mark| value.find(mark)).min().unwrap_or(value.len());
            return Some(value[..end].trim().to_owned());
        }
    }
    None
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
        assert_eq!(get("nobody", "aws_access_key_id"), None);
        assert_eq!(value("[", "", "x"), None);
    }
}
