//! The files of the page, as they are in `console/` at the root of the repository, compiled in.
//!
//! A file that is not in [`FILES`] is not served. Called by the front page of this module.

use std::collections::HashMap;
use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

/// The page itself.
pub(super) const INDEX: &[u8] = include_bytes!("../../console/index.html");

/// Path below `/assets/`, and content. Paths are those below `console/`.
const FILES: [(&str, &[u8]); 57] = [
    ("base.css", include_bytes!("../../console/base.css")),
    ("icon.svg", include_bytes!("../../console/icon.svg")),
    ("lib/announce.js", include_bytes!("../../console/lib/announce.js")),
    ("lib/api.js", include_bytes!("../../console/lib/api.js")),
    ("lib/audit.js", include_bytes!("../../console/lib/audit.js")),
    ("lib/clipboard.js", include_bytes!("../../console/lib/clipboard.js")),
    ("lib/csv.js", include_bytes!("../../console/lib/csv.js")),
    ("lib/curl.js", include_bytes!("../../console/lib/curl.js")),
    ("lib/format.js", include_bytes!("../../console/lib/format.js")),
    ("lib/keys.js", include_bytes!("../../console/lib/keys.js")),
    ("lib/load.js", include_bytes!("../../console/lib/load.js")),
    ("lib/route.js", include_bytes!("../../console/lib/route.js")),
    ("lib/session.js", include_bytes!("../../console/lib/session.js")),
    ("lib/theme.js", include_bytes!("../../console/lib/theme.js")),
    ("lib/ui.js", include_bytes!("../../console/lib/ui.js")),
    ("lib/usage.js", include_bytes!("../../console/lib/usage.js")),
    ("main.js", include_bytes!("../../console/main.js")),
    ("pages/audit.js", include_bytes!("../../console/pages/audit.js")),
    ("pages/explain.js", include_bytes!("../../console/pages/explain.js")),
    ("pages/key.js", include_bytes!("../../console/pages/key.js")),
    ("pages/keys.js", include_bytes!("../../console/pages/keys.js")),
    ("pages/rules.js", include_bytes!("../../console/pages/rules.js")),
    ("pages/sign-in.js", include_bytes!("../../console/pages/sign-in.js")),
    ("pages/status.js", include_bytes!("../../console/pages/status.js")),
    ("pages/usage.js", include_bytes!("../../console/pages/usage.js")),
    ("parts.css", include_bytes!("../../console/parts.css")),
    ("parts/audit-text.js", include_bytes!("../../console/parts/audit-text.js")),
    ("parts/chart.js", include_bytes!("../../console/parts/chart.js")),
    ("parts/create-dialog.js", include_bytes!("../../console/parts/create-dialog.js")),
    ("parts/delete-dialog.js", include_bytes!("../../console/parts/delete-dialog.js")),
    ("parts/dialog.js", include_bytes!("../../console/parts/dialog.js")),
    ("parts/edit-dialog.js", include_bytes!("../../console/parts/edit-dialog.js")),
    ("parts/icons.js", include_bytes!("../../console/parts/icons.js")),
    ("parts/key-actions.js", include_bytes!("../../console/parts/key-actions.js")),
    ("parts/key-fields.js", include_bytes!("../../console/parts/key-fields.js")),
    ("parts/key-table.js", include_bytes!("../../console/parts/key-table.js")),
    ("parts/limits.js", include_bytes!("../../console/parts/limits.js")),
    ("parts/menu.js", include_bytes!("../../console/parts/menu.js")),
    ("parts/pager.js", include_bytes!("../../console/parts/pager.js")),
    ("parts/reveal-stored.js", include_bytes!("../../console/parts/reveal-stored.js")),
    ("parts/reveal.js", include_bytes!("../../console/parts/reveal.js")),
    ("parts/rotate-dialog.js", include_bytes!("../../console/parts/rotate-dialog.js")),
    ("parts/shell.js", include_bytes!("../../console/parts/shell.js")),
    ("parts/sparkline.js", include_bytes!("../../console/parts/sparkline.js")),
    ("parts/text.js", include_bytes!("../../console/parts/text.js")),
    ("parts/usage-chart.js", include_bytes!("../../console/parts/usage-chart.js")),
    ("shell.css", include_bytes!("../../console/shell.css")),
    ("begin.js", include_bytes!("../../console/begin.js")),
    ("vendor/README.md", include_bytes!("../../console/vendor/README.md")),
    ("vendor/htm/LICENSE", include_bytes!("../../console/vendor/htm/LICENSE")),
    ("vendor/htm/htm.js", include_bytes!("../../console/vendor/htm/htm.js")),
    ("vendor/preact/LICENSE", include_bytes!("../../console/vendor/preact/LICENSE")),
    ("vendor/preact/hooks.js", include_bytes!("../../console/vendor/preact/hooks.js")),
    ("vendor/preact/preact.js", include_bytes!("../../console/vendor/preact/preact.js")),
    ("vendor/uplot/LICENSE", include_bytes!("../../console/vendor/uplot/LICENSE")),
    ("vendor/uplot/uplot.css", include_bytes!("../../console/vendor/uplot/uplot.css")),
    ("vendor/uplot/uplot.js", include_bytes!("../../console/vendor/uplot/uplot.js")),
];

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
