//! Loading of files, and the tags `!yaml_import`, `!text_import`, and in credentials `!env`, `!ini` and `!command`. No
//! other tag has an effect, and only files of credentials run commands.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use saphyr_parser::Tag;

use super::builder::{Builder, TagHandler};
use super::command::{self, CommandOutputs, command_words};
use super::{Entry, Item, Source, Span, Value, YamlNode, ini, scalar};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files;

/// Maximum bytes of one file.
const MAX_FILE_BYTES: u64 = 32 << 20;
/// Maximum depth of imports within imports.
const MAX_IMPORT_DEPTH: usize = 32;
/// Maximum files altogether.
const MAX_FILES: usize = 10_000;

/// Key of the mapping that stands for bytes.
const BINARY_KEY: &str = "!!binary";

/// Stand-in for the output of a command. It has the form of a template, which schemas do not check.
const COMMAND_STAND_IN: &str = "{{ command }}";

/// Tags that are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllowedTags {
    /// Empty set, without imports: for texts that came over a network.
    Closed,
    /// Only imports.
    Imports,
    /// Imports, and `!env NAME`, `!ini FILE SECTION KEY` and `!command LINE`, for credentials.
    Environment,
}

/// Treatment of the commands in a file of credentials.
#[derive(Debug, Default)]
pub(crate) enum CommandPolicy {
    /// Runs nothing: a fixed text stands for the output of a command.
    #[default]
    StandIns,
    /// Runs commands, unless their outputs are known.
    Run(CommandOutputs),
}

/// A reader of files, with its diagnostics.
pub(crate) struct Loader {
    pub(crate) diagnostics: Diagnostics,
    tags: AllowedTags,
    /// Files that are being read, each imported by the one before it.
    stack: Vec<PathBuf>,
    file_count: usize,
    /// Treatment of commands, for credentials.
    pub(crate) commands: CommandPolicy,
    /// Files that were read, or could not be.
    pub(crate) referenced_files: Vec<PathBuf>,
}

impl Loader {
    pub(crate) fn new(tags: AllowedTags) -> Self {
        let (diagnostics, values) = (Diagnostics::default(), CommandPolicy::default());
        Self { diagnostics, tags, stack: Vec::new(), file_count: 0, commands: values, referenced_files: Vec::new() }
    }

    /// Reads a file. Errors and warnings are in `diagnostics`, also when there is a result.
    pub(crate) fn load(&mut self, path: &Path) -> Option<Item> {
        let source = self.read(path, None)?;
        self.parse(source)
    }

