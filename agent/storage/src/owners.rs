//! Whose the files of an instance's own layer are, when its root becomes another's.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;

/// Makes the files of an upper directory those of an instance whose root is `root` on the host: 0, or else the start of
/// `ids`, the instance's own. The directory itself comes last and tells whether there is anything to do, so that what was
/// cut off is done by the next call. To be called while nothing uses it; blocks.
///
/// # Errors
/// What looking at a file or changing its owner says.
pub fn shift(upper: &Path, ids: &Range<u32>, root: u32) -> io::Result<()> {
    let owner = match fs::symlink_metadata(upper) {
        Ok(metadata) => metadata.uid(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if ids.contains(&owner) == ids.contains(&root) {
        return Ok(());
    }
    below(upper, ids, root)
}

fn below(path: &Path, ids: &Range<u32>, root: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            below(&entry?.path(), ids, root)?;
        }
    }
    let moved = |id: u32| match (ids.contains(&id), ids.contains(&root)) {
        (true, false) => id - ids.start,
        (false, true) => ids.start.saturating_add(id).min(ids.end - 1),
        _ => id,
    };
    lchown(path, Some(moved(metadata.uid())), Some(moved(metadata.gid())))?;
    if metadata.is_file() && metadata.mode() & 0o6000 != 0 {
        // A change of owner takes these bits away.
        fs::set_permissions(path, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_move_there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let upper = dir.path().join("upper");
        fs::create_dir_all(upper.join("d")).unwrap();
        fs::write(upper.join("d/f"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", upper.join("l")).unwrap();
        let ids = 1_000_000..1_065_536;
        for (path, id) in [("d/f", 33), ("d", 0), ("l", 0), ("", 0)] {
            lchown(upper.join(path), Some(ids.start + id), Some(ids.start + id)).unwrap();
        }
        fs::set_permissions(upper.join("d/f"), fs::Permissions::from_mode(0o4755)).unwrap();
        let look = |path: &str| {
            let metadata = fs::symlink_metadata(upper.join(path)).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
        };
        shift(&upper, &ids, 0).unwrap();
        assert_eq!(look("d/f"), (33, 33, 0o4755));
        assert_eq!((look("l").0, look("").0), (0, 0));
        shift(&upper, &ids, 0).unwrap();
        assert_eq!(look("d/f").0, 33);
        shift(&upper, &ids, ids.start).unwrap();
        assert_eq!(look("d/f"), (ids.start + 33, ids.start + 33, 0o4755));
        assert_eq!(look("l").0, ids.start);
        assert!(shift(&dir.path().join("absent"), &ids, 0).is_ok());
    }
}
