//! Request heads: any bytes, whole and cut in two, give the same answer and never a panic.
#![no_main]

use keygate::http1::{FieldSlots, HeadLimits, HeadScan, RequestHead, parse_target, valid_host};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { max_head_bytes: 4096, max_fields: 32, max_target_bytes: 1024 };

fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, bytes) = input;
    let whole = HeadScan::default().advance(&bytes, &LIMITS);
    let mut scan = HeadScan::default();
    let cut = usize::from(cut).min(bytes.len());
    if let (Ok(None), Ok(Some(end))) = (scan.advance(&bytes[..cut], &LIMITS), whole) {
        assert_eq!(scan.advance(&bytes, &LIMITS), Ok(Some(end)));
    }
    let Ok(Some(end)) = whole else { return };
    let mut slots = FieldSlots::new();
    let Ok(head) = RequestHead::parse(&bytes[..end], &mut slots, &LIMITS) else { return };
    // What was accepted holds no byte that could end a line somewhere else.
    assert!(!head.target.iter().any(|b| b.is_ascii_whitespace()));
    for field in head.fields {
        assert!(!field.name.is_empty() && !field.value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
        let _ = valid_host(field.value);
    }
    if let Ok(target) = parse_target(head.method, head.target) {
        assert!(target.path == b"*" || target.path.starts_with(b"/"));
    }
});
