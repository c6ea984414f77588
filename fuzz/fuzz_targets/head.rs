//! Request heads: any bytes, whole and cut in two, give the same head or none, and never a panic.
#![no_main]

use keygate::http1::{FieldSlots, HeadLimits, HeadScan, RequestHead, parse_target, valid_host};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { max_head_bytes: 4096, max_fields: 32, max_target_bytes: 1024 };

fuzz_target!(|input: (u16, Vec<u8>)| {
    let (cut, bytes) = input;
    let (mut scan, mut slots, mut slots_of_cut) = (HeadScan::default(), FieldSlots::new(), FieldSlots::new());
    let whole = head(&mut HeadScan::default(), &bytes, &mut slots);
    let cut = usize::from(cut).min(bytes.len());
    if scan.advance(&bytes[..cut], &LIMITS) == Ok(None) {
        let after_cut = head(&mut scan, &bytes, &mut slots_of_cut);
        assert_eq!(after_cut.map(|head| head.length), whole.map(|head| head.length));
    }
    let Some(head) = whole else { return };
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

fn head<'b, 's>(scan: &mut HeadScan, bytes: &'b [u8], slots: &'s mut FieldSlots<'b>) -> Option<RequestHead<'b, 's>> {
    let most = scan.advance(bytes, &LIMITS).ok()??;
    RequestHead::parse(&bytes[..most], slots, &LIMITS).ok()
}
