//! Fingerprints: which rows the table has of a slice, batch by batch, so that unchanged rows are not sent to Postgres.
//!
//! Each key of a fingerprint is in the table, with the content of its digest. All fingerprints of a slice together,
//! with the keys in `gone`, know all its rows; so a row that is in no batch of a reading has vanished. Nothing here
//! knows SQL.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::key_hasher::KeyHasher;
use super::layout::Layout;

/// Rows merged by one statement; also bounds the map that counts identical records.
pub const BATCH_ROWS_MAX: usize = 10_000;
/// To be changed when records are split or encoded in another way; older fingerprints then match no row.
const ENCODING: u8 = 2;
/// The shape of a fingerprint whose digests cannot be compared.
const NO_SHAPE: i64 = 0;

/// What is known of a batch since it was last loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Hash of the layout that its rows were encoded with.
    pub shape: i64,
    /// In the order of the vendor's report.
    pub keys: Vec<u128>,
    /// One for each key. Empty if keys are hashes of the whole content.
    pub digests: Vec<u64>,
    /// Rows of the table that the batch had before this reading.
    pub gone: Vec<u128>,
}

/// A row compared with the last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowKind {
    /// The batch did not have its key.
    #[default]
    New,
    /// The batch had its key, possibly with another content.
    Known,
    /// The batch had its key, with another content in the same columns.
    Changed,
    /// An earlier row of the batch has its key, which the batch had before.
    Repeated,
    /// The row lies in a second that it shares with a neighbouring slice.
    Shared,
}

/// What the comparison did with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOutcome {
    /// Left out: the table has an identical row.
    Skipped,
    /// Loaded; the batch had its key before.
    Known,
    /// Loaded; the batch did not have its key.
    New,
}

/// The fingerprint of a batch that was read, and how it differs from the stored one.
#[derive(Debug, Default)]
pub struct BatchFingerprint {
    pub batch: u32,
    pub now: Fingerprint,
    /// One for each key.
    pub outcomes: Vec<RowOutcome>,
    /// Whether a key was reported twice.
    pub doubled: bool,
    /// Whether it differs from the stored fingerprint.
    pub differs: bool,
    /// Whether its keys are others than the stored ones, or in another order.
    pub moved: bool,
}

impl BatchFingerprint {
    /// The keys of the rows with this outcome.
    pub fn keys(&self, outcome: RowOutcome) -> impl Iterator<Item = u128> {
        self.now.keys.iter().zip(&self.outcomes).filter(move |(_, other)| **other == outcome).map(|(key, _)| *key)
    }

    /// Removes rows that belong to another slice. The table may still have them from an earlier reading.
    pub fn take_out(&mut self, dropped: &HashSet<u128>) {
        if dropped.is_empty() {
            return;
        }
        let digested = !self.now.digests.is_empty();
        let mut kept = 0;
        for at in 0..self.now.keys.len() {
            if !dropped.contains(&self.now.keys[at]) {
                self.now.keys.swap(kept, at);
                self.outcomes.swap(kept, at);
                if digested {
                    self.now.digests.swap(kept, at);
                }
                kept += 1;
            }
        }
        self.now.keys.truncate(kept);
        self.outcomes.truncate(kept);
        self.now.digests.truncate(kept);
        self.now.gone.extend(dropped);
        self.differs = true;
        self.moved = true;
    }

    /// Approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        (self.now.keys.len() + self.now.gone.len()) * size_of::<u128>()
            + self.now.digests.len() * size_of::<u64>()
            + self.outcomes.len()
    }
}

/// Compares the rows of a reading with the stored fingerprints, which must be provided in advance.
#[derive(Debug)]
pub struct Fingerprinter {
    /// Whether rows may be left out. The loader clears it when it needs all of them.
    skipping: Arc<AtomicBool>,
    /// `None` for a batch without a fingerprint.
    known: BTreeMap<u32, Option<Arc<Fingerprint>>>,
    /// The first batch of the page.
    first: u32,
    /// The shape of the current rows. It may change within a batch.
    shape: i64,
    mixed: bool,
    /// Whether keys are hashes of the whole content.
    by_content: bool,
    current: BatchFingerprint,
    /// Capacity hint: size of the previous batch.
    rows: usize,
    // The following fields belong to the stored fingerprint of the current batch.
    found: Vec<bool>,
    next: usize,
    /// Positions of the keys, sorted by key. Filled when a key is not at the expected position.
    by_key: Vec<u32>,
}

/// After this many rows of a batch, the fingerprint of the next batch is requested too, so that it arrives in time.
const NEXT_WANTED_ROWS: usize = BATCH_ROWS_MAX / 2;

impl Fingerprinter {
    /// Starts with batch `first` of a reading.
    pub fn new(first: u32, by_content: bool, skipping: Arc<AtomicBool>) -> Self {
        Self {
            skipping,
            known: BTreeMap::new(),
            first,
            shape: NO_SHAPE,
            mixed: false,
            by_content,
            current: BatchFingerprint { batch: first, ..BatchFingerprint::default() },
            rows: 0,
            found: Vec::new(),
            next: 0,
            by_key: Vec::new(),
        }
    }

    /// The batch whose fingerprint must be provided next, if any.
    pub fn wanted(&self) -> Option<u32> {
        if !self.skipping.load(Ordering::Relaxed) {
            return None;
        }
        let ahead = u32::from(self.current.now.keys.len() >= NEXT_WANTED_ROWS);
        (self.current.batch..=self.current.batch + ahead).find(|batch| !self.known.contains_key(batch))
    }

