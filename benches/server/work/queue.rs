//! The program that puts jobs through BullMQ: `tests/apps/node/bullmq_load.mjs`, with the packages that the tests install.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running program. It does what it reads, line by line, and prints the figures. Dropping it kills the process.
pub struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it, and waits until its queue and its worker are connected and warm.
    pub fn start(port: u16) -> Result<Self, String> {
        // Node.js looks for packages beside the program, so the path starts at a link there.
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/apps/node/programs/bullmq_load.mjs");
        if !path.exists() {
            return Err("the packages of BullMQ are not installed: run scripts/apps.sh".to_owned());
        }
        let mut child = Command::new("node")
            .args(["--preserve-symlinks", "--preserve-symlinks-main"])
            .arg(path)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("node: {error}"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or("node has no pipes")?;
        let mut program = Self { child, input, output: BufReader::new(output) };
        match program.line()?.as_str() {
            "ready" => Ok(program),
            other => Err(format!("not ready: {other}")),
        }
    }

    /// Adds this many jobs at once. Returns the seconds until all are completed.
    pub fn all(&mut self, jobs: usize) -> Result<f64, String> {
        let text = self.ask(&format!("{jobs}"))?;
        text.parse().map_err(|_| format!("not a number of seconds: {text}"))
    }

    /// Adds jobs at a fixed rate. Returns how many ms after its planned time each was completed.
    pub fn at_rate(&mut self, jobs: usize, per_second: usize) -> Result<Vec<f64>, String> {
        let text = self.ask(&format!("{jobs} {per_second}"))?;
        let waits: Vec<f64> =
            text.split(' ').map(|wait| wait.parse().map_err(|_| format!("not waits: {text}"))).collect::<Result<_, _>>()?;
        if waits.len() == jobs { Ok(waits) } else { Err(format!("{} of {jobs} jobs were completed", waits.len())) }
    }

    fn ask(&mut self, line: &str) -> Result<String, String> {
        writeln!(self.input, "{line}").map_err(|error| format!("the program does not read: {error}"))?;
        self.line()
    }

    /// The next line. The program has a deadline of its own, after which there is none.
    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| format!("the program does not print: {error}"))?;
        if line.is_empty() { Err("the program has failed".to_owned()) } else { Ok(line.trim_end().to_owned()) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