    /// Reads a text that is not a file of this machine. `name` stands for it in messages.
    pub(crate) fn load_text(&mut self, name: &str, text: &str) -> Option<Item> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        self.parse(Arc::new(Source { path: name.into(), text, is_secret: false, is_file: false }))
    }

    fn parse(&mut self, source: Arc<Source>) -> Option<Item> {
        self.stack.push(canonical_path(&source.path));
        let item = Builder::new(self, source).run();
        self.stack.pop();
        item
    }

    /// Returns the text of a file. `importer` is the location that names it.
    fn read(&mut self, path: &Path, importer: Option<&Span>) -> Option<Arc<Source>> {
        self.file_count += 1;
        self.referenced_files.push(path.to_owned());
        let fail = |this: &mut Self, message: String, help: &str| {
            let diagnostic = Diagnostic::error("file.unreadable", message).help(help);
            this.diagnostics.push(match importer {
                Some(at) => diagnostic.at(at, "named here"),
                None => diagnostic.in_file(path),
            });
            None
        };
        let shown = path.display();
        let is_large = |length: u64| length > MAX_FILE_BYTES;
        match std::fs::metadata(path) {
            Ok(data) if data.is_dir() => {
                return fail(self, format!("{shown} is a directory, not a file"), "name a file");
            }
            Ok(data) if is_large(data.len()) => {
                let message = format!(
                    "{shown} is too large: {} MB, and {} MB are read at most",
                    data.len() >> 20,
                    MAX_FILE_BYTES >> 20
                );
                return fail(self, message, "is it the right file?");
            }
            _ if self.file_count > MAX_FILES => {
                return fail(self, format!("more than {MAX_FILES} files are imported"), "");
            }
            _ => {}
        }
        // Only a file that is named on the command line may be a pipe.
        let bytes = match importer.map_or_else(|| read_bounded(path), |_| files::read(path, MAX_FILE_BYTES)) {
            Ok(bytes) if is_large(bytes.len() as u64) => {
                return fail(self, format!("{shown} is too large"), "is it the right file?");
            }
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("{shown} can't be read: {error}");
                return fail(
                    self,
                    message,
                    "check the name; a relative name is meant from the directory of the file that has it",
                );
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => {
                let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                Some(Arc::new(Source {
                    path: path.to_owned(),
                    text,
                    is_secret: self.tags == AllowedTags::Environment || (importer.is_some() && has_secrets(path)),
                    is_file: true,
                }))
            }
            Err(error) => {
                let line =
                    error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count()
                        + 1;
                fail(self, format!("{shown} is not UTF-8: line {line} has bytes that are not text"), "save it as UTF-8")
            }
        }
    }

    /// Returns bytes, in base64. JSON has no bytes: they become a mapping with this tag as its only key, which a writer
    /// of YAML turns back into bytes.
    fn binary(&mut self, item: Item) -> Option<Item> {
        let text: String = item.str().unwrap_or_default().split_ascii_whitespace().collect();
        let digits = text.trim_end_matches('=');
        let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        if item.str().is_none()
            || !text.len().is_multiple_of(4)
            || text.len() - digits.len() > 2
            || !digits.chars().all(is_digit)
        {
            let diagnostic =
                Diagnostic::error("yaml.binary", "`!!binary` needs bytes in base64").at(&item.at, "not base64");
            self.diagnostics.push(diagnostic.help("`base64 FILE` prints them"));
            return Some(synthetic_item(Value::Broken, &item.at));
        }
        let value = synthetic_item(Value::String(text), &item.at);
        let entry = Entry { key: BINARY_KEY.to_owned(), key_at: item.at.clone(), value };
        let bytes = item.node.text_bytes;
        let node = YamlNode {
            value: Value::Mapping(vec![entry]),
            span: item.at.clone(),
            depth: 1,
            node_count: 2,
            text_bytes: bytes,
        };
        Some(Item { node: Arc::new(node), at: item.at })
    }

    fn environment(&mut self, item: &Item) -> Option<Item> {
        let name = item.str().unwrap_or_default();
        if let Ok(value) = std::env::var(name) {
            return Some(synthetic_item(Value::String(value), &item.at));
        }
        self.diagnostics.push(
            Diagnostic::error("credentials.environment", format!("the environment variable `{name}` is not set"))
                .at(&item.at, "requested here")
                .help("set it, or write another name"),
        );
        Some(synthetic_item(Value::Broken, &item.at))
    }

    /// Returns a value of a file such as those of clouds' own tools.
    fn ini(&mut self, item: &Item) -> Option<Item> {
        let words = command_words(item);
        let found = match words.as_slice() {
            [file, section, key] => {
                let base = item.node.span.source.path.parent().unwrap_or(Path::new(""));
                let path = match (file.strip_prefix("~/"), std::env::home_dir()) {
                    (Some(rest), Some(home)) => home.join(rest),
                    _ => base.join(file),
                };
                self.referenced_files.push(path.clone());
                let text = files::read_text(&path, MAX_FILE_BYTES);
                let text = text.map_err(|error| format!("{} can't be read: {error}", path.display()));
                text.and_then(|text| match ini::value(&text, section, key) {
                    Some(value) if value.is_empty() => {
                        Err(format!("`{key}` in `[{section}]` of {} is empty", path.display()))
                    }
                    Some(value) => Ok(value),
                    None => Err(format!("{} has no `{key}` in `[{section}]`", path.display())),
                })
            }
            _ => Err("this does not name a file, a section and a key".to_owned()),
        };
        let why = match found {
            Ok(value) => return Some(synthetic_item(Value::String(value), &item.at)),
            Err(why) => why,
        };
        let diagnostic = Diagnostic::error("credentials.ini", why)
            .at(&item.at, "requested here")
            .help("write `!ini FILE SECTION KEY`, such as `!ini ~/.aws/credentials default aws_secret_access_key`");
        self.diagnostics.push(diagnostic);
        Some(synthetic_item(Value::Broken, &item.at))
    }

    /// Returns the output of a command without its last line break. The file is the user's own, and so is the command.
    fn command(&mut self, item: &Item) -> Option<Item> {
        let (words, lifetime) = match command::parse_command(item) {
            Ok(parsed) => parsed,
            Err(diagnostic) => {
                self.diagnostics.push(*diagnostic);
                return Some(synthetic_item(Value::Broken, &item.at));
            }
        };
        let why = match &mut self.commands {
            CommandPolicy::StandIns => {
                return Some(synthetic_item(Value::String(COMMAND_STAND_IN.to_owned()), &item.at));
            }
            CommandPolicy::Run(outputs) => match outputs.get_or_run(&command_words(&words), lifetime) {
                Ok(text) => return Some(synthetic_item(Value::String(text), &item.at)),
                Err(why) => why,
            },
        };
        let diagnostic = Diagnostic::error("credentials.command", format!("the command for this value {why}"))
            .at(&item.at, "run for this value")
            .help("write `!command` and a line of words, or a list of words; there is no shell");
        self.diagnostics.push(diagnostic);
        Some(synthetic_item(Value::Broken, &item.at))
    }

    fn import(&mut self, item: &Item, yaml: bool) -> Option<Item> {
        let tag = if yaml { "!yaml_import" } else { "!text_import" };
        let nothing = Some(synthetic_item(Value::Broken, &item.at));
        let Some(url) = item.get("url") else {
            let diagnostic = Diagnostic::error("import.url", format!("`{tag}` needs a mapping with `url`"))
                .at(&item.at, "here")
                .help(format!("write `{tag}` and, below it, `url: file://NAME`"));
            self.diagnostics.push(diagnostic);
            return nothing;
        };
        let Some(name) = url.str().and_then(|text| text.strip_prefix("file://")) else {
            let diagnostic = Diagnostic::error("import.scheme", format!("`{tag}` reads files, and this names none"))
                .at(&url.at, "no `file://` here")
                .help("write `file://NAME`; a relative name is meant from the directory of this file");
            self.diagnostics.push(diagnostic);
            return nothing;
        };
        let base = url.node.span.source.path.parent().unwrap_or(Path::new(""));
        let path = display_path(&base.join(name));
        if self.stack.contains(&canonical_path(&path)) || self.stack.len() >= MAX_IMPORT_DEPTH {
            let diagnostic = Diagnostic::error(
                "import.cycle",
                format!("{} imports itself, directly or through others", path.display()),
            )
            .at(&url.at, "imported here again");
            self.diagnostics.push(diagnostic);
            return nothing;
        }
        let Some(source) = self.read(&path, Some(&url.at)) else { return nothing };
        if yaml {
            return self.parse(source).or(nothing);
        }
        let at = Span::whole(&source);
        Some(synthetic_item(Value::String(source.text.clone()), &at))
    }
}

