//! Secrets that have ended, and secrets that the file alone had: they come back for nobody.

use super::sources::{BEGIN, follow, leads_to, put, stored};
use super::*;
use crate::store::MemoryStore;
use crate::time::Timestamp;

#[test]
fn a_secret_that_was_rotated_out_does_not_come_back_with_the_file() {
    let mut rotated = stored("s", &[3, 2, 1], State::Active);
    let end = Timestamp::from_unix_ms(BEGIN.as_unix_ms() + 1000);
    (rotated.secrets[1].until, rotated.secrets[2].until) = (Some(end), Some(BEGIN));
    for other in ["f", "s"] {
        let catalog = Catalog::new();
        let ends = |n| {
            let found = find(&catalog, n).unwrap();
            found.record.rights(&catalog.rules(), found.secret).expires
        };
        for n in [1, 2] {
            // In either order, and for a key of its own as well as for the same.
            apply(&catalog, &[], &[file_key(other, None, &[n])]);
            follow(&catalog, rotated.clone());
            let is_over = |n, end| ends(n).is_some_and(|at| at <= end);
            assert!(is_over(1, BEGIN) && is_over(2, end), "{other} {n}");
            assert!(!catalog.conflicts().is_empty());
            apply(&catalog, &[], &[]);
            leads_to(&catalog, 3, "s", State::Active);
            apply(&catalog, &[], &[file_key(other, None, &[n])]);
            assert!(is_over(1, BEGIN) && is_over(2, end), "{other} {n}");
        }
        apply(&catalog, &[], &[file_key(other, None, &[4, 1])]);
        assert_eq!((ends(4), ends(1), id(&catalog, 4).as_str()), (None, Some(BEGIN), other));
    }
}

#[test]
fn a_secret_is_taken_from_the_file_when_the_store_rotates_it_out() {
    let catalog = Catalog::new();
    apply(&catalog, &[], &[file_key("f", None, &[1])]);
    follow(&catalog, stored("s", &[1], State::Active));
    leads_to(&catalog, 1, "f", State::Active);
    let mut rotated = stored("s", &[2, 1], State::Active);
    rotated.secrets[1].until = Some(BEGIN);
    follow(&catalog, rotated);
    leads_to(&catalog, 1, "s", State::Active);
    let found = find(&catalog, 1).unwrap();
    assert_eq!(found.record.rights(&catalog.rules(), found.secret).expires, Some(BEGIN));
}

#[test]
fn the_use_of_a_live_secret_is_not_that_of_one_that_has_ended() {
    let catalog = Catalog::new();
    let mut rotated = stored("s", &[3, 2, 1], State::Active);
    rotated.secrets[2].until = Some(BEGIN);
    follow(&catalog, rotated);
    let found = find(&catalog, 2).unwrap();
    found.record.entry().note_use(&found.record, found.secret, BEGIN);
    assert_eq!([1, 2, 3].map(|n| catalog.keys().last_use(&digest(n))), [None, Some(BEGIN), None]);
    let mut uses = Vec::new();
    catalog.keys().used_since(BEGIN, &mut |digest, at| uses.push((digest, at)));
    assert_eq!(uses, [(digest(2), BEGIN)]);
}

#[test]
fn a_revoked_key_keeps_the_secrets_that_had_ended() {
    let catalog = Catalog::new();
    let mut revoked = stored("s", &[2, 1], State::Revoked);
    revoked.secrets[1].until = Some(BEGIN);
    follow(&catalog, revoked);
    apply(&catalog, &[], &[file_key("f", None, &[1])]);
    leads_to(&catalog, 1, "s", State::Revoked);
}

#[test]
fn an_older_secret_ends_when_its_time_is_over() {
    let catalog = Catalog::new();
    let end = Timestamp::from_unix_ms(BEGIN.as_unix_ms() + 1000);
    let mut rotated = stored("s", &[2, 1], State::Active);
    rotated.secrets[1].until = Some(end);
    follow(&catalog, rotated.clone());
    let ends = |n| {
        let found = find(&catalog, n).unwrap();
        found.record.rights(&catalog.rules(), found.secret).expires
    };
    assert_eq!((ends(2), ends(1)), (None, Some(end)));
    assert!(ptr::eq(find(&catalog, 1).unwrap().record.entry(), find(&catalog, 2).unwrap().record.entry()));
}

#[test]
fn what_the_file_had_of_a_key_that_it_revokes_stays_revoked_too() {
    let follower = Follower::start(Arc::new(MemoryStore::new()), Arc::new(Catalog::new())).unwrap();
    follower.commit(put("s", &[1])).unwrap();
    follower.commit(put("other", &[3])).unwrap();
    let of = |id: &str, digests: &[u64], state| {
        let digests = digests.iter().copied().map(digest).collect();
        FileKey { key: Key { state, ..key(id, None) }, digests }
    };
    // The third digest is the other's, which has it and keeps it.
    apply(follower.catalog(), &[], &[of("s", &[1, 2, 3], State::Revoked)]);
    follower.adopt_revocations().unwrap();
    let (_, stored) = follower.store().key(&"s".parse().unwrap()).unwrap().unwrap();
    let digests: Vec<_> = stored.secrets.iter().map(|secret| secret.digest.digest).collect();
    assert_eq!((stored.key.state, digests), (State::Revoked, vec![digest(1), digest(2)]));
    apply(follower.catalog(), &[], &[of("new", &[2], State::Active)]);
    leads_to(follower.catalog(), 1, "s", State::Revoked);
    leads_to(follower.catalog(), 2, "s", State::Revoked);
    leads_to(follower.catalog(), 3, "other", State::Active);
    let row = follower.store().audit(2, 1).unwrap().remove(0);
    assert_eq!((row.action.as_str(), row.actor.as_str()), ("key.revoke", "file"));
}
