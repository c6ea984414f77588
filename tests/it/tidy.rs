//! The shape of the source: who may name whom, one door per framework, a sentence on top, and no file that nobody can read.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules in the order of `src/lib.rs`: each may name only those before it.
const ORDER: [&str; 20] = [
    "time",
    "telemetry",
    "key",
    "route",
    "limit",
    "policy",
    "meter",
    "store",
    "sink",
    "http1",
    "reactor",
    "upstream",
    "catalog",
    "gateway",
    "operations",
    "admin",
    "console",
    "config",
    "app",
    "cli",
];

/// Who may not name whom although the order would allow it.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    ("sink", &["store"]),
    ("gateway", &["store", "sink"]),
    ("admin", &["gateway"]),
    ("console", &["gateway", "store", "catalog"]),
    ("operations", &["gateway"]),
];

/// The only ones who may name `config`.
const KNOW_CONFIG: [&str; 2] = ["app", "cli"];

/// Packages that come in through certain modules only.
const DOORS: [(&str, &[&str]); 11] = [
    // Data threads have an event loop of their own, and their tasks wait for nothing else.
    ("tokio", &["admin", "app", "config", "console", "meter", "operations", "store", "upstream"]),
    ("axum", &["admin", "console", "operations"]),
    ("chacha20poly1305", &["admin"]),
    ("utoipa", &["admin"]),
    ("utoipa_axum", &["admin"]),
    ("rusqlite", &["store"]),
    ("serde_saphyr", &["config", "cli"]),
    ("hyper", &["gateway", "upstream"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("ureq", &["cli", "sink"]),
];

/// Modules that do no I/O and know no framework.
const PURE: [&str; 4] = ["key", "route", "limit", "policy"];

/// What pure modules never name.
const IMPURE: [&str; 5] = ["tokio", "hyper", "axum", "notify", "socket2"];

/// Lines a file may have before its tests.
const MAX_LINES: usize = 400;

/// Flat tables, which may be longer.
const TABLES: [&str; 1] = ["src/config/fields.rs"];

/// A source file of the library.
struct Source {
    path: PathBuf,
    /// The module of the top level that it belongs to.
    module: String,
    text: String,
}

impl Source {
    /// The lines before the tests at the end of the file.
    fn product_lines(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
        lines[..tests.unwrap_or(lines.len())].to_vec()
    }

    /// The code before the tests, without comments.
    fn code(&self) -> String {
        let code: Vec<&str> =
            self.product_lines().into_iter().filter(|line| !line.trim_start().starts_with("//")).collect();
        code.join("\n")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files =
        rust_files(&root).into_iter().filter(|path| !path.ends_with("src/lib.rs") && !path.ends_with("src/main.rs"));
    let sources: Vec<Source> = files
        .map(|path| {
            let module = path.strip_prefix(&root).unwrap().iter().next().unwrap().to_str().unwrap();
            let module = module.trim_end_matches(".rs").to_owned();
            Source { module, text: fs::read_to_string(&path).unwrap(), path }
        })
        .collect();
    assert!(sources.len() >= ORDER.len());
    sources
}

/// The Rust files below a folder, without what a build has left there.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The first names after `prefix`, also out of a group: `crate::{a, b::c}`.
fn names_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(is_word) || code[..at].ends_with("::") {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => names.extend(group_names(group)),
            None => names.push(rest.chars().take_while(|&c| is_word(c)).collect()),
        }
    }
    names
}

/// The first names of the items of a group, up to its closing brace.
fn group_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut item) = (Vec::new(), 0_u32, String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut item)),
            _ => item.push(c),
        }
    }
    names.push(item);
    let first = |item: String| item.trim_start().chars().take_while(|&c| is_word(c)).collect::<String>();
    names.into_iter().map(first).filter(|name| !name.is_empty()).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[track_caller]
fn none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_modules_are_declared_in_their_order() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, ORDER);
}

