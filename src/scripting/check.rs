//! What the server says about the commands that a script calls, without running it.

use super::calls::Inner;
use super::engine;
use crate::error::{Error, Result, quoted};
use crate::lua::{self, Call, Finding, Kind};
use crate::server::args::is;
use crate::server::module_api::Ctx;

/// Stands for a word that is not a constant. No command and no key of a script has this text.
const UNKNOWN: &[u8] = b"\0unknown\0";

/// Commands whose effect on this server or on others a rollback cannot undo.
const NOT_UNDONE: &[&str] = &["CONFIG", "FLUSHALL", "FLUSHDB", "FUNCTION", "MIGRATE", "SCRIPT", "SWAPDB"];

/// The findings about a script, in the order of their lines.
pub fn check(ctx: Ctx, source: &[u8]) -> Result<Vec<Finding>> {
    if let Err(error) = engine()?.engine.compile(source) {
        return Ok(vec![Finding { line: line_of(&error), kind: Kind::Error, text: error.wire() }]);
    }
    let (mut findings, calls) = lua::check(source);
    let mut writes = None;
    for call in &calls {
        findings.extend(of_call(ctx, call, &mut writes));
    }
    let text = |name: &str| format!("{name} writes, so a read-only replica refuses it");
    findings.extend(writes.map(|(line, name): (usize, String)| Finding { line, kind: Kind::Replica, text: text(&name) }));
    findings.sort_by_key(|finding| (finding.line, finding.kind));
    findings.dedup();
    Ok(findings)
}

/// The line that an error of the compiler names: `user_script:3: ...`.
fn line_of(error: &Error) -> usize {
    let text = error.wire();
    let numbers = text.split(':').filter_map(|part| part.parse().ok());
    numbers.into_iter().next().unwrap_or(1)
}

/// The findings about a call. `writes` becomes the first call that writes.
fn of_call(ctx: Ctx, call: &Call, writes: &mut Option<(usize, String)>) -> Vec<Finding> {
    let words: Vec<&[u8]> = call.words.iter().map(|word| word.as_deref().unwrap_or(UNKNOWN)).collect();
    let finding = |kind, text| Finding { line: call.line, kind, text };
    let Some(name) = words.first().filter(|name| **name != UNKNOWN) else { return Vec::new() };
    let shown = quoted(name).to_ascii_uppercase();
    let Some(command) = Inner::of(ctx, &words) else {
        return vec![finding(Kind::Command, format!("the server has no command {shown}"))];
    };
    let mut findings = Vec::new();
    if command.noscript {
        findings.push(finding(Kind::Command, format!("scripts may not call {shown}")));
    }
    if command.uses_all_keys() {
        let text = format!("{shown} uses the keys of all slots: in a cluster only a script that declares no keys may call it");
        findings.push(finding(Kind::Cluster, text));
    }
    for key in command.keys(ctx, &words).into_iter().filter(|key| *key != UNKNOWN) {
        findings.push(finding(Kind::Key, format!("'{}' is a key that KEYS does not declare", quoted(key))));
    }
    if NOT_UNDONE.iter().any(|refused| is(name, refused)) {
        findings.push(finding(Kind::Rollback, format!("{shown} cannot be undone, so a script with rollback may not call it")));
    }
    if command.writes && writes.is_none() {
        *writes = Some((call.line, shown));
    }
    findings
}
