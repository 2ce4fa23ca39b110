//! `scripts/install.sh` reports what is missing: a tool counts if it works. Needs no server; the tools here are stand-ins.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::installed::root;

/// The programs that the script itself needs.
const SYSTEM: &[&str] = &["bash", "cat", "cut", "dirname", "env", "head", "id", "mktemp", "rm", "sed", "sort", "tr"];

/// A separate PATH with the system's basic programs and stand-ins.
struct Machine(PathBuf);

impl Machine {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let dir = std::env::temp_dir().join(format!(
            "atomic-install-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(dir.join("lib")).unwrap();
        let machine = Self(dir);
        SYSTEM.iter().for_each(|tool| machine.link(tool));
        machine.tool("cargo", "exit 0");
        machine
    }

    /// The tool of this machine.
    fn link(&self, tool: &str) {
        symlink(real(tool), self.0.join(tool)).unwrap();
    }

    /// A stand-in: a script of the shell.
    fn tool(&self, name: &str, does: &str) {
        let path = self.0.join(name);
        fs::write(&path, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs `install.sh` with these arguments, without this machine's environment.
    fn install(&self, arguments: &[&str], environment: &[(&str, &Path)]) -> Output {
        let mut command = Command::new(self.0.join("bash"));
        command.arg(root().join("scripts/install.sh")).args(arguments).env_clear().env("PATH", &self.0);
        command.envs(environment.iter().copied()).output().unwrap()
    }

    /// The packages that are missing for the task.
    #[track_caller]
    fn missing(&self, task: &str, environment: &[(&str, &Path)]) -> Vec<String> {
        let output = self.install(&["-n", task], environment);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The path of the tool on this machine.
fn real(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|path| path.exists()).unwrap_or_else(|| panic!("no {tool}"))
}

/// The libclang that built this test.
fn libclang() -> PathBuf {
    let find = "source <(sed -n '/^libclang_candidates/,/^}/p' scripts/install.sh); libclang_candidates";
    let output = Command::new("bash").args(["-c", find]).current_dir(root()).output().unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().lines().next().expect("no libclang"))
}

/// A machine with a compiler, clang's headers, and a folder for libraries.
fn with_compiler() -> (Machine, PathBuf) {
    let machine = Machine::new();
    ["cc", "c++", "as", "ld"].iter().for_each(|tool| machine.link(tool));
    let headers = machine.0.join("headers/include");
    fs::create_dir_all(&headers).unwrap();
    fs::write(headers.join("stddef.h"), "typedef unsigned long size_t; typedef int wchar_t;\n#define NULL ((void *)0)\n")
        .unwrap();
    fs::write(headers.join("stdarg.h"), "typedef __builtin_va_list va_list, __gnuc_va_list;\n").unwrap();
    machine.tool("clang", &format!("echo {}", machine.0.join("headers").display()));
    let lib = machine.0.join("lib");
    (machine, lib)
}

#[test]
fn a_compiler_counts_if_it_compiles() {
    let (machine, _) = with_compiler();
    let works = libclang();
    let path: &[(&str, &Path)] = &[("LIBCLANG_PATH", &works)];
    assert_eq!(machine.missing("build", path), [""; 0]);
    fs::remove_file(machine.0.join("c++")).unwrap();
    assert_eq!(machine.missing("build", path), ["g++"], "no C++ compiler");
    machine.tool("c++", "exit 1");
    assert_eq!(machine.missing("build", path), ["g++"], "one that does not work");
}

/// LLVM's runtime contains `libclang-cpp.so.N`, which is another library: with it and without libclang a machine cannot build.
#[test]
fn the_cpp_library_of_clang_is_not_libclang() {
    let (machine, lib) = with_compiler();
    let works = libclang();
    let path: &[(&str, &Path)] = &[("LIBCLANG_PATH", &lib)];
    for name in ["libclang-cpp.so.14", "libclang-cpp.so", "libclangAST.so", "libclang.a"] {
        symlink(&works, lib.join(name)).unwrap();
    }
    assert_eq!(machine.missing("build", path), ["libclang-dev"]);
    // Names that the crate looks for.
    for name in ["libclang.so", "libclang-14.so", "libclang.so.1", "libclang-14.so.1"] {
        symlink(&works, lib.join(name)).unwrap();
        assert_eq!(machine.missing("build", path), [""; 0], "{name}");
        fs::remove_file(lib.join(name)).unwrap();
    }
    assert_eq!(machine.missing("build", &[("LIBCLANG_PATH", &works)]), [""; 0], "a file");
    // The crate takes the highest version.
    symlink(&works, lib.join("libclang-14.so")).unwrap();
    fs::write(lib.join("libclang-15.so"), "no library").unwrap();
    assert_eq!(machine.missing("build", path), ["libclang-dev"]);
}

#[test]
fn a_libclang_without_the_compilers_headers_does_not_count() {
    let (machine, lib) = with_compiler();
    symlink(libclang(), lib.join("libclang-14.so.1")).unwrap();
    // It does not search its installation: only the stand-in for clang names a path.
    let path: &[(&str, &Path)] = &[("LIBCLANG_PATH", &lib), ("BINDGEN_EXTRA_CLANG_ARGS", Path::new("-nobuiltininc"))];
    assert_eq!(machine.missing("build", path), [""; 0]);
    fs::remove_file(machine.0.join("clang")).unwrap();
    assert_eq!(machine.missing("build", path), ["libclang-dev"]);
}

#[test]
fn servers_count_from_redis_7_and_clients_if_they_start() {
    let machine = Machine::new();
    assert_eq!(machine.missing("server", &[]), ["redis-server", "redis-tools"]);
    machine.tool("redis-server", "echo 'Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64'");
    machine.tool("redis-cli", "exit 127");
    assert_eq!(machine.missing("server", &[]), ["redis-server", "redis-tools"]);
    machine.tool("redis-cli", "echo redis-cli 7.0.15");
    assert_eq!(machine.missing("server", &[]), ["redis-server"]);
    machine.tool("valkey-server", "echo 'Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64'");
    assert_eq!(machine.missing("server", &[]), [""; 0]);
}

#[test]
fn applications_need_node_18_npm_and_a_python_with_venv() {
    let machine = Machine::new();
    assert_eq!(machine.missing("apps", &[]), ["nodejs", "npm", "python3-venv"]);
    machine.tool("node", "echo v12.22.12");
    machine.tool("npm", "exit 1");
    machine.tool("python3", "exit 1");
    assert_eq!(machine.missing("apps", &[]), ["nodejs", "npm", "python3-venv"]);
    machine.tool("node", "echo v18.20.4");
    machine.tool("npm", "echo 9.2.0");
    machine.tool("python3", "exit 0");
    assert_eq!(machine.missing("apps", &[]), [""; 0]);
}

#[test]
fn a_wrong_libclang_path_is_named() {
    let (machine, lib) = with_compiler();
    let output = machine.install(&["build"], &[("LIBCLANG_PATH", &lib)]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(&format!("LIBCLANG_PATH is {}", lib.display())), "{said}");
}