impl TagHandler for Loader {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn is_closed(&self) -> bool {
        matches!(self.tags, AllowedTags::Closed)
    }

    fn apply_tag(&mut self, tag: &Tag, item: Item) -> Option<Item> {
        let name = format!("{}{}", tag.handle, tag.suffix);
        match name.as_str() {
            "!yaml_import" | "!text_import" if self.tags == AllowedTags::Closed => {
                let message = format!("`{name}` reads a file, and nothing that comes over a network may");
                let diagnostic = Diagnostic::error("import.refused", message).at(&item.at, "refused here");
                self.diagnostics.push(diagnostic.help("write what it would import in its place"));
                Some(synthetic_item(Value::Broken, &item.at))
            }
            "!yaml_import" => self.import(&item, true),
            "!text_import" => self.import(&item, false),
            "!env" if self.tags == AllowedTags::Environment => self.environment(&item),
            "!ini" if self.tags == AllowedTags::Environment => self.ini(&item),
            "!command" if self.tags == AllowedTags::Environment => self.command(&item),
            "!" | "tag:yaml.org,2002:str" | "tag:yaml.org,2002:seq" | "tag:yaml.org,2002:map" => Some(item),
            "tag:yaml.org,2002:int"
            | "tag:yaml.org,2002:float"
            | "tag:yaml.org,2002:bool"
            | "tag:yaml.org,2002:null" => {
                let value = scalar::resolve(item.str().unwrap_or_default());
                Some(synthetic_item(value, &item.at))
            }
            "tag:yaml.org,2002:binary" => self.binary(item),
            _ => {
                let shown = name.replace("tag:yaml.org,2002:", "!!");
                let diagnostic = if name.contains("python") {
                    Diagnostic::error("yaml.tag", format!("the Python tag `{shown}` is refused, and never run"))
                        .help("write the value itself")
                } else {
                    Diagnostic::error("yaml.tag", format!("the tag `{shown}` is not known"))
                        .help("known are `!yaml_import` and `!text_import`, and, in credentials, `!env`, `!ini` and `!command`")
                };
                self.diagnostics.push(diagnostic.at(&item.at, "here"));
                // Errors in the rest of the file are still found.
                Some(synthetic_item(Value::Broken, &item.at))
            }
        }
    }
}

/// Reads at most one byte more than the maximum, whatever size the file has (`/dev/zero` has none).
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns true if a file may have credentials, so that nothing of it is printed: by its name, or because nobody else
/// may read it.
fn has_secrets(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let real = canonical_path(path);
    let is_named_so = |path: &Path| path.file_stem().is_some_and(|name| name == "auth_data");
    let is_private = || std::fs::metadata(&real).is_ok_and(|data| data.permissions().mode() & 0o077 == 0);
    is_named_so(path) || is_named_so(&real) || is_private()
}

fn synthetic_item(value: Value, at: &Span) -> Item {
    Item {
        node: Arc::new(YamlNode { value, span: at.clone(), depth: 0, node_count: 1, text_bytes: 0 }),
        at: at.clone(),
    }
}

/// Returns a path that identifies the file, whatever name it was given.
fn canonical_path(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Returns `a/./b` as `a/b`, for messages.
fn display_path(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}
