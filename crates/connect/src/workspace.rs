//! The workspace: the one folder that tools see.
//!
//! Every access goes through a handle of that folder (cap-std: `openat2` with RESOLVE_BENEATH on
//! Linux), so `..`, absolute paths, symlinks that lead out and races between check and use all end
//! in the same refusal, made by the kernel at the moment of opening.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_fs_ext::OpenOptionsSyncExt as _;
use cap_std::ambient_authority;
use cap_std::fs::MetadataExt as _;
use cap_std::fs::{Dir, File, Metadata, OpenOptions};
use l05_core::ErrorCode;
use l05_engine::port::WorkspaceFolder;
use l05_run::event::TaskError;
use rustix::io::Errno;

/// A folder and a handle that cannot leave it.
#[derive(Clone)]
pub struct Workspace {
    root: Arc<Dir>,
    path: PathBuf,
    /// Our own data, which are not for tools wherever they lie.
    private: Option<PathBuf>,
}

/// Rules for a file that is there already. Nothing here overwrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// Refuse.
    Fail,
    /// Take the next free name: `report-2.md`.
    Number,
    /// Add to its end, unless it has other names.
    Append,
    /// Add to its end, also where it has other names (hard links).
    AppendLinked,
}

/// The most numbered names that are tried before giving up.
const NUMBERS_MAX: u32 = 10_000;

impl Workspace {
    /// Opens a folder as workspace, and keeps tools out of its private one.
    pub fn open(folder: &WorkspaceFolder) -> io::Result<Workspace> {
        let root = Dir::open_ambient_dir(&folder.path, ambient_authority())?;
        let path = folder.path.canonicalize()?;
        let private = folder.private.as_deref().and_then(|private| private.canonicalize().ok());
        Ok(Workspace { root: Arc::new(root), path, private })
    }

    /// The folder itself, whatever its path leads to later: device and inode.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let metadata = self.root.dir_metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// True if a path leads into the private folder, links followed.
    pub(crate) fn is_private(&self, path: &Path) -> bool {
        let inside = |private: &&PathBuf| private.starts_with(&self.path);
        let Some(private) = self.private.as_ref().filter(inside) else { return false };
        let full = self.path.join(path);
        // A file to be made is where its folder is.
        let mut existing = Some(full.as_path());
        while let Some(at) = existing {
            if let Ok(real) = at.canonicalize() {
                return real.starts_with(private);
            }
            existing = at.parent();
        }
        false
    }

    fn check_private(&self, path: &str) -> Result<(), TaskError> {
        if self.is_private(Path::new(path)) {
            let message = format!("`{path}` is L05's own data, which tools do not touch");
            return Err(final_error(ErrorCode::AccessDenied, message));
        }
        Ok(())
    }

    /// Looks for a file or folder at a path: not there, not inside, or not for tools.
    pub(crate) fn probe(&self, path: &str) -> Option<Metadata> {
        self.check_private(path).ok()?;
        self.root.metadata(path).ok()
    }

