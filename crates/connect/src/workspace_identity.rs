//! The identity of a workspace: which folder of which machine a run was started in.
//!
//! Runs record it as a text that only this module reads. Whoever goes on with a run finds the folder again by it,
//! or learns that it is elsewhere, or another one by now.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use l05_engine::port::{WorkspaceFinder, WorkspaceFolder};
use serde::{Deserialize, Serialize};

/// A folder of a machine, or a name that machines share.
#[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
#[serde(untagged)]
enum WorkspaceIdentity {
    /// A configured name: a folder that several machines see.
    Shared {
        /// `workspace.id`.
        id: String,
    },
    Folder {
        machine: String,
        path: PathBuf,
        device: u64,
        inode: u64,
    },
}

/// The identity of a folder, as a text. `id` is the configured name of a folder that machines share.
pub fn identity(folder: &WorkspaceFolder, id: Option<&str>) -> io::Result<String> {
    let identity = match id {
        Some(id) => WorkspaceIdentity::Shared { id: id.to_owned() },
        None => of_folder(&folder.path)?,
    };
    Ok(serde_json::to_string(&identity).expect("an identity is plain data"))
}

fn of_folder(path: &std::path::Path) -> io::Result<WorkspaceIdentity> {
    let path = path.canonicalize()?;
    let metadata = std::fs::metadata(&path)?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    Ok(WorkspaceIdentity::Folder { machine: machine(), path, device, inode })
}

/// systemd's machine id (machine-id(5)), else the host's name.
fn machine() -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if !id.trim().is_empty() {
        return id.trim().to_owned();
    }
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Finds folders of this machine again.
pub struct LocalWorkspaces {
    /// The folder that tools do not see, wherever they work.
    pub private: Option<PathBuf>,
}

impl WorkspaceFinder for LocalWorkspaces {
    fn find(&self, identity: &str) -> Result<WorkspaceFolder, String> {
        let wanted: WorkspaceIdentity = serde_json::from_str(identity)
            .map_err(|e| format!("its identity cannot be read: {e}"))?;
        let path = match &wanted {
            WorkspaceIdentity::Shared { id } => {
                return Err(format!("no folder here is called `{id}` (workspace.id)"));
            }
            WorkspaceIdentity::Folder { machine: of, path, .. } => {
                if *of != machine() {
                    return Err("it is on another machine".to_owned());
                }
                path.clone()
            }
        };
        match of_folder(&path) {
            Ok(found) if found == wanted => {
                Ok(WorkspaceFolder { path, private: self.private.clone() })
            }
            Ok(_) => Err("another folder is there by now".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn describe(&self, identity: &str) -> String {
        match serde_json::from_str(identity) {
            Ok(WorkspaceIdentity::Shared { id }) => format!("`{id}` (workspace.id)"),
            Ok(WorkspaceIdentity::Folder { machine: of, path, .. }) if of == machine() => {
                format!("`{}`", path.display())
            }
            Ok(WorkspaceIdentity::Folder { machine, path, .. }) => {
                format!("`{}` on machine {machine}", path.display())
            }
            Err(_) => "an unreadable one".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_again_and_another_in_its_place_is_not() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("work");
        std::fs::create_dir(&path).unwrap();
        let text = identity(&WorkspaceFolder::new(&path), None).unwrap();
        let places = LocalWorkspaces { private: None };
        assert_eq!(places.find(&text).unwrap().path, path.canonicalize().unwrap());
        assert_eq!(places.describe(&text), format!("`{}`", path.canonicalize().unwrap().display()));

        let aside = outer.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        assert!(places.find(&text).is_err());
        std::fs::create_dir(&path).unwrap();
        assert_eq!(places.find(&text).unwrap_err(), "another folder is there by now");

        let elsewhere = text.replace(&machine(), "another-machine");
        assert_eq!(places.find(&elsewhere).unwrap_err(), "it is on another machine");
        let shared = identity(&WorkspaceFolder::new(&aside), Some("nfs")).unwrap();
        assert!(places.find(&shared).unwrap_err().contains("`nfs`"));
    }
}
