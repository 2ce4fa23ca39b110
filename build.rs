//! Tells the crate from which commit it is built, as `ATOMIC_COMMIT`, when it is built from its own checkout.
//!
//! Git's files are read instead of running git: it need not be there, and nothing is written. A checkout around the sources, such as that
//! of a project that vendors them, is not ours and not looked at. The script runs again when HEAD moves, and only then.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let root = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let Some(head) = Head::of(&root) else { return };
    // Cargo takes a path that is missing for one that changed.
    for path in head.moves_with().filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    if let Some(commit) = head.commit() {
        println!("cargo:rustc-env=ATOMIC_COMMIT={commit}");
    }
}

/// Where a checkout stands.
pub struct Head {
    /// The git directory of this work tree.
    own: PathBuf,
    /// The one that it shares with others; the same when there is one work tree.
    common: PathBuf,
    /// The branch that is checked out, such as `refs/heads/main`, or a commit.
    name: String,
}

impl Head {
    /// That of the checkout in this folder; `None` when it is none.
    pub fn of(root: &Path) -> Option<Self> {
        let git = root.join(".git");
        let own = match fs::read_to_string(&git) {
            Ok(link) => root.join(link.strip_prefix("gitdir:")?.trim()),
            Err(_) => git,
        };
        let common = fs::read_to_string(own.join("commondir")).map_or_else(|_| own.clone(), |common| own.join(common.trim()));
        let name = fs::read_to_string(own.join("HEAD")).ok()?;
        let name = name.strip_prefix("ref:").unwrap_or(&name).trim().to_owned();
        Some(Self { own, common, name })
    }

    /// The files of which one changes when HEAD moves. Git logs each move.
    pub fn moves_with(&self) -> impl Iterator<Item = PathBuf> {
        let common = ["packed-refs", &self.name].map(|file| self.common.join(file));
        ["HEAD", "logs/HEAD"].map(|file| self.own.join(file)).into_iter().chain(common)
    }

    /// The first digits of the commit; none before the first one.
    pub fn commit(&self) -> Option<String> {
        let of_branch = || {
            let loose = fs::read_to_string(self.common.join(&self.name)).ok();
            loose.map(|commit| commit.trim().to_owned()).or_else(|| self.packed())
        };
        let full = if self.name.starts_with("refs/") { of_branch()? } else { self.name.clone() };
        let digits = full.len() >= 40 && full.bytes().all(|byte| byte.is_ascii_hexdigit());
        full.get(..12).filter(|_| digits).map(str::to_owned)
    }

    /// The commit of a branch that git has packed.
    fn packed(&self) -> Option<String> {
        let packed = fs::read_to_string(self.common.join("packed-refs")).ok()?;
        let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, name)| *name == self.name).map(|(commit, _)| commit.to_owned())
    }
}