    /// True if the names of a path exist inside the workspace, the last one not followed.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        self.root.symlink_metadata(path).is_ok()
    }

    /// A folder as a handle, for programs that must start there and nowhere else.
    pub(crate) fn folder(&self, path: &str) -> Result<Dir, TaskError> {
        self.check_private(path)?;
        self.root.open_dir(path).map_err(|e| refused(path, &e))
    }

    /// The folder of the workspace. For walking; files are only ever opened through the handle.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The workspace's name, for people.
    pub fn name(&self) -> String {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| self.path.display().to_string())
    }

    /// Metadata of a path, symlinks followed inside the workspace.
    pub fn metadata(&self, path: &str) -> Result<Metadata, TaskError> {
        self.check_private(path)?;
        self.root.metadata(path).map_err(|e| refused(path, &e))
    }

    /// Opens a regular file for reading. Pipes and devices, which could block for ever, are refused.
    pub fn open_file(&self, path: &str) -> Result<File, TaskError> {
        self.check_private(path)?;
        let mut options = OpenOptions::new();
        // Opening a pipe without a writer would wait for one.
        options.read(true).nonblock(true);
        let file = self.root.open_with(path, &options).map_err(|e| refused(path, &e))?;
        let metadata = file.metadata().map_err(|e| refused(path, &e))?;
        if metadata.is_dir() {
            return Err(failed(format!("`{path}` is a folder, not a file")));
        }
        if !metadata.is_file() {
            return Err(failed(format!("`{path}` is not a regular file")));
        }
        self.check_opened(path, &file, &metadata)?;
        Ok(file)
    }

    /// Refuses a file that is our own, whatever name it was opened by: a link may have taken the place of what was
    /// looked at before, and a file may have a second name.
    fn check_opened(&self, path: &str, file: &File, metadata: &Metadata) -> Result<(), TaskError> {
        let Some(private) = &self.private else { return Ok(()) };
        let opened = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
        // Where the system does not tell, the name is looked at once more.
        let lies_there = match opened {
            Ok(real) => real.starts_with(private),
            Err(_) => self.is_private(Path::new(path)),
        };
        let has_other_names = metadata.nlink() > 1;
        if lies_there || (has_other_names && holds_file(private, metadata)) {
            let message = format!("`{path}` is L05's own data, which tools do not touch");
            return Err(final_error(ErrorCode::AccessDenied, message));
        }
        Ok(())
    }

    /// Reads at most `bytes_max` of a file; whether there was more.
    pub fn read(&self, path: &str, bytes_max: u64) -> Result<(Vec<u8>, bool), TaskError> {
        let file = self.open_file(path)?;
        let mut bytes = Vec::new();
        file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|e| refused(path, &e))?;
        let more = bytes.len() as u64 > bytes_max;
        bytes.truncate(usize::try_from(bytes_max).unwrap_or(usize::MAX));
        Ok((bytes, more))
    }

    /// The names in a folder, for finding a file whatever its case.
    pub fn names_in(&self, folder: &str) -> Result<Vec<String>, TaskError> {
        let folder = if folder.is_empty() { "." } else { folder };
        let entries = self.root.read_dir(folder).map_err(|e| refused(folder, &e))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// Writes a file whole; its final path. A crash leaves the old state or the new, not a part:
    /// the bytes are written and synced under another name and then linked to the free one.
    pub fn write(
        &self,
        path: &str,
        bytes: &[u8],
        if_exists: IfExists,
    ) -> Result<String, TaskError> {
        self.check_private(path)?;
        let parent = Path::new(path).parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent {
            self.make_folder(path, parent)?;
        }
        if let IfExists::Append | IfExists::AppendLinked = if_exists {
            self.append(path, bytes, if_exists)?;
            return Ok(path.to_owned());
        }
        // A name of its own: never one that another task or a person could mean.
        let folder = parent.map(|p| format!("{}/", p.display())).unwrap_or_default();
        let partial = format!("{folder}.l05-{}.partial", uuid::Uuid::now_v7());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = self.root.open_with(&partial, &options).map_err(|e| refused(path, &e))?;
        let result = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|e| refused(path, &e))
            .and_then(|()| self.link(&partial, path, if_exists));
        // Whatever happened, the partial name is ours to remove.
        let _ = self.root.remove_file(&partial);
        result
    }

    fn make_folder(&self, path: &str, parent: &Path) -> Result<(), TaskError> {
        let Err(error) = self.root.create_dir_all(parent) else { return Ok(()) };
        // A link that leads out "exists"; following it says what is really wrong.
        let real = self.root.metadata(parent).err().unwrap_or(error);
        Err(refused(path, &real))
    }

    fn link(&self, partial: &str, path: &str, if_exists: IfExists) -> Result<String, TaskError> {
        for number in 1..=NUMBERS_MAX {
            let name = numbered(path, number);
            match self.root.hard_link(partial, &self.root, &name) {
                Ok(()) => return Ok(name),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(refused(path, &error)),
            }
            if if_exists == IfExists::Fail {
                return Err(final_error(
                    ErrorCode::TaskFailed,
                    format!("`{path}` is there already, and nothing is overwritten"),
                ));
            }
        }
        Err(failed(format!("`{path}` and {NUMBERS_MAX} numbered names are taken")))
    }

    fn append(&self, path: &str, bytes: &[u8], if_exists: IfExists) -> Result<(), TaskError> {
        let cannot = |e: io::Error| refused(path, &e);
        let mut options = OpenOptions::new();
        options.append(true).create(true).nonblock(true);
        let mut file = self.root.open_with(path, &options).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if !metadata.is_file() {
            return Err(failed(format!("`{path}` is not a regular file")));
        }
        self.check_opened(path, &file, &metadata)?;
        if metadata.nlink() > 1 && if_exists != IfExists::AppendLinked {
            let message = format!(
                "`{path}` has other names (hard links), which may lie outside of the workspace: \
                 `if_exists: append_linked` appends all the same"
            );
            return Err(final_error(ErrorCode::AccessDenied, message));
        }
        file.write_all(bytes).and_then(|()| file.sync_data()).map_err(cannot)
    }
}

/// True if a file is one of those below a folder, by device and inode.
fn holds_file(folder: &Path, metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let wanted = (metadata.dev(), metadata.ino());
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.is_dir() {
                folders.push(entry.path());
            } else if (found.dev(), found.ino()) == wanted {
                return true;
            }
        }
    }
    false
}

/// `report.md`, `report-2.md`, `report-3.md`, …
fn numbered(path: &str, number: u32) -> String {
    if number == 1 {
        return path.to_owned();
    }
    let name_start = path.rfind('/').map_or(0, |at| at + 1);
    match path[name_start..].rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => {
            let dot = name_start + dot;
            format!("{}-{number}{}", &path[..dot], &path[dot..])
        }
        None => format!("{path}-{number}"),
    }
}

/// A failure that may pass when it is tried again.
pub(crate) fn failed(message: impl Into<String>) -> TaskError {
    TaskError::last(ErrorCode::TaskFailed, message.into())
}

