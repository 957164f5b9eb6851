//! Notices that a configuration, a file that it names, a watch list or a bulk list has changed.
//!
//! Files are asked for time, size and inode: a ConfigMap swaps a link, an editor renames, and a watch by
//! inotify follows neither. SIGHUP skips the wait.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often files are looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What each file looked like; a missing one has no look.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Looks(BTreeMap<PathBuf, Option<Look>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Look {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

impl Looks {
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Looks {
        Looks(paths.into_iter().map(|path| (path.to_owned(), look(path))).collect())
    }

    /// The same files, as they look now.
    pub fn again(&self) -> Looks {
        Looks::of(self.0.keys().map(PathBuf::as_path))
    }
}

fn look(path: &Path) -> Option<Look> {
    let found = std::fs::metadata(path).ok()?;
    Some(Look { modified: found.modified().ok(), size: found.len(), inode: inode(&found) })
}

#[cfg(unix)]
fn inode(found: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(found)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swapped_link_a_rename_and_a_removal_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        let other = dir.path().join("other");
        std::fs::write(&path, "a").unwrap();
        let first = Looks::of([path.as_path()]);
        assert_eq!(first.again(), first);
        std::fs::write(&other, "b").unwrap();
        std::fs::rename(&other, &path).unwrap();
        let second = first.again();
        assert_ne!(second, first, "same size, other inode");
        std::fs::remove_file(&path).unwrap();
        assert_ne!(second.again(), second);
    }
}