#[test]
fn a_module_names_only_modules_above_it() {
    let place = |name: &str| ORDER.iter().position(|module| *module == name);
    let mut offences = Vec::new();
    for source in sources() {
        let own = place(&source.module).unwrap_or_else(|| panic!("{} is in no module", source.path.display()));
        for name in names_after(&source.code(), "crate::") {
            let may = place(&name).is_some_and(|other| other <= own);
            let knows_config =
                name != "config" || source.module == "config" || KNOW_CONFIG.contains(&source.module.as_str());
            let forbidden = FORBIDDEN.iter().any(|(who, whom)| *who == source.module && whom.contains(&name.as_str()));
            if !may || !knows_config || forbidden {
                offences.push(format!("{} names crate::{name}", source.path.display()));
            }
        }
    }
    none(&offences);
}

#[test]
fn no_module_reaches_its_neighbours_by_way_of_super() {
    let fronts = sources().into_iter().filter(|source| source.path.ends_with(format!("src/{}/mod.rs", source.module)));
    let offences =
        fronts.filter(|source| source.code().contains("super::")).map(|source| source.path.display().to_string());
    none(&offences.collect::<Vec<_>>());
}

#[test]
fn each_framework_comes_in_through_its_door() {
    let mut offences = Vec::new();
    for source in sources() {
        let code = source.code();
        for (package, doors) in DOORS {
            if names_package(&code, package) && !doors.contains(&source.module.as_str()) {
                offences.push(format!("{} names {package}", source.path.display()));
            }
        }
        for package in IMPURE {
            if PURE.contains(&source.module.as_str()) && names_package(&code, package) {
                offences.push(format!("{} names {package}", source.path.display()));
            }
        }
    }
    none(&offences);
}

/// Whether code names a package: `package::…` at the begin of a path, or in a derive of its own.
fn names_package(code: &str, package: &str) -> bool {
    let path = format!("{package}::");
    code.match_indices(&path).any(|(at, _)| !code[..at].ends_with(is_word) && !code[..at].ends_with("::"))
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files =
        [rust_files(&root.join("src")), rust_files(&root.join("tests")), rust_files(&root.join("benches"))].concat();
    let silent = files.into_iter().filter(|path| !fs::read_to_string(path).unwrap().starts_with("//! "));
    none(&silent.map(|path| path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn no_file_is_too_long_to_read() {
    let readable = |path: &Path| path.ends_with("tests.rs") || TABLES.iter().any(|table| path.ends_with(table));
    let long = sources().into_iter().filter(|source| !readable(&source.path));
    let long = long.map(|source| (source.product_lines().len(), source.path));
    let long = long
        .filter(|(lines, _)| *lines > MAX_LINES)
        .map(|(lines, path)| format!("{} has {lines} lines", path.display()));
    none(&long.collect::<Vec<_>>());
}

#[test]
fn no_test_is_switched_off() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mark = ["#[ig", "nore"].concat();
    let files = [rust_files(&root.join("src")), rust_files(&root.join("tests"))].concat();
    let off = files.into_iter().filter(|path| fs::read_to_string(path).unwrap().contains(&mark));
    none(&off.map(|path| path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn no_contract_comment_is_left() {
    let left = sources().into_iter().filter(|source| source.text.contains("// Contract:"));
    none(&left.map(|source| source.path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn names_are_found_in_every_form_of_a_path() {
    let names = |code| names_after(code, "crate::");
    assert_eq!(names("use crate::key::Digest;"), ["key"]);
    assert_eq!(names("use crate::{key::{Digest, Key}, limit, policy::Facts as F};"), ["key", "limit", "policy"]);
    assert_eq!(names("let a = crate::time::now(); pub(crate) fn b() {}"), ["time"]);
    assert_eq!(names("use other_crate::key; use a::crate::b;"), [""; 0]);
    assert!(
        names_package("use hyper::Request;", "hyper")
            && !names_package("use my::hyper::Request; hyper_util::x()", "hyper")
    );
}
