//! One file of the ledger, mapped; or memory of the same form, for when no file can be had.
//!
//! Made by the keeper, filled by one book, read by the keeper meanwhile. Of the flags each has one side that sets it; they
//! have a cache line of their own, which stays with the writer but for the keeper's look each sync interval.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::cell::{CellRef, Found};
use super::layout::{
    CELL_WORDS, FIXED_WORDS, HEAD_WORDS, Head, Label, SEALED_WORD, WORD_BYTES, sealed_minute, sealed_word,
};
use super::mapping::Mapping;

/// A file of the ledger in memory.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) head: Head,
    mapping: Mapping,
    pub(super) backing: Backing,
    flags: Flags,
}

/// Whether what is stored outlives the process.
#[derive(Debug)]
pub(super) enum Backing {
    /// It does.
    File { file: File, path: PathBuf },
    /// It does not.
    Memory,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Flags {
    /// Something was stored since the keeper looked.
    dirty: AtomicBool,
    /// The writer is to take its cells elsewhere.
    left: AtomicBool,
    /// The writer opens no more cells here.
    full: AtomicBool,
    /// The newest minute that has a cell here.
    newest: AtomicU32,
}

impl Segment {
    /// Makes a new file under a name of its own, with all its blocks on disk, and only then gives it this path.
    ///
    /// Blocks that were merely reserved would have to be entered into the file system's journal at each sync.
    pub(super) fn create(path: &Path, head: Head) -> io::Result<Self> {
        let new = path.with_extension("new");
        let made = fill_new(&new, &head).and_then(|file| {
            let mapping = Mapping::of_file(&file, head.layout.bytes)?;
            fs::rename(&new, path)?;
            File::open(folder_of(path))?.sync_all()?;
            Ok(Self::of(head, mapping, Backing::File { file, path: path.to_owned() }))
        });
        if made.is_err() {
            // What was reserved is given back, whichever name it has by now; the error is the caller's to tell.
            let _ = fs::remove_file(&new);
            let _ = fs::remove_file(path);
        }
        made
    }

    /// The same in memory.
    pub(super) fn in_memory(head: Head) -> io::Result<Self> {
        let mapping = Mapping::of_memory(head.layout.bytes)?;
        Ok(Self::of(head, mapping, Backing::Memory))
    }

    /// A copy of what a former process left in a file.
    pub(super) fn copied(head: Head, words: impl Iterator<Item = u64>) -> io::Result<Self> {
        let copy = Self::in_memory(head)?;
        copy.mapping.words().iter().zip(words).for_each(|(into, word)| into.store(word, Relaxed));
        Ok(copy)
    }

    const fn of(head: Head, mapping: Mapping, backing: Backing) -> Self {
        let (dirty, left, full) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        Self { head, mapping, backing, flags: Flags { dirty, left, full, newest: AtomicU32::new(0) } }
    }

    /// The cell at a place below the number of cells.
    #[inline]
    pub(super) fn cell(&self, place: u32) -> CellRef<'_> {
        CellRef(&self.cells()[place as usize])
    }

    #[inline]
    fn cells(&self) -> &[[AtomicU64; CELL_WORDS]] {
        &self.mapping.words()[HEAD_WORDS..self.head.layout.names()].as_chunks().0[..self.head.layout.cells as usize]
    }

    /// The words from one on.
    pub(super) fn words_from(&self, word: u32) -> &[AtomicU64] {
        self.mapping.words().get(word as usize..).unwrap_or_default()
    }

    /// What is in each place, in the order in which cells were opened.
    pub(super) fn found(&self) -> impl Iterator<Item = (u32, Found)> {
        (0..).zip(self.cells()).map(|(place, words)| (place, CellRef(words).found(self.head.epoch, place)))
    }

    /// The cells.
    pub(super) fn opened(&self) -> impl Iterator<Item = (u32, Label)> {
        self.found().filter_map(|(place, found)| match found {
            Found::Whole(label) => Some((place, label)),
            Found::Nothing | Found::Torn => None,
        })
    }

