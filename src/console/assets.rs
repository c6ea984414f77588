//! The files of the page, as they are in `console/` at the root of the repository, compiled in.
//!
//! A file that is not in [`FILES`] is not served. Called by the front page of this module.

use std::collections::HashMap;
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

/// The page itself.
pub(super) const INDEX: &[u8] = include_bytes!("../../console/index.html");

/// Path below `/assets/`, and content. Paths are those below `console/`.
const FILES: [(&str, &[u8]); 0] = [];

/// A file with what goes along with it.
pub(super) struct Asset {
    pub(super) kind: &'static str,
    /// Changes with the content.
    pub(super) tag: &'static str,
    pub(super) bytes: &'static [u8],
}

/// The file at this path.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.get(path)
}

static ASSETS: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
    let assets = FILES.iter().map(|(path, bytes)| (*path, Asset { kind: kind(path), tag: tag(bytes), bytes }));
    assets.collect()
});

/// The media type, by the end of the name.
fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}

fn tag(bytes: &[u8]) -> &'static str {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    // Made once per file and process.
    Box::leak(format!("\"{hex}\"").into_boxed_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let mut folders = vec![root.clone()];
        let mut there = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                match path.is_dir() {
                    true => folders.push(path),
                    false => drop(there.insert(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned())),
                }
            }
        }
        let mut served: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        served.insert("index.html".to_owned());
        assert_eq!(served, there);
    }

    #[test]
    fn scripts_and_styles_have_the_types_that_browsers_insist_on() {
        for (path, expected) in [
            ("main.js", "text/javascript; charset=utf-8"),
            ("lib/a.mjs", "text/javascript; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
            ("vendor/x/LICENSE", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(kind(path), expected, "{path}");
        }
    }
}