    /// Provides a batch's fingerprint, or `None` if it has none.
    pub fn provide(&mut self, batch: u32, known: Option<Fingerprint>) {
        self.known.insert(batch, known.map(Arc::new));
    }

    /// Begins a page, or begins the current one again.
    pub(crate) fn begin_page(&mut self) {
        self.begin_batch(self.first);
    }

    pub(crate) fn end_page(&mut self) {
        self.first = self.current.batch;
    }

    fn begin_batch(&mut self, batch: u32) {
        self.current = BatchFingerprint { batch, ..BatchFingerprint::default() };
        self.current.now.keys.reserve_exact(self.rows);
        self.current.now.digests.reserve_exact(if self.by_content { 0 } else { self.rows });
        self.current.outcomes.reserve_exact(self.rows);
        self.mixed = false;
        self.found.clear();
        self.by_key.clear();
        self.next = 0;
    }

    fn old(&self) -> Option<Arc<Fingerprint>> {
        self.known.get(&self.current.batch).cloned().flatten()
    }

    /// Sets the shape of the rows that follow.
    pub(crate) fn set_shape(&mut self, shape: i64) {
        self.mixed |= self.shape != shape && !self.current.now.keys.is_empty();
        self.shape = shape;
    }

    /// Takes a row. Returns `None` if the table already holds an identical row.
    pub(crate) fn row(&mut self, key: u128, row: &[u8], shared: bool) -> Option<RowKind> {
        let digest = if self.by_content { 0 } else { xxh3_64(row) };
        let (mut kind, mut outcome) = (RowKind::New, RowOutcome::New);
        if let Some(old) = self.old()
            && let Some(at) = self.find(&old, key)
        {
            let again = std::mem::replace(&mut self.found[at], true);
            kind = if again { RowKind::Repeated } else { RowKind::Known };
            self.current.doubled |= again;
            let equal = old.shape == self.shape && (self.by_content || old.digests.get(at) == Some(&digest));
            let skipped = equal && !shared && !again && self.skipping.load(Ordering::Relaxed);
            outcome = if skipped { RowOutcome::Skipped } else { RowOutcome::Known };
            if again {
                kind = RowKind::Repeated;
            } else if old.shape == self.shape && !equal {
                kind = RowKind::Changed;
            }
            self.current.moved |= self.current.now.keys.len() != at;
            self.current.differs |= !equal || self.current.moved;
        } else {
            self.current.moved = true;
            self.current.differs = true;
        }
        self.current.now.keys.push(key);
        if !self.by_content {
            self.current.now.digests.push(digest);
        }
        self.current.outcomes.push(outcome);
        let kind = if shared && kind != RowKind::Repeated { RowKind::Shared } else { kind };
        (outcome != RowOutcome::Skipped).then_some(kind)
    }

    /// The position of the key, which is usually the next one.
    fn find(&mut self, old: &Fingerprint, key: u128) -> Option<usize> {
        if self.found.is_empty() {
            self.found.resize(old.keys.len(), false);
        }
        if old.keys.get(self.next) == Some(&key) {
            self.next += 1;
            return Some(self.next - 1);
        }
        if self.by_key.is_empty() {
            self.by_key = (0..u32::try_from(old.keys.len()).unwrap_or(u32::MAX)).collect();
            self.by_key.sort_unstable_by_key(|at| old.keys[*at as usize]);
        }
        let place = self.by_key.binary_search_by_key(&key, |at| old.keys[*at as usize]).ok()?;
        let at = self.by_key[place] as usize;
        self.next = at + 1;
        Some(at)
    }

    /// Ends the batch, and begins the next.
    pub(crate) fn end_batch(&mut self) -> BatchFingerprint {
        let old = self.old();
        let mut current = std::mem::take(&mut self.current);
        if let Some(old) = &old {
            self.found.resize(old.keys.len(), false);
            let lost = old.keys.iter().zip(&self.found).filter(|(_, found)| !**found).map(|(key, _)| *key);
            current.now.gone = lost.collect();
            if !old.gone.is_empty() {
                let now: HashSet<u128, BuildHasherDefault<KeyHasher>> = current.now.keys.iter().copied().collect();
                current.now.gone.extend(old.gone.iter().filter(|key| !now.contains(key)));
            }
            current.moved |= old.keys.len() != current.now.keys.len();
            current.differs |= current.moved || current.now.gone != old.gone;
        }
        current.now.shape = if self.mixed { NO_SHAPE } else { self.shape };
        // The fingerprint of this batch is still needed if the page begins again in its first batch.
        self.known.retain(|batch, _| *batch >= current.batch);
        self.rows = current.now.keys.len();
        self.begin_batch(current.batch + 1);
        current
    }
}

/// A hash of the layout: rows of equal shape can be compared.
pub(crate) fn shape(layout: &Layout) -> i64 {
    let mut text = vec![ENCODING];
    for field in layout.fields() {
        text.extend_from_slice(field.path.as_bytes());
        text.push(0);
        text.extend_from_slice(
            format!("{:?} {:?} {:?} {:?}", field.kind, field.bound, field.trust, field.variant).as_bytes(),
        );
        text.push(0);
    }
    match xxh3_64(&text).cast_signed() {
        NO_SHAPE => 1,
        shape => shape,
    }
}