    /// Says that something was stored. The writer, after storing it.
    #[inline]
    pub(super) fn touch(&self) {
        self.flags.dirty.store(true, Release);
    }

    /// Whether something was stored since the last time. The keeper, before making it durable.
    pub(super) fn take_dirty(&self) -> bool {
        self.flags.dirty.swap(false, AcqRel)
    }

    /// Whether something is stored that was not looked after.
    pub(super) fn is_dirty(&self) -> bool {
        self.flags.dirty.load(Relaxed)
    }

    /// Tells the writer to take its cells elsewhere.
    pub(super) fn leave(&self) {
        self.flags.left.store(true, Release);
    }

    /// Whether the writer is to take its cells elsewhere.
    #[inline]
    pub(super) fn is_left(&self) -> bool {
        self.flags.left.load(Relaxed)
    }

    /// Says that no more cells are opened here.
    pub(super) fn close(&self) {
        self.flags.full.store(true, Release);
    }

    /// Whether no cell is opened here any more.
    pub(super) fn is_closed(&self) -> bool {
        self.flags.full.load(Acquire)
    }

    /// Notes the minute of a new cell.
    pub(super) fn note_minute(&self, minute: u32) {
        self.flags.newest.fetch_max(minute, Relaxed);
    }

    /// The newest minute that has a cell here; 0 if none has.
    pub(super) fn newest_minute(&self) -> u32 {
        self.flags.newest.load(Relaxed)
    }

    pub(super) const fn is_memory(&self) -> bool {
        matches!(self.backing, Backing::Memory)
    }

    /// Its path, if it is a file.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.backing {
            Backing::File { path, .. } => Some(path),
            Backing::Memory => None,
        }
    }

    /// Waits until what is stored is on disk. After an error never again for this file: the system may have dropped what
    /// it could not write, and says so only once.
    pub(super) fn make_durable(&self) -> io::Result<()> {
        match &self.backing {
            Backing::File { file, .. } => file.sync_data(),
            Backing::Memory => Ok(()),
        }
    }

    /// Takes over all cells and names of another segment of the same form, place by place. Again and again, if need be:
    /// totals are raised, the rest is the same. Cells that its writer opens meanwhile are taken the next time.
    pub(super) fn take_over(&self, from: &Self) {
        let opened: Vec<(u32, Label)> = from.opened().collect();
        let names = self.head.layout.names() as u32;
        for (into, word) in self.words_from(names).iter().zip(from.words_from(names)) {
            into.store(word.load(Relaxed), Relaxed);
        }
        for (place, label) in opened {
            let cell = self.cell(place);
            cell.open(&label, self.head.epoch, place);
            cell.raise(&from.cell(place).amount());
            self.note_minute(label.minute);
        }
    }

    /// Notes that all cells up to a minute are sealed.
    pub(super) fn note_sealed(&self, minute: u32) {
        if let Some(word) = self.mapping.words().get(SEALED_WORD) {
            word.store(sealed_word(self.head.epoch, minute), Relaxed);
        }
    }

    /// Up to which minute all cells are sealed.
    pub(super) fn sealed_minute(&self) -> u32 {
        self.mapping.words().get(SEALED_WORD).map_or(0, |word| sealed_minute(self.head.epoch, word.load(Relaxed)))
    }
}

/// A new file with this head and otherwise 0, on disk.
fn fill_new(path: &Path, head: &Head) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, head.layout.bytes as u64) {
        // Where the file system cannot reserve, writing tells whether there is room.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let mut content = vec![0; head.layout.bytes];
    let words: [u64; FIXED_WORDS] = head.encode();
    for (bytes, word) in content.as_chunks_mut::<WORD_BYTES>().0.iter_mut().zip(words) {
        *bytes = word.to_ne_bytes();
    }
    file.write_all(&content)?;
    file.sync_all()?;
    Ok(file)
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
