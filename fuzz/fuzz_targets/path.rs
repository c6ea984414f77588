//! Paths: what is accepted is normal, stays normal, and leads nowhere else once it is decoded.
#![no_main]

use keygate::route::{EmptySegments, EncodedSlashes, PathOptions, normalise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (choice, raw) = input;
    let options = PathOptions {
        encoded_slashes: if choice & 1 == 0 { EncodedSlashes::Reject } else { EncodedSlashes::Keep },
        empty_segments: match choice >> 1 & 3 {
            0 => EmptySegments::Reject,
            1 => EmptySegments::Merge,
            _ => EmptySegments::Keep,
        },
    };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let Ok(path) = normalise(&raw, options, &mut first) else { return };
    assert_eq!(normalise(path, options, &mut second), Ok(path));
    assert!(path.starts_with(b"/") && !path.contains(&b'\\') && !path.contains(&b'?'));
    assert!(!path.split(|b| *b == b'/').any(|segment| matches!(segment, b"." | b"..")));
});
