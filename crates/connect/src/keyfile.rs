//! The master key in a file of the data folder, readable by its owner alone.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use l05_core::{Error, ErrorCode};
use l05_engine::keys::{KEY_BYTES, MasterKey};
use rustix::fs::OFlags;

/// The file's name in the data folder.
pub const KEY_FILE: &str = "master.key";

/// The key, and whether it was made just now.
pub struct LoadedKey {
    /// The key.
    pub key: MasterKey,
    /// There was none before.
    pub is_new: bool,
}

/// Reads the key of a data folder, or makes one. Two processes that start at once get the same.
pub fn load_or_create(folder: &Path) -> Result<LoadedKey, Error> {
    let path = folder.join(KEY_FILE);
    let unavailable = |error: &io::Error| {
        Error::new(ErrorCode::SigningKeyUnavailable, format!("{}: {error}", path.display()))
            .suggest("make the data folder writable, or name another with --data-dir")
    };
    match read(&path) {
        Ok(key) => return Ok(LoadedKey { key, is_new: false }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unavailable(&error)),
    }
    let key = MasterKey::generate()?;
    match write(folder, &path, &key) {
        Ok(()) => Ok(LoadedKey { key, is_new: true }),
        // Another process was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let key = read(&path).map_err(|e| unavailable(&e))?;
            Ok(LoadedKey { key, is_new: false })
        }
        Err(error) => Err(unavailable(&error)),
    }
}

fn read(path: &Path) -> io::Result<MasterKey> {
    let mut bytes = [0u8; KEY_BYTES];
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // Opening a pipe without a writer would wait for one.
        options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    }
    let mut file = options.open(path)?;
    if !file.metadata()?.is_file() {
        let message = "the key file is not a regular file: a pipe, socket or device holds no key";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    check_mode(&file)?;
    file.read_exact(&mut bytes).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the key file must hold {KEY_BYTES} bytes"),
        )
    })?;
    Ok(MasterKey::new(bytes))
}

#[cfg(unix)]
fn check_mode(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("others may read the key (mode {mode:o}); `chmod 600` it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &fs::File) -> io::Result<()> {
    Ok(())
}

/// Written whole under another name, then linked into place: the name never shows half a key.
fn write(folder: &Path, path: &Path, key: &MasterKey) -> io::Result<()> {
    let partial = folder.join(format!("{KEY_FILE}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&partial)?;
    let written = file.write_all(key.expose()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&partial, path));
    let _ = fs::remove_file(&partial);
    linked
}
