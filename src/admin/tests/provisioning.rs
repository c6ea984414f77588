//! Token files.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::world::{OPERATOR, token};
use crate::admin::{Outcome, ProvisionError, Provisioned, provision};
use crate::catalog::{Catalog, Follower};
use crate::key::{Digest, TokenId, check_token};
use crate::store::{Action, Actor, Change, Commit, Expect, MemoryStore, Origin, Role};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

fn follower() -> Follower {
    Follower::start(Arc::new(MemoryStore::new()), Arc::new(Catalog::new())).unwrap()
}

fn one(follower: &Follower, path: &Path) -> Provisioned {
    provision(follower, &[path.to_owned()], NOW).unwrap().remove(0)
}

fn revoke(follower: &Follower, token: &TokenId) {
    let origin = Origin { at: NOW, actor: Actor::Cli, remote: None, request_id: None };
    let change = Change::RevokeToken(token.clone());
    let commit = Commit { change, expect: Expect::Anything, action: Action::TokenRevoke, origin, idempotency: None };
    follower.commit(commit).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_missing_file_is_made_with_a_token_that_works() {
    let (folder, follower) = (tempfile::tempdir().unwrap(), follower());
    let path = folder.path().join("data/admin.token");
    let made = one(&follower, &path);
    assert_eq!((made.outcome, made.warnings.len()), (Outcome::Made, 0));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(check_token(text.trim_end().as_bytes()), Ok(()));
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let known = follower.token(&Digest::of(text.trim_end().as_bytes())).unwrap();
    assert_eq!((known.id.clone(), known.name.as_str(), known.role), (made.token, "admin.token", Role::Operator));
    let again = one(&follower, &path);
    assert_eq!((again.outcome, again.token), (Outcome::Known, known.id));
    let rows = follower.store().audit(0, 10).unwrap();
    assert_eq!((rows.len(), rows[0].actor.as_str(), rows[0].action.as_str()), (1, "file", "token.create"));
    assert!(!format!("{rows:?} {again:?}", again = one(&follower, &path)).contains(&text[4..36]));
}

#[test]
fn a_file_that_is_there_is_taken_in_and_not_written() {
    let (folder, follower) = (tempfile::tempdir().unwrap(), follower());
    let path = folder.path().join("ops");
    fs::write(&path, format!("{}\n", token(OPERATOR))).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let taken = one(&follower, &path);
    assert_eq!(taken.outcome, Outcome::TakenIn);
    assert!(taken.warnings[0].contains("chmod 600"), "{:?}", taken.warnings);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", token(OPERATOR)));
    assert!(follower.token(&Digest::of(token(OPERATOR).as_bytes())).is_some());
}

#[test]
fn a_revoked_token_stays_revoked() {
    let (folder, follower) = (tempfile::tempdir().unwrap(), follower());
    let path = folder.path().join("ops");
    let made = one(&follower, &path);
    revoke(&follower, &made.token);
    let again = one(&follower, &path);
    assert_eq!((again.outcome, &again.token), (Outcome::Known, &made.token));
    assert!(again.warnings[0].contains("revoked"));
    assert_eq!(follower.store().tokens(None, 9).unwrap().len(), 1);
}

#[test]
fn a_file_with_something_else_is_left_alone() {
    let (folder, follower) = (tempfile::tempdir().unwrap(), follower());
    let path = folder.path().join("ops");
    for text in ["hello", &format!("{} {}", token(OPERATOR), token(OPERATOR))] {
        fs::write(&path, text).unwrap();
        let error = provision(&follower, std::slice::from_ref(&path), NOW).unwrap_err();
        assert!(matches!(error, ProvisionError::NoToken { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    let error = provision(&follower, &[folder.path().to_owned()], NOW).unwrap_err();
    assert!(matches!(error, ProvisionError::Io { .. }), "{error}");
    assert!(follower.store().tokens(None, 9).unwrap().is_empty());
}

#[test]
fn an_empty_file_is_as_good_as_none() {
    let (folder, follower) = (tempfile::tempdir().unwrap(), follower());
    let path = folder.path().join("ops");
    for text in ["", "\n"] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let made = one(&follower, &path);
        assert_eq!((made.outcome, mode(&path)), (Outcome::Made, 0o600));
        assert!(made.warnings[0].contains("was empty"), "{:?}", made.warnings);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(follower.token(&Digest::of(text.trim_end().as_bytes())).unwrap().id, made.token);
    }
}

#[test]
fn what_a_crash_left_beside_a_file_is_not_in_the_way() {
    let (folder, follower) = (tempfile::tempdir().unwrap(), follower());
    let path = folder.path().join("ops");
    fs::write(folder.path().join("ops.new"), "kga_half").unwrap();
    assert_eq!(one(&follower, &path).outcome, Outcome::Made);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["ops"]);
}

#[test]
fn a_file_that_is_made_anew_tells_which_tokens_of_it_are_still_valid() {
    let (folder, follower) = (tempfile::tempdir().unwrap(), follower());
    let paths = ["a/ops", "b/ops"].map(|name| folder.path().join(name));
    let first = provision(&follower, &paths, NOW).unwrap();
    assert!(first.iter().all(|one| one.warnings.is_empty()), "each is the token of a file: {first:?}");
    fs::remove_file(&paths[0]).unwrap();
    let again = provision(&follower, &paths, NOW).unwrap();
    assert_eq!((again[0].outcome, again[1].outcome), (Outcome::Made, Outcome::Known));
    let warning = &again[0].warnings[0];
    assert!(warning.contains(first[0].token.as_str()) && warning.contains("keygate tokens revoke"), "{warning}");
    assert!(!warning.contains(again[0].token.as_str()) && !warning.contains(first[1].token.as_str()), "{warning}");
    assert!(again[1].warnings.is_empty(), "{again:?}");
    assert!(provision(&follower, &paths, NOW).unwrap().iter().all(|one| one.warnings.is_empty()));
    revoke(&follower, &first[0].token);
    fs::remove_file(&paths[0]).unwrap();
    let warning = &provision(&follower, &paths, NOW).unwrap()[0].warnings[0];
    assert!(warning.contains(again[0].token.as_str()) && !warning.contains(first[0].token.as_str()), "{warning}");
}

#[test]
fn each_file_has_a_token_of_its_own() {
    let (folder, follower) = (tempfile::tempdir().unwrap(), follower());
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    let both = provision(&follower, &paths, NOW).unwrap();
    assert_ne!(both[0].token, both[1].token);
    assert_eq!(both.iter().map(|one| one.path.clone()).collect::<Vec<_>>(), paths);
}
