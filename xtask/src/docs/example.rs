//! The examples that the acceptance tests run, as text for the pages.

use std::fs;

use crate::step::{StepError, file, root};

/// The top-level blocks of all examples, in the order of their files.
pub struct Examples(Vec<String>);

impl Examples {
    pub fn read() -> Result<Self, StepError> {
        let place = root().join("examples/terraform");
        let mut files = Vec::new();
        let mut directories = vec![place];
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory).map_err(file("read", &directory))?;
            for entry in entries {
                let path = entry.map_err(file("read", &directory))?.path();
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                if path.is_dir() {
                    directories.push(path);
                } else if name.ends_with(".tf") || name.ends_with(".tfquery.hcl") {
                    files.push(path);
                }
            }
        }
        // The quickstart's come first: they are the plainest.
        files.sort_by_key(|path| {
            (!path.components().any(|part| part.as_os_str() == "quickstart"), path.clone())
        });
        let mut blocks = Vec::new();
        for path in files {
            let text = fs::read_to_string(&path).map_err(file("read", &path))?;
            blocks
                .extend(text.split_inclusive("\n}\n").map(|block| block.trim_start_matches('\n').to_owned()));
        }
        Ok(Self(blocks))
    }

    /// The first block of this kind and type, without the comment before it.
    pub fn block(&self, kind: &str, name: &str) -> Option<&str> {
        let begin = format!("{kind} \"{name}\" ");
        self.0.iter().find_map(|block| {
            let at = if block.starts_with(&begin) { 0 } else { block.find(&format!("\n{begin}"))? + 1 };
            block.get(at..)
        })
    }

    /// The first block that holds this text, without the comment before it.
    pub fn with(&self, text: &str) -> Option<&str> {
        let block = self.0.iter().find(|block| block.contains(text))?;
        let comment: usize =
            block.split_inclusive('\n').take_while(|line| line.starts_with('#')).map(str::len).sum();
        block.get(comment..)
    }
}
