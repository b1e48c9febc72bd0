//! Cycles between the files of a crate of the host. A file needs another one if it names anything that the other one defines, also by
//! way of a module that passes it on. A module and what lies below it may need each other.

use std::collections::{BTreeMap, BTreeSet};

/// Names of a module, from the root of its crate.
type Module = Vec<String>;

/// Files that need each other all the same: crate, two files, and the reason.
const EXCEPTIONS: &[(&str, &str, &str, &str)] = &[
    (
        "host/server",
        "access/sessions",
        "access/tokens",
        "a session is valid while its token is, and a revoked token ends its sessions in one transaction",
    ),
    (
        "host/server",
        "operations/cleanup",
        "operations/ledger",
        "the end of a build removes the oldest failed ones at once",
    ),
];

/// Most modules that pass a name on to each other.
const MAX_HOPS: usize = 8;

/// A file: what it names, and what it imports under which name.
#[derive(Default)]
struct SourceFile {
    paths: Vec<Module>,
    imports: BTreeMap<String, Module>,
}

/// Files that each file needs.
type Needs = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn files_do_not_need_each_other_in_circles() {
    let sources = super::sources();
    let host = sources.iter().filter(|(name, _)| name.starts_with("host/"));
    let crates: BTreeSet<_> = host.filter_map(|(name, _)| Some(name.split_once("/src/")?.0)).collect();
    let mut found = Vec::new();
    for name in crates {
        let prefix = format!("{name}/src/");
        let files = sources.iter().filter_map(|(file, text)| Some((file.strip_prefix(&prefix)?, text.as_str())));
        let mut needs = needs(files);
        let mut needed = Vec::new();
        for (_, one, other, _) in EXCEPTIONS.iter().filter(|(of, ..)| *of == name) {
            let (one, other) = (module(one), module(other));
            let removed = |needs: &mut Needs, from: &Module, to: &Module| {
                needs.get_mut(from).is_some_and(|needed| needed.remove(to))
            };
            needed.push((removed(&mut needs, &one, &other) && removed(&mut needs, &other, &one), one, other));
        }
        for (needed, one, other) in needed {
            let exception = format!("{} and {} in {name}", one.join("/"), other.join("/"));
            assert!(needed, "{exception} do not need each other: they need no exception any more");
        }
        found.extend(cycles(&needs).iter().map(|cycle| format!("{name}: {cycle}")));
    }
    assert!(found.is_empty(), "files that need each other:\n{}", found.join("\n"));
}

fn module(path: &str) -> Module {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Returns the needs of each file of a crate, given the path of each below `src/` and its text.
fn needs<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Needs {
    let files: BTreeMap<_, _> = files
        .map(|(path, text)| {
            let mut module = module(path.trim_end_matches(".rs"));
            if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
                module.pop();
            }
            let file = read(&module, &without_tests(text));
            (module, file)
        })
        .collect();
    let is_test = |module: &Module| module.iter().any(|part| part == "tests");
    let mut needs = Needs::new();
    for (module, file) in files.iter().filter(|(module, _)| !is_test(module)) {
        let found = file.paths.iter().filter_map(|path| locate(path, &files, MAX_HOPS));
        let apart = found.filter(|other| !module.starts_with(other) && !other.starts_with(module));
        needs.insert(module.clone(), apart.collect());
    }
    needs
}

/// Returns a file's text without comments and without the tests in it.
fn without_tests(text: &str) -> String {
    let (mut kept, mut in_tests, mut is_test_next) = (String::new(), false, false);
    for line in text.lines() {
        in_tests |= is_test_next && line.starts_with("mod ") && line.ends_with('{');
        is_test_next = line == "#[cfg(test)]";
        if !in_tests {
            kept += line.split("//").next().unwrap_or_default();
            kept.push('\n');
        }
        in_tests &= line != "}";
    }
    kept
}

fn read(module: &Module, text: &str) -> SourceFile {
    let mut file = SourceFile::default();
    for (at, _) in text.match_indices("use ") {
        let before = text[..at].trim_end_matches(' ');
        if before.ends_with(['\n', ')', ';', '{', '}']) || before.ends_with("pub") || before.is_empty() {
            let mut imports = Vec::new();
            read_tree(&text[at + 4..], &[], &mut imports);
            for (name, path) in imports {
                file.imports.insert(name, absolute(module, &path, true).unwrap_or_default());
            }
        }
    }
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            // The second `super` of a path is not its beginning.
            if !text[..at].ends_with(|last: char| last.is_alphanumeric() || matches!(last, '_' | ':' | '$')) {
                let mut paths = Vec::new();
                read_tree(&text[at..], &[], &mut paths);
                file.paths.extend(paths.iter().filter_map(|(_, path)| absolute(module, path, false)));
            }
        }
    }
    file
}

