//! Which build a server runs: what INFO and the log say, how the build script finds it, and with which flags Luau was compiled.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{self, Setup, each_server, each_server_with};

#[allow(dead_code)]
#[path = "../../build.rs"]
mod script;

use script::{Head, jumps};

/// Twelve digits of a commit, or a version.
fn is_build(text: &str) -> bool {
    let commit = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    commit || text == env!("CARGO_PKG_VERSION")
}

#[test]
fn info_and_the_log_show_version_and_build() {
    each_server(|server| {
        let (version, build) = (server.info("atomic_version"), server.info("atomic_build"));
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert!(is_build(&build), "{build}");
        let line = format!("loaded: version {version}, build {build}");
        assert_eq!(server.log().matches(&line).count(), 1, "{}", server.log());
        assert!(server.run("INFO atomic").text().contains("# atomic\r\n"));
        assert!(server.run("INFO modules").text().contains("name=atomic,ver=100,"), "the number of the version is the server's");
    });
}

/// The sections of `INFO` that are the module's, and their fields.
const INFO: &[(&str, &str)] = &[
    ("atomic", "version build"),
    (
        "atomic_scripts",
        "cached cached_bytes stored stored_bytes stored_memory evicted store_refused libraries functions vm_memory vm_memory_limit \
         runs failures rollbacks rollback_failures",
    ),
    ("atomic_locks", "waiting_clients bound_to_connections bound_lost handed_over vacant_places places_taken_over draining"),
];

#[test]
fn a_field_of_info_is_named_after_its_section() {
    each_server(|server| {
        let expected: Vec<String> = INFO
            .iter()
            .flat_map(|(section, fields)| {
                let fields = fields.split(' ').map(move |field| format!("{section}_{field}"));
                std::iter::once(format!("# {section}")).chain(fields)
            })
            .collect();
        let name = |line: &str| line.split(':').next().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let text = server.run("INFO atomic").text();
        assert_eq!(text.lines().filter_map(name).collect::<Vec<_>>(), expected);
        let text = server.run("INFO everything").text();
        let ours = |name: &String| name == "# atomic" || name.trim_start_matches("# ").starts_with("atomic_");
        assert_eq!(text.lines().filter_map(name).filter(ours).collect::<Vec<_>>(), expected);
        let text = server.run("INFO atomic_locks").text();
        let section = expected.iter().position(|name| name == "# atomic_locks").unwrap();
        assert_eq!(text.lines().filter_map(name).collect::<Vec<_>>(), expected[section..]);
    });
}

#[test]
fn a_load_logs_no_warning() {
    each_server_with(&Setup::with_module(), |server| {
        let log = server.log();
        let warned = |line: &&str| line.contains("<atomic>") && line.contains(" # ");
        assert_eq!(log.lines().filter(warned).collect::<Vec<_>>(), [""; 0], "{log}");
        assert!(!log.contains("Skip register"), "{log}");
    });
}

#[test]
fn a_lua_error_is_no_exception() {
    for (flags, jump) in
        [("-DNDEBUG -DLUA_USE_LONGJMP=1", true), ("-DNDEBUG", false), ("-DLUA_USE_LONGJMP=10", false), ("", false)]
    {
        assert_eq!(jumps(flags), jump, "{flags}");
    }
    // Luau has this class only where its errors are exceptions. A class of its compiler proves that the file has such names.
    let module = fs::read(support::module_path()).unwrap();
    let has = |class: &[u8]| module.windows(class.len()).any(|bytes| bytes == class);
    assert!(has(b"N4Luau10ParseErrorE"));
    assert!(!has(b"13lua_exception"));
}

/// A temporary folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("atomic-build-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn commit(&self, root: &str) -> Option<String> {
        Head::of(&self.0.join(root)).and_then(|head| head.commit())
    }

    fn watched(&self, root: &str) -> Vec<PathBuf> {
        let head = Head::of(&self.0.join(root)).unwrap();
        let name = |path: &Path| path.canonicalize().unwrap().strip_prefix(self.0.canonicalize().unwrap()).unwrap().to_owned();
        let mut paths: Vec<_> = head.moves_with().filter(|path| path.exists()).map(|path| name(&path)).collect();
        paths.sort();
        paths
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_commit_is_that_of_the_checkout_itself() {
    let (one, other) = ("0123456789abcdef0123456789abcdef01234567", "fedcba9876543210fedcba9876543210fedcba98");
    let folder = Folder::new("commit");
    assert_eq!(folder.commit(""), None, "a tarball");
    folder.write(".git/HEAD", "ref: refs/heads/main\n");
    assert_eq!(folder.commit(""), None, "before the first commit");
    folder.write(
        ".git/packed-refs",
        &format!("# pack-refs with: peeled fully-peeled sorted \n{other} refs/heads/maintained\n{one} refs/heads/main\n"),
    );
    assert_eq!(folder.commit("").as_deref(), Some("0123456789ab"), "packed");
    folder.write(".git/refs/heads/main", &format!("{other}\n"));
    assert_eq!(folder.commit("").as_deref(), Some("fedcba987654"), "a loose one is newer");
    folder.write("vendored/Cargo.toml", "");
    assert_eq!(folder.commit("vendored"), None, "in the checkout of another project");
    // A second work tree has its own git directory; the branches are in the git directory of the first.
    folder.write("second/.git", "gitdir: ../.git/worktrees/second\n");
    folder.write(".git/worktrees/second/commondir", "../..\n");
    folder.write(".git/worktrees/second/HEAD", "ref: refs/heads/work\n");
    folder.write(".git/worktrees/second/logs/HEAD", "");
    folder.write(".git/refs/heads/work", &format!("{one}\n"));
    assert_eq!(folder.commit("second").as_deref(), Some("0123456789ab"), "a work tree");
    let watched = ["packed-refs", "refs/heads/work", "worktrees/second/HEAD", "worktrees/second/logs/HEAD"];
    assert_eq!(folder.watched("second"), watched.map(|file| Path::new(".git").join(file)));
    folder.write(".git/HEAD", &format!("{one}\n"));
    assert_eq!(folder.commit("").as_deref(), Some("0123456789ab"), "detached");
    folder.write(".git/HEAD", "not a commit\n");
    assert_eq!(folder.commit(""), None);
}
