//! Reusable buffers for chunks.
//!
//! Returning memory of this size to the allocator after each chunk fragments the heap: under load, the process needs
//! half as much memory again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Spare buffers of one size. Clones share them.
#[derive(Debug, Clone)]
pub struct Buffers {
    bytes: usize,
    spare: Arc<Spare>,
}

type Spare = Mutex<Vec<Vec<u8>>>;

/// Spare buffers that are shared by all users in the process, and freed with the last user.
#[derive(Debug, Default)]
pub struct SharedBuffers(Mutex<Weak<Spare>>);

impl SharedBuffers {
    /// Buffers of at least `bytes` each, which must be the same number for all users.
    pub fn of(&self, bytes: usize) -> Buffers {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = shared.upgrade().unwrap_or_default();
        *shared = Arc::downgrade(&spare);
        Buffers { bytes, spare }
    }
}

impl Buffers {
    /// An empty buffer, which returns here when it is dropped.
    pub(crate) fn take(&self) -> Buffer {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: spare.unwrap_or_else(|| Vec::with_capacity(self.bytes)), origin: Some(self.clone()) }
    }

    fn release(&self, mut buffer: Vec<u8>) {
        // A buffer that grew for a huge record is freed.
        if buffer.capacity() <= self.bytes * 2 {
            buffer.clear();
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

/// Bytes. A buffer from [`Buffers`] returns there when it is dropped.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    origin: Option<Buffers>,
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(origin) = self.origin.take() {
            origin.release(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_reused_unless_it_has_become_huge() {
        let buffers = SharedBuffers::default().of(100);
        let mut buffer = buffers.take();
        buffer.extend_from_slice(&[1; 90]);
        let place = buffer.as_ptr();
        drop(buffer);
        let again = buffers.take();
        assert!(again.is_empty() && again.as_ptr() == place);
        let mut huge = again;
        huge.extend_from_slice(&[1; 1_000]);
        drop(huge);
        assert!(buffers.take().capacity() < 1_000);
    }

    #[test]
    fn spare_buffers_are_shared_and_freed_with_the_last_user() {
        let shared = SharedBuffers::default();
        let (one, other) = (shared.of(100), shared.of(100));
        let buffer = one.take();
        let place = buffer.as_ptr();
        drop(buffer);
        drop(one);
        let again = other.take();
        assert_eq!(again.as_ptr(), place);
        drop(other);
        drop(again);
        assert!(shared.0.lock().unwrap().upgrade().is_none());
    }
}
