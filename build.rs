//! Checks the flags for Luau's C++, and sets `ATOMIC_COMMIT` to the commit of the build, if the crate is built from its own checkout.
//!
//! For the commit the script reads git's files instead of running git, so git need not be installed, and nothing is written. It ignores a checkout that
//! merely contains the sources, such as that of a project that vendors them. It runs again only when HEAD moves.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LUAU_CXXFLAGS");
    if !jumps(&env::var("LUAU_CXXFLAGS").unwrap_or_default()) {
        println!(
            "cargo::error=LUAU_CXXFLAGS must contain {LONGJMP}, as .cargo/config.toml sets it: a Lua error must not be a C++ exception"
        );
    }
    let root = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let Some(head) = Head::of(&root) else { return };
    // Cargo treats a missing path as changed.
    for path in head.moves_with().filter(|path| path.exists()) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    if let Some(commit) = head.commit() {
        println!("cargo:rustc-env=ATOMIC_COMMIT={commit}");
    }
}

const LONGJMP: &str = "-DLUA_USE_LONGJMP=1";

/// Whether Luau is compiled so that an error jumps to its protected call.
pub fn jumps(flags: &str) -> bool {
    flags.split_whitespace().any(|flag| flag == LONGJMP)
}

/// The HEAD of a checkout.
pub struct Head {
    /// The git directory of this work tree.
    own: PathBuf,
    /// The git directory that all work trees share; the same as `own` if there is one work tree.
    common: PathBuf,
    /// The checked-out branch, such as `refs/heads/main`, or a commit.
    name: String,
}

impl Head {
    /// The HEAD of the checkout in this folder; `None` if the folder is not a checkout.
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

    /// At least one of these files changes when HEAD moves. Git logs each move.
    pub fn moves_with(&self) -> impl Iterator<Item = PathBuf> {
        let common = ["packed-refs", &self.name].map(|file| self.common.join(file));
        ["HEAD", "logs/HEAD"].map(|file| self.own.join(file)).into_iter().chain(common)
    }

    /// The first 12 digits of the commit; `None` before the first commit.
    pub fn commit(&self) -> Option<String> {
        let of_branch = || {
            let loose = fs::read_to_string(self.common.join(&self.name)).ok();
            loose.map(|commit| commit.trim().to_owned()).or_else(|| self.packed())
        };
        let full = if self.name.starts_with("refs/") { of_branch()? } else { self.name.clone() };
        let digits = full.len() >= 40 && full.bytes().all(|byte| byte.is_ascii_hexdigit());
        full.get(..12).filter(|_| digits).map(str::to_owned)
    }

    /// The commit of a packed branch.
    fn packed(&self) -> Option<String> {
        let packed = fs::read_to_string(self.common.join("packed-refs")).ok()?;
        let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(_, name)| *name == self.name).map(|(commit, _)| commit.to_owned())
    }
}
