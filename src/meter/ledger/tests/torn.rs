//! Files that are not as they were written: what is damaged is told, the rest is right, nothing is removed.

use std::fs;

use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_assume, proptest};

use super::layout::{CELL_WORDS, HEAD_WORDS, LABEL_WORDS, Layout, VERSION, WORD_BYTES};
use super::*;

const CELLS: u32 = 25;
const PAGE: usize = HEAD_WORDS * WORD_BYTES;
const CELL: usize = CELL_WORDS * WORD_BYTES;

/// A folder with one file of a dead process, and its path.
fn left() -> (TempDir, std::path::PathBuf) {
    let folder = quick_folder();
    let mut keeper = open(folder.path(), SMALL);
    let mut book = keeper.book().unwrap();
    keeper.prepare().unwrap();
    (0..CELLS).for_each(|n| count(&mut book, n, RouteId::NONE, requests(u64::from(n) + 1), minute(1)));
    drop((keeper, book));
    let path = folder::files(folder.path()).unwrap().remove(0);
    (folder, path)
}

fn check_kept(folder: &Path, path: &Path, fault: Fault) {
    let keeper = open(folder, SMALL);
    let replay = keeper.replay().unwrap();
    assert_eq!(replay.damage(), [Damage { path: path.to_owned(), fault }]);
    assert!(!replay.damage()[0].to_string().is_empty());
    let before = fs::read(path).unwrap();
    replay.discard().unwrap();
    let aside = if fault == Fault::Foreign { path.to_owned() } else { path.with_extension("damaged") };
    assert_eq!(fs::read(aside).unwrap(), before, "it is kept");
    assert_eq!(keeper.replay().unwrap().cells().len(), 0);
}

#[test]
fn a_file_with_a_damaged_head_is_put_aside() {
    let (folder, path) = left();
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    check_kept(folder.path(), &path, Fault::Head);
}

#[test]
fn a_file_that_is_cut_short_is_put_aside() {
    for length in [SMALL - 1, PAGE, 64] {
        let (folder, path) = left();
        fs::write(&path, &fs::read(&path).unwrap()[..length]).unwrap();
        check_kept(folder.path(), &path, Fault::Length);
    }
}

#[test]
fn a_file_of_others_is_left_alone() {
    for content in ["", "mine", &"x".repeat(SMALL)] {
        let (folder, path) = left();
        fs::write(&path, content).unwrap();
        check_kept(folder.path(), &path, Fault::Foreign);
    }
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_kept() {
    let (folder, path) = left();
    let mut bytes = fs::read(&path).unwrap();
    // The version is the upper half of word 1; the sum of words 0 to 6 is word 7.
    let words: Vec<u64> = bytes.as_chunks::<8>().0[..7].iter().map(|word| u64::from_ne_bytes(*word)).collect();
    let newer = words[1] + (1 << 32);
    bytes[8..16].copy_from_slice(&newer.to_ne_bytes());
    let covered: Vec<u8> = [words[0], newer].iter().chain(&words[2..]).flat_map(|word| word.to_le_bytes()).collect();
    bytes[56..64].copy_from_slice(&u64::from(crc32fast::hash(&covered)).to_ne_bytes());
    fs::write(&path, bytes).unwrap();
    let refused = open(folder.path(), SMALL).replay().unwrap_err();
    assert!(matches!(refused, LedgerError::Newer { found, known: VERSION, .. } if found == VERSION + 1), "{refused}");
    assert!(path.exists());
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 64, ..Default::default() })]

    /// The label of a cell is changed, or part of it was never written.
    #[test]
    fn a_torn_cell_is_told_and_the_others_are_right(
        cell in 0..CELLS as usize, from in 0..LABEL_WORDS * WORD_BYTES, length in 1..8_usize, change: [u8; 8], zero: bool,
    ) {
        let (folder, path) = left();
        let whole = totals(open(folder.path(), SMALL).replay().unwrap().cells());
        let mut bytes = fs::read(&path).unwrap();
        let before = bytes.clone();
        let label = PAGE + cell * CELL;
        for (byte, change) in bytes[label + from..label + LABEL_WORDS * WORD_BYTES].iter_mut().zip(&change[..length]) {
            *byte = if zero { 0 } else { *byte ^ change };
        }
        prop_assume!(bytes != before);
        fs::write(&path, bytes).unwrap();
        let replay = open(folder.path(), SMALL).replay().unwrap();
        prop_assert_eq!(replay.damage(), [Damage { path, fault: Fault::Cells(1) }]);
        let read = totals(replay.cells());
        prop_assert_eq!(read.len(), whole.len() - 1);
        prop_assert!(read.iter().all(|(what, amount)| whole[what] == *amount));
    }

    /// Whole sectors are as they were before: empty.
    #[test]
    fn sectors_that_never_reached_the_disk_are_never_misread(lost: [bool; 16]) {
        let (folder, path) = left();
        let whole = totals(open(folder.path(), SMALL).replay().unwrap().cells());
        let mut bytes = fs::read(&path).unwrap();
        let sectors = bytes[PAGE..].chunks_mut(512).zip(lost).filter(|(_, lost)| *lost);
        sectors.for_each(|(sector, _)| sector.fill(0));
        fs::write(&path, bytes).unwrap();
        let read = totals(open(folder.path(), SMALL).replay().unwrap().cells());
        prop_assert!(read.iter().all(|(what, amount)| whole[what] == *amount));
    }

    /// Anything at all behind the head.
    #[test]
    fn noise_is_no_usage(seed: u64, many in 1..200_usize, values in proptest::collection::vec(any::<u8>(), 8)) {
        let (folder, path) = left();
        let mut bytes = fs::read(&path).unwrap();
        let names = Layout::of(SMALL).names() * WORD_BYTES;
        for n in 0..many {
            let at = PAGE + (seed as usize).wrapping_mul(n + 1) % (names - PAGE) / CELL * CELL + n % 24;
            bytes[at] ^= values[n % 8] | 1;
        }
        fs::write(&path, bytes).unwrap();
        let whole: Vec<Amount> = (1..=u64::from(CELLS)).map(requests).collect();
        let replay = open(folder.path(), SMALL).replay().unwrap();
        prop_assert!(replay.cells().all(|cell| whole.contains(&cell.amount)));
    }
}
