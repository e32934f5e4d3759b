//! The directory of the limiters: where names are looked up, and whose files are trusted.

use crate::error::{Error, ErrorKind, Result};
use crate::name::{Name, shell_word};
use crate::sys::host;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The environment variable that names the directory.
pub const DIR_VARIABLE: &str = "SHM_LIMIT_DIR";

/// A directory of limiters. The same name in the same directory means the same budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    path: PathBuf,
    /// The per-user default: created when missing, and refused if another user could write to it.
    private: bool,
}

impl Directory {
    /// `$SHM_LIMIT_DIR` if that is set and not empty, otherwise `/dev/shm/shm-limit-<uid>`, accessible to its owner
    /// only.
    ///
    /// A setuid or setgid program, or one with file capabilities, ignores its caller's environment and uses the
    /// default.
    pub fn from_env() -> Directory {
        match std::env::var_os(DIR_VARIABLE) {
            Some(path) if !path.is_empty() && !host::is_elevated() => Directory::at(path),
            _ => Directory {
                path: format!("/dev/shm/shm-limit-{}", nix::unistd::geteuid()).into(),
                private: true,
            },
        }
    }

    /// This directory, which must exist. Every user who can write to it is trusted, unless it is world-writable: then
    /// only files of root, of the directory's owner and of the caller are trusted.
    pub fn at(path: impl Into<PathBuf>) -> Directory {
        let path: PathBuf = path.into();
        // A relative path would change its meaning with the working directory.
        Directory { path: std::path::absolute(&path).unwrap_or(path), private: false }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the file of this name.
    pub fn file(&self, name: &Name) -> PathBuf {
        self.path.join(name.as_str())
    }

    /// Checks that the directory can be used. If `create` is set, creates the default one when it is missing.
    pub(crate) fn check(&self, create: bool) -> Result<()> {
        if !self.private {
            return Ok(());
        }
        if create {
            match std::fs::DirBuilder::new().mode(0o700).create(&self.path) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    let dir = self.path.display();
                    return Err(Error::os(
                        &format!(
                            "cannot create the directory {dir}; create it, or choose another one ({DIR_VARIABLE})"
                        ),
                        e,
                    ));
                }
                _ => {}
            }
        }
        let meta = match std::fs::symlink_metadata(&self.path) {
            Ok(meta) => meta,
            // Nothing was ever created here; the lookup of the file reports that.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => {
                return Err(Error::os(&format!("cannot stat the directory {}", self.path.display()), e));
            }
        };
        let me = nix::unistd::geteuid().as_raw();
        if !meta.is_dir() || meta.uid() != me || meta.mode() & 0o022 != 0 {
            return Err(Error::new(
                ErrorKind::Untrusted,
                format!(
                    "{} is not a directory that only uid {me} can write to (owner uid {}, mode {:o}); remove it, or \
                     set {DIR_VARIABLE}",
                    self.path.display(),
                    meta.uid(),
                    meta.mode() & 0o7777,
                ),
            ));
        }
        Ok(())
    }

    /// Whether a file of this owner in this directory is trusted.
    pub(crate) fn trusts(&self, owner: u32) -> bool {
        let me = nix::unistd::geteuid().as_raw();
        if owner == me {
            return true;
        }
        if self.private {
            return false;
        }
        match std::fs::metadata(&self.path) {
            Ok(dir) => owner == 0 || owner == dir.uid() || dir.mode() & 0o002 == 0,
            Err(_) => false,
        }
    }

    /// Describes which users' files are trusted here, for messages.
    pub(crate) fn trust_description(&self) -> String {
        let me = nix::unistd::geteuid();
        let dir = self.path.display();
        if self.private {
            return format!("{dir} is private to uid {me}");
        }
        format!(
            "every user can write to {dir}, so only files of root, of the directory's owner and of uid {me} are trusted"
        )
    }

    /// What to do about a limiter that does not exist.
    pub(crate) fn how_to_create(&self, name: &Name) -> String {
        if self.private || self.path.is_dir() {
            let (name, in_dir) = Directory::in_shell(name, &self.path);
            return format!(
                "it does not exist; open it with a rate to create it, or: shm-limit create {name} --rate 5/s{in_dir}"
            );
        }
        let dir = self.path.display();
        format!(
            "it does not exist, nor does its directory; is {dir} the right one? If it is, create it first"
        )
    }

    /// How the command names a limiter in this directory: its name as a word, and the option that leads to the directory, with a
    /// space before it; nothing if the command finds it by itself.
    pub fn in_shell(name: &Name, path: &Path) -> (String, String) {
        let is_default = Directory::from_env().path == path;
        let option = || format!(" --dir {}", shell_word(&path.to_string_lossy()));
        (name.shell_word(), if is_default { String::new() } else { option() })
    }

    /// The names of all files here that could be limiters, sorted.
    ///
    /// # Errors
    /// If the directory cannot be read. A missing default directory counts as empty.
    pub fn names(&self) -> Result<Vec<Name>> {
        self.check(false)?;
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(e) if self.private && e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => {
                return Err(Error::os(&format!("cannot read the directory {}", self.path.display()), e));
            }
        };
        let mut names: Vec<Name> =
            entries.filter_map(|entry| Name::new(entry.ok()?.file_name().to_str()?).ok()).collect();
        names.sort();
        Ok(names)
    }
}
