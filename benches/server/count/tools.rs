//! What a count needs besides the server: valgrind, and the C of `benches/floor`, which is compiled for every run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::super::options;
use super::root;

/// Files of `benches/floor` that are no part of the floor module.
const SEEDS: &str = "seeds.c";

pub struct Tools {
    /// Its version.
    pub valgrind: String,
    pub module: PathBuf,
    pub floor: PathBuf,
    /// The library that is preloaded.
    pub seeds: PathBuf,
}

impl Tools {
    pub fn build() -> Result<Self, String> {
        let valgrind = output(Command::new("valgrind").arg("--version"))?.trim().trim_start_matches("valgrind-").to_owned();
        let sources = root().join("benches/floor");
        let target = root().join("target/floor");
        std::fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
        let (floor, seeds) = (target.join("floor.so"), target.join("seeds.so"));
        let mut files = c_files(&sources)?;
        files.retain(|file| !file.ends_with(SEEDS));
        compile(&files, &floor)?;
        compile(&[sources.join(SEEDS)], &seeds)?;
        Ok(Self { valgrind, module: options::module()?, floor, seeds })
    }
}

fn c_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "c"));
    // The order of the files is that of the functions in memory.
    files.sort();
    Ok(files)
}

fn compile(files: &[PathBuf], library: &Path) -> Result<(), String> {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"]);
    output(command.arg("-I").arg(header()?).args(files).arg("-o").arg(library).args(["-lm", "-ldl"])).map(drop)
}

/// The folder of `redismodule.h`: the crate redis-module brings the header along.
fn header() -> Result<PathBuf, String> {
    let compiler = output(Command::new("rustc").arg("-vV"))?;
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc names no host")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // The crates of other platforms may not be here.
    command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform", host]).current_dir(root());
    let metadata: Value = serde_json::from_str(&output(&mut command)?).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    let package = packages.iter().find(|package| package["name"] == "redis-module").ok_or("no crate is called redis-module")?;
    let manifest = package["manifest_path"].as_str().ok_or("the crate redis-module has no folder")?;
    Ok(Path::new(manifest).with_file_name("src/include"))
}

/// Runs a program to its end and returns what it prints.
fn output(command: &mut Command) -> Result<String, String> {
    let done = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let errors = String::from_utf8_lossy(&done.stderr);
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(format!("{} fails:\n{errors}", command.get_program().display()))
    }
}