/// Reads a path, or a tree of paths in braces, from the beginning of a text: each with the name under which it is known from
/// then on. Returns the rest of the text.
fn read_tree<'a>(text: &'a str, parents: &[String], found: &mut Vec<(String, Module)>) -> &'a str {
    let (mut path, mut rest) = (parents.to_vec(), text.trim_start());
    loop {
        if let Some(mut branches) = rest.strip_prefix('{') {
            loop {
                branches = branches.trim_start_matches([' ', '\n', ',']);
                if branches.is_empty() || branches.starts_with('}') {
                    return branches.get(1..).unwrap_or_default();
                }
                let left = read_tree(branches, &path, found);
                // Something that is no path: the end of the tree is not found.
                if left.len() == branches.len() {
                    return left;
                }
                branches = left;
            }
        }
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        let word = &rest[..end];
        rest = &rest[end..];
        if !word.is_empty() {
            path.push(word.to_owned());
        }
        match rest.strip_prefix("::") {
            Some(more) if !more.starts_with('<') => rest = more,
            _ => break,
        }
        if let Some(left) = rest.strip_prefix('*') {
            rest = left;
            break;
        }
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if let Some(renamed) = rest.strip_prefix(" as ") {
        let end = renamed.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(renamed.len());
        name = renamed[..end].to_owned();
        rest = &renamed[end..];
    }
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
        name = path.last().cloned().unwrap_or_default();
    }
    found.push((name, path));
    rest
}

/// Returns a path from the root of the crate; none if it cannot be in the crate. `is_import` is set for a path of an import,
/// which may begin with a module below.
fn absolute(module: &Module, path: &[String], is_import: bool) -> Option<Module> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "super" => {
            let parent = &module[..module.len().checked_sub(supers)?];
            Some([parent, &path[supers..]].concat())
        }
        "self" => Some([module.as_slice(), &path[1..]].concat()),
        _ if is_import => Some([module.as_slice(), path].concat()),
        _ => None,
    }
}

/// Returns the file that defines what a path names.
fn locate(path: &[String], files: &BTreeMap<Module, SourceFile>, hops: usize) -> Option<Module> {
    let length = (0..=path.len()).rev().find(|length| files.contains_key(&path[..*length]))?;
    let (module, rest) = path.split_at(length);
    let passed_on = rest.first().and_then(|name| files[module].imports.get(name)).filter(|_| hops > 0);
    match passed_on {
        Some(import) if !import.starts_with(path) => locate(&[import.as_slice(), &rest[1..]].concat(), files, hops - 1),
        _ => Some(module.to_vec()),
    }
}

/// Returns a line for each set of files of which each needs all others.
fn cycles(needs: &Needs) -> BTreeSet<String> {
    let reached_from = |start: &Module| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(next) = open.pop() {
            open.extend(needs.get(next).into_iter().flatten().filter(|needed| reached.insert((*needed).clone())));
        }
        reached
    };
    let reached: BTreeMap<_, _> = needs.keys().map(|module| (module, reached_from(module))).collect();
    let in_cycle = reached.iter().filter(|(module, reached)| reached.contains(**module));
    in_cycle
        .map(|(module, others)| {
            let back = |other: &&Module| reached.get(other).is_some_and(|reached| reached.contains(*module));
            others.iter().filter(back).map(|other| other.join("/")).collect::<Vec<_>>().join(", ")
        })
        .collect()
}

#[test]
fn a_cycle_is_found_by_whatever_way_it_is_imported() {
    let found = |files: &[(&str, &str)]| cycles(&needs(files.iter().copied())).into_iter().collect::<Vec<_>>();
    let lib = ("lib.rs", "mod a;\nmod b;\npub use a::A;\n");
    let a = ("a.rs", "use std::fmt;\n\nuse crate::b::{self, B};\n\nfn f() {}\n");
    assert_eq!(found(&[lib, a, ("b.rs", "pub struct B;\n")]), [""; 0]);
    for b in [
        "use crate::a::A;\n",
        "use super::a;\n",
        "use crate::{\n    A as Other, c,\n};\n",
        "fn f() -> crate::a::A {\n    todo!()\n}\n",
        "mod inner {\n    use crate::A;\n}\n",
    ] {
        assert_eq!(found(&[lib, a, ("b.rs", b)]), ["a, b"], "{b}");
    }
    let tested = "// use crate::a::A;\npub struct B;\n\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n";
    assert_eq!(found(&[lib, a, ("b.rs", tested), ("b/tests.rs", "use crate::a::A;\n")]), [""; 0]);
    // By way of a module that passes it on, and between files below different modules.
    let passing = ("b/mod.rs", "mod c;\n\npub(crate) use c::{C, helper as other};\n");
    for name in ["C", "other"] {
        let far = format!("use crate::b::{name};\n");
        assert_eq!(found(&[lib, ("a.rs", &far), passing, ("b/c.rs", "use crate::A;\nuse super::D;\n")]), ["a, b/c"]);
    }
    // A module and its children are one.
    assert_eq!(found(&[lib, passing, ("b/c.rs", "use super::D;\nuse crate::b::E;\n")]), [""; 0]);
}
