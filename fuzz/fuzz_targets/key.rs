//! Presented keys and stored digests: any bytes are judged without a panic, and what is parsed prints as it was.
#![no_main]

use keygate::key::{Form, Hasher, StoredDigest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Form::default().check(bytes);
    assert_eq!(Hasher::default().digests(bytes).iter().count(), 1);
    if let Ok(stored) = String::from_utf8_lossy(bytes).parse::<StoredDigest>() {
        assert_eq!(stored.to_string().parse::<StoredDigest>().as_ref(), Ok(&stored));
    }
});
