//! Reads the files of `commands-dir`.
//!
//! These are regular files whose name ends with `.lua`, directly in the directory, in the order of their names. Names that start
//! with a dot belong to editors and are skipped. Everything is bounded, since the server waits meanwhile.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::lua::SOURCE_BYTES;

const MAX_FILES: usize = 128;

pub(super) struct SourceFile {
    /// Without the directory.
    pub name: CString,
    pub code: Vec<u8>,
}

/// The absolute path, since the server may change its working directory later. Symbolic links stay unresolved, so that they can be
/// switched.
pub(super) fn absolute(path: &[u8]) -> Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    std::path::absolute(path).map_err(|error| refusal(path, &error.to_string()))
}

pub(super) fn read(directory: &Path) -> Result<Vec<SourceFile>> {
    let failed = |error: io::Error| refusal(directory, &error.to_string());
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name.as_bytes().ends_with(b".lua") && !name.as_bytes().starts_with(b".") {
            names.push(name);
        }
        if names.len() > MAX_FILES {
            return Err(refusal(directory, "there are more than 128 files"));
        }
    }
    names.sort_unstable();
    names.iter().map(|name| read_file(directory, name)).collect()
}

fn read_file(directory: &Path, name: &OsStr) -> Result<SourceFile> {
    let refused = |what: &str| refusal(Path::new(name), what);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if !name.as_bytes().iter().all(plain) {
        return Err(refused("the file name may only contain letters, digits, '.', '_' and '-'"));
    }
    let path = directory.join(name);
    // Checked before opening: opening a pipe would wait for its other end.
    let about = fs::metadata(&path).map_err(|error| refused(&error.to_string()))?;
    if !about.is_file() {
        return Err(refused("not a regular file"));
    }
    let mut code = Vec::new();
    let most = u64::try_from(SOURCE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(&path).and_then(|file| file.take(most).read_to_end(&mut code));
    read.map_err(|error| refused(&error.to_string()))?;
    if code.len() > SOURCE_BYTES {
        return Err(refused("longer than 1048576 bytes"));
    }
    let name = CString::new(name.as_bytes()).map_err(|_| refused("the file name contains a NUL byte"))?;
    Ok(SourceFile { name, code })
}

fn refusal(path: &Path, what: &str) -> Error {
    Error::Script([b"ERR commands-dir: ", path.as_os_str().as_bytes(), b": ", what.as_bytes()].concat())
}
