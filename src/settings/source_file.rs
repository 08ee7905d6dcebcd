//! One configuration file that has been read.

use std::sync::Arc;

use super::fault::Place;

/// One file: its name as faults show it, its place in the order of reading, its text.
pub struct SourceFile {
    name: Arc<str>,
    order: usize,
    pub text: String,
}

impl SourceFile {
    pub fn new(order: usize, name: &str, text: String) -> Self {
        Self { name: name.into(), order, text }
    }

    pub fn place(&self, line: usize) -> Place {
        Place::File { order: self.order, name: Arc::clone(&self.name), line }
    }
}
