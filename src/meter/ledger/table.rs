//! Where a book's cells of the current minute are: from token, route and class to the place of the cell.
//!
//! A thousand small tables instead of one: growing moves a small part at a time, and a new minute clears nothing but what
//! it comes across. Room that was once needed is kept, so that the steady state allocates nothing.

use hashbrown::HashTable;

/// From what a use is about to where it is counted, in one minute.
#[derive(Debug)]
pub(super) struct Table {
    parts: Box<[Part]>,
    /// Goes up with each minute; a part of another round is as good as empty.
    round: u64,
}

#[derive(Debug, Default)]
struct Part {
    round: u64,
    places: HashTable<Entry>,
}

/// What a use is about, as its book knows it: the account's token, and route and class in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) token: u64,
    pub(super) path: u32,
}

#[derive(Debug)]
struct Entry {
    subject: Subject,
    place: u32,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { parts: (0..PARTS).map(|_| Part::default()).collect(), round: 1 }
    }

    /// The place of a cell, to be read or changed.
    #[inline]
    pub(super) fn find(&mut self, subject: Subject) -> Option<&mut u32> {
        let hash = subject.hash();
        let part = &mut self.parts[part_of(hash)];
        if part.round != self.round {
            return None;
        }
        part.places.find_mut(hash, |entry| entry.subject == subject).map(|entry| &mut entry.place)
    }

    /// Adds the place of a cell that was not found.
    pub(super) fn insert(&mut self, subject: Subject, place: u32) {
        let hash = subject.hash();
        let part = &mut self.parts[part_of(hash)];
        if part.round != self.round {
            part.round = self.round;
            part.places.clear();
        }
        part.places.insert_unique(hash, Entry { subject, place }, |entry| entry.subject.hash());
    }

    /// Forgets all places.
    pub(super) const fn clear(&mut self) {
        self.round += 1;
    }
}

impl Subject {
    /// Tokens are counted up; each bit of them has to reach all bits of the hash.
    #[inline]
    fn hash(self) -> u64 {
        let mixed = (self.token ^ u64::from(self.path).rotate_left(40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
    }
}

/// From bits that the part itself makes no use of: it takes the lowest and the highest ones.
#[inline]
const fn part_of(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

const PARTS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_found_until_all_is_forgotten() {
        let mut table = Table::new();
        let subject = |n: u32| Subject { token: u64::from(n / 3), path: n % 3 };
        for minute in 0..3 {
            for n in 0..10_000 {
                assert_eq!(table.find(subject(n)), None);
                table.insert(subject(n), n + minute);
            }
            for n in 0..10_000 {
                assert_eq!(table.find(subject(n)).copied(), Some(n + minute));
            }
            table.clear();
        }
    }

    #[test]
    fn tokens_in_a_row_spread_over_all_parts() {
        let mut counts = [0; PARTS];
        (0..100 * PARTS as u64).for_each(|token| counts[part_of(Subject { token, path: 258 }.hash())] += 1);
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }
}
