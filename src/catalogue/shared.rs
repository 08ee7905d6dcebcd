//! Streams that many jobs and connections share.

use std::collections::HashSet;
use std::sync::Arc;

use super::Stream;

/// Streams, equal ones once: hundreds of connections offer the same ones, and thousands of jobs read them.
#[derive(Debug, Default)]
pub struct Streams(HashSet<Arc<Stream>>);

impl Streams {
    /// A stream equal to `stream`.
    pub fn share(&mut self, stream: Stream) -> Arc<Stream> {
        if let Some(known) = self.0.get(&stream) {
            return Arc::clone(known);
        }
        let stream = Arc::new(stream);
        self.0.insert(Arc::clone(&stream));
        stream
    }
}

impl FromIterator<Arc<Stream>> for Streams {
    fn from_iter<I: IntoIterator<Item = Arc<Stream>>>(streams: I) -> Self {
        Self(streams.into_iter().collect())
    }
}
