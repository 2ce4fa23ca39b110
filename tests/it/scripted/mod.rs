//! Commands from files: `commands-dir`, `redis.register_command`, `ATOMIC.COMMANDS`, and the examples in `lua/commands`.

mod examples; // the commands of lua/commands
mod files; // refusals with file and line; all files load or none
mod registered; // COMMAND INFO, DOCS, GETKEYS, ACL, arity, statistics, cluster
mod reload; // ATOMIC.COMMANDS
mod running; // limits, BUSY, MULTI, RESP3, maxmemory, replicas, a VM that is replaced, unload

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::installed::root;
use crate::support::{Server, Setup, Value, each_installed, module_path};

/// A server with the commands of `lua/commands`.
pub fn examples() -> Setup {
    let directory = root().join("lua/commands");
    Setup::with_module().module_args(&["commands-dir", directory.to_str().unwrap()])
}

/// A temporary directory of files, removed when it goes out of scope.
pub struct Directory(PathBuf);

impl Directory {
    /// A directory with these files.
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = Self(std::env::temp_dir().join(format!("atomic-commands-{}-{number}", std::process::id())));
        fs::create_dir_all(&directory.0).unwrap();
        files.iter().for_each(|(name, text)| directory.write(name, text));
        directory
    }

    /// A directory with one file that declares one command.
    pub fn with_command(name: &str, fields: &str, code: &str) -> Self {
        Self::new(&[("file.lua", &command(name, fields, code))])
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.join(name)).unwrap();
    }

    /// A server with its commands.
    pub fn setup(&self) -> Setup {
        Setup::with_module().module_args(&["commands-dir", self.path()])
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file with one command: the fields besides `name` and `callback`, and the body of the callback.
fn command(name: &str, fields: &str, body: &str) -> String {
    format!(
        "#!lua name=file\nlocal function run(keys, args)\n{body}\nend\nredis.register_command{{ name = '{name}', callback = run, {fields} }}\n"
    )
}

/// Runs `body` on a server of every version with this command in one file.
fn each_server_with_command(name: &str, fields: &str, code: &str, body: impl Fn(&Server)) {
    let directory = Directory::with_command(name, fields, code);
    each_installed(|binary| body(&Server::start(binary, &directory.setup().deprecated_api())));
}

/// Loads the module into a running server.
fn load(server: &Server, directory: &Path) -> Value {
    let path = module_path();
    let arguments = ["commands-dir", directory.to_str().unwrap(), "script-memory-limit", "16mb"];
    server.call(&[&["MODULE", "LOAD", path.to_str().unwrap()][..], &arguments].concat())
}