/// A failure that trying again cannot mend.
pub(crate) fn final_error(code: ErrorCode, message: impl Into<String>) -> TaskError {
    TaskError::last(code, message.into())
}

fn refused(path: &str, error: &io::Error) -> TaskError {
    let outside = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
        || error.raw_os_error() == Some(EXDEV)
        || climbs_out(path);
    if outside {
        return final_error(
            ErrorCode::AccessDenied,
            format!("`{path}` leads out of the workspace"),
        );
    }
    let is_final = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::AlreadyExists
    );
    // Loops of links, sockets and devices without a driver stay what they are.
    let never = [Errno::LOOP, Errno::NXIO, Errno::NODEV, Errno::OPNOTSUPP, Errno::NAMETOOLONG];
    let is_never = never.iter().any(|errno| Some(errno.raw_os_error()) == error.raw_os_error());
    let is_final = is_final || is_never;
    TaskError { is_final, ..TaskError::new(ErrorCode::TaskFailed, format!("`{path}`: {error}")) }
}

/// True if a path leads out by its words alone: said so even where a part of it does not exist.
pub(crate) fn climbs_out(path: &str) -> bool {
    let mut depth = 0i32;
    path.starts_with('/')
        || path.split('/').any(|part| {
            depth += match part {
                "" | "." => 0,
                ".." => -1,
                _ => 1,
            };
            depth < 0
        })
}

/// The kernel's answer when RESOLVE_BENEATH stops a path.
const EXDEV: i32 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &tempfile::TempDir) -> WorkspaceFolder {
        WorkspaceFolder::new(folder.path())
    }

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(numbered("a/report.md", 1), "a/report.md");
        assert_eq!(numbered("a/report.md", 2), "a/report-2.md");
        assert_eq!(numbered("a.b/report", 3), "a.b/report-3");
        assert_eq!(numbered(".hidden", 2), ".hidden-2");
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&at(&folder)).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), folder.path().join("file"))
            .unwrap();
        let absolute = outside.path().join("secret");
        let absolute = absolute.to_str().unwrap();
        for path in ["../x", "a/../../x", "link/secret", "file", absolute, "/etc/passwd"] {
            let error = workspace.read(path, 10).unwrap_err();
            assert_eq!(error.code, ErrorCode::AccessDenied, "{path}: {}", error.message);
            for if_exists in [IfExists::Append, IfExists::Number, IfExists::Fail] {
                if path == "file" && if_exists != IfExists::Append {
                    continue;
                }
                let error = workspace.write(path, b"x", if_exists).unwrap_err();
                assert_eq!(error.code, ErrorCode::AccessDenied, "{path}: {}", error.message);
            }
        }
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"s");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn writers_of_one_name_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&at(&folder)).unwrap();
        std::thread::scope(|scope| {
            for n in 0..16 {
                let workspace = &workspace;
                scope.spawn(move || {
                    let text = vec![b'a' + n; 100_000];
                    workspace.write("big.txt", &text, IfExists::Number).unwrap();
                });
            }
        });
        let mut found: Vec<u8> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
            .map(|bytes| {
                assert!(bytes.len() == 100_000 && bytes.iter().all(|b| *b == bytes[0]));
                bytes[0]
            })
            .collect();
        found.sort_unstable();
        assert_eq!(found, (b'a'..b'a' + 16).collect::<Vec<u8>>());
        assert!(workspace.write(&"n".repeat(250), b"x", IfExists::Fail).is_ok());
    }

    #[test]
    fn our_own_data_are_not_for_tools() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("home/data");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("master.key"), "k").unwrap();
        std::os::unix::fs::symlink("home/data", folder.path().join("link")).unwrap();
        let workspace =
            Workspace::open(&WorkspaceFolder { private: Some(data.clone()), ..at(&folder) })
                .unwrap();
        for path in ["home/data/master.key", "link/master.key", "home/../home/data/master.key"] {
            assert_eq!(
                workspace.read(path, 9).unwrap_err().code,
                ErrorCode::AccessDenied,
                "{path}"
            );
            let error = workspace.write(path, b"x", IfExists::Append).unwrap_err();
            assert_eq!(error.code, ErrorCode::AccessDenied, "{path}");
        }
        assert!(workspace.write("home/data/new/x", b"x", IfExists::Fail).is_err());
        assert!(workspace.write("home/other", b"x", IfExists::Fail).is_ok());
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::open(&at(&folder)).unwrap();
        let write = |mode| workspace.write("d/r.md", b"x\n", mode);
        assert_eq!(write(IfExists::Number).unwrap(), "d/r.md");
        assert_eq!(write(IfExists::Number).unwrap(), "d/r-2.md");
        assert!(write(IfExists::Fail).unwrap_err().message.contains("there already"));
        assert_eq!(write(IfExists::Append).unwrap(), "d/r.md");
        assert_eq!(std::fs::read(folder.path().join("d/r.md")).unwrap(), b"x\nx\n");
        assert_eq!(std::fs::read_dir(folder.path().join("d")).unwrap().count(), 2);
    }
}
