//! Names of images, as <https://github.com/distribution/reference> describes them.

use std::fmt;

/// Tag of an image for which none is given.
const DEFAULT_TAG: &str = "latest";
const MAX_NAME_LENGTH: usize = 255;
const MAX_TAG_LENGTH: usize = 128;

/// An image of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) name: String,
    /// A tag, or a digest, which has a colon.
    pub(crate) version: String,
}

impl Image {
    /// Reads the keys `image`, which may end in `:TAG`, `@DIGEST` or both, and `tag`.
    ///
    /// # Errors
    /// Returns the key that is wrong, and the reason.
    pub(crate) fn read(image: &str, tag: Option<&str>) -> Result<Self, (&'static str, String)> {
        let image = image.trim();
        let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
        // A colon before a slash begins a registry's port.
        let (name, own_tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(why) = wrong_name(name) {
            return Err(("/image", format!("`{image}` is not the name of an image: {why}")));
        }
        for version in own_tag.iter().chain(&digest) {
            // The id of an image is written like a tag.
            if let Some(why) = wrong_version(version) {
                return Err(("/image", format!("`{image}` is not the name of an image: {why}")));
            }
        }
        let own = digest.or(own_tag);
        let given = tag.map(str::trim).filter(|tag| !tag.is_empty());
        if let Some(why) = given.and_then(wrong_version) {
            return Err(("/tag", why));
        }
        match (own, given) {
            (Some(own), Some(given)) if own != given && own_tag != Some(given) => {
                Err(("/tag", format!("the tag is given twice: `{own}` in `image` and `{given}` in `tag`")))
            }
            (own, given) => {
                let version = own.or(given).unwrap_or(DEFAULT_TAG);
                Ok(Self { name: name.to_owned(), version: version.to_owned() })
            }
        }
    }
}

/// Written as the engine takes it.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.version.contains(':') { '@' } else { ':' };
        write!(f, "{}{separator}{}", self.name, self.version)
    }
}

fn wrong_name(name: &str) -> Option<&'static str> {
    let mut parts: Vec<&str> = name.split('/').collect();
    if name.is_empty() || name.len() > MAX_NAME_LENGTH {
        return Some("it must have 1 to 255 letters");
    }
    // The first part is a registry when it looks like a host.
    let registry = parts.len() > 1 && (parts[0].contains(['.', ':']) || parts[0] == "localhost");
    if registry && !is_registry(parts.remove(0)) {
        return Some("the part before the first slash is not a registry (`HOST` or `HOST:PORT`)");
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Some("a part between slashes is empty");
    }
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    if parts.iter().any(|part| !part.chars().all(fine)) {
        return Some("only small letters, digits, `.`, `_`, `-` and `/` may stand in it");
    }
    let ends = |part: &&str| part.starts_with(['.', '_', '-']) || part.ends_with(['.', '_', '-']);
    let doubled =
        |part: &&str| part.contains("..") || part.contains("___") || part.contains("._") || part.contains("_.");
    parts
        .iter()
        .any(|part| ends(part) || doubled(part))
        .then_some("a part begins, ends or goes on with too many separators")
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    !host.is_empty() && host.chars().all(fine) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn wrong_version(version: &str) -> Option<String> {
    let wrong = |why: &str| Some(format!("`{version}` is not a tag or digest: {why}"));
    if let Some((algorithm, hex)) = version.split_once(':') {
        let fine = !algorithm.is_empty() && algorithm.chars().all(|c| c.is_ascii_alphanumeric() || "+._-".contains(c));
        let long = hex.len() >= 32 && (algorithm != "sha256" || hex.len() == 64);
        return if fine && long && hex.chars().all(|c| c.is_ascii_hexdigit()) {
            None
        } else {
            wrong("a digest is written `sha256:` and 64 hexadecimal digits")
        };
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if version.is_empty() || version.len() > MAX_TAG_LENGTH {
        return wrong("a tag has 1 to 128 letters");
    }
    (!version.chars().all(fine) || version.starts_with(['.', '-']))
        .then(|| wrong("a tag has letters, digits, `.`, `_` and `-` only"))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn read(image: &str, tag: Option<&str>) -> String {
        Image::read(image, tag).map_or_else(|(pointer, why)| format!("{pointer} {why}"), |image| image.to_string())
    }

    #[test]
    fn images_are_read_in_every_form() {
        for (image, tag, whole) in [
            ("nginx", None, "nginx:latest"),
            ("nginx", Some(""), "nginx:latest"),
            ("a/b", Some("1"), "a/b:1"),
            ("nginx:1.25", None, "nginx:1.25"),
            ("nginx:1.25", Some("1.25"), "nginx:1.25"),
            ("registry.example.org:5000/team/app", None, "registry.example.org:5000/team/app:latest"),
            ("localhost:5000/app:2", None, "localhost:5000/app:2"),
            ("[::1]:5000/app", Some("2"), "[::1]:5000/app:2"),
            ("a__b/c-d.e", None, "a__b/c-d.e:latest"),
        ] {
            assert_eq!(read(image, tag), whole, "{image} {tag:?}");
        }
        assert_eq!(read("a/b", Some(DIGEST)), format!("a/b@{DIGEST}"));
        assert_eq!(read(&format!("a/b@{DIGEST}"), None), format!("a/b@{DIGEST}"));
        assert_eq!(read(&format!("a/b:1@{DIGEST}"), Some("1")), format!("a/b@{DIGEST}"));
        // The id of an image.
        assert_eq!(read(DIGEST, None), DIGEST);
    }

    #[test]
    fn what_is_no_image_is_told() {
        for image in [
            "",
            "No Such Image",
            "nginx:",
            "nginx:a b",
            "/a",
            "a//b",
            "-a",
            "a..b",
            "host:x/a",
            "a@sha256:12",
            "a b",
            "ä",
        ] {
            assert!(read(image, None).starts_with("/image "), "{image}: {}", read(image, None));
        }
        for tag in ["a b", ".1", "sha256:12", "a/b"] {
            assert!(read("nginx", Some(tag)).starts_with("/tag "), "{tag}");
        }
        assert_eq!(
            read("nginx:1.25", Some("1.26")),
            "/tag the tag is given twice: `1.25` in `image` and `1.26` in `tag`"
        );
        assert!(read(&format!("nginx@{DIGEST}"), Some("1.26")).contains("given twice"));
    }
}
