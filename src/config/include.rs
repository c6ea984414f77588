//! Included files: from the patterns of `include` to the sources, in the order of the patterns and then of the names.
//!
//! A pattern has `*` in its last part alone. A path without `*` must exist; a pattern may find nothing. Called by
//! `config::load` after the main file has been parsed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::fields::ROOT;
use super::node::Node;
use super::problem::{Mark, Problems, shown};
use super::reader::Reader;
use super::source::{Reach, Source};

/// Reads the files that the main file includes; what cannot be read is a problem and left out.
pub(super) fn read(main: &Source, root: &Node<'_>, files: &mut Vec<PathBuf>, problems: &mut Problems) -> Vec<Source> {
    let patterns = Reader::new(root, root.at, ROOT).texts("include");
    let Reach::Folder(folder) = main.reach() else {
        if let Some((_, at)) = patterns.first() {
            problems.error(*at, "nothing can be included here", "write everything into the one text");
        }
        return Vec::new();
    };
    let mut sources = Vec::new();
    let mut seen: HashSet<PathBuf> = Path::new(main.name()).canonicalize().into_iter().collect();
    for (pattern, at) in patterns {
        for path in matching(&folder.join(pattern), at, files, problems) {
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                let message = format!("the file {} is included twice", shown(&path.display().to_string()));
                problems.error(
                    at,
                    message,
                    "take one of the patterns out, or make it narrower; a file cannot include itself",
                );
                continue;
            }
            if sources.len() == MAX_INCLUDED {
                problems.error(
                    at,
                    format!("more than {MAX_INCLUDED} files are included"),
                    "put several keys into one file",
                );
                return sources;
            }
            match Source::read(&path) {
                Ok(source) => sources.push(source),
                Err(error) => {
                    let message = format!("the file {} {error}", shown(&path.display().to_string()));
                    problems.error(at, message, error.remedy());
                }
            }
            files.push(path);
        }
    }
    sources
}

/// The paths that a pattern stands for, sorted.
fn matching(pattern: &Path, at: Mark, files: &mut Vec<PathBuf>, problems: &mut Problems) -> Vec<PathBuf> {
    let (folder, name) =
        (pattern.parent().unwrap_or(Path::new("")), pattern.file_name().and_then(|name| name.to_str()));
    if folder.to_string_lossy().contains('*') {
        problems.error(at, "`*` may stand in the last part of a path only", "write one pattern for each folder");
        return Vec::new();
    }
    let Some(name) = name.filter(|name| name.contains('*')) else {
        return vec![pattern.to_owned()];
    };
    files.push(folder.to_owned());
    let entries = match std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }) {
        Ok(entries) => entries,
        Err(error) => {
            let message = format!("the folder {} cannot be read: {error}", shown(&folder.display().to_string()));
            problems.warn(at, message, "nothing is included from there: make the folder, or correct the path");
            return Vec::new();
        }
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut paths: Vec<PathBuf> =
        names.filter(|found| !found.starts_with('.') && matches(name, found)).map(|found| folder.join(found)).collect();
    paths.retain(|path| !path.is_dir());
    paths.sort();
    paths
}

/// Whether a name fits a pattern in which each `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(before) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(found) = name.find(part) else {
            return false;
        };
        name = &name[found + part.len()..];
    }
    name.ends_with(last)
}

const MAX_INCLUDED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}")
        };
        check("*.yaml", "acme.yaml", true);
        check("*.yaml", ".yaml", true);
        check("*.yaml", "acme.yml", false);
        check("keys-*-eu.*", "keys-acme-eu.yaml", true);
        check("keys-*-eu.*", "keys-acme-us.yaml", false);
        check("*", "anything", true);
        check("a*a", "a", false);
        check("a**b", "ab", true);
        check("plain", "plain", true);
        check("plain", "plainer", false);
    }
}
