//! One configuration file that has been read.

use std::sync::Arc;

use super::fault::{FileName, Place};

/// One file and its text.
pub struct SourceFile {
    file: Arc<FileName>,
    pub text: String,
}

impl SourceFile {
    pub fn new(order: usize, name: &str, text: String) -> Self {
        Self { file: Arc::new(FileName { order, name: name.to_owned() }), text }
    }

    pub fn place(&self, line: usize) -> Place {
        Place::File { file: Arc::clone(&self.file), line }
    }
}
