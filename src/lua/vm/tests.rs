//! Debug builds check the rules that the stack's methods have and its types do not: Luau's assertions stop the process.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::*;
use crate::lua::tests::{LIMITS, natives};
use crate::lua::version::Version;

/// Says to the process that runs [`breaks_a_rule`] which rule it breaks.
const RULE: &str = "ATOMIC_TEST_RULE";

fn drop_too_many(s: Stack<'_>, (): &()) {
    s.push_nil();
    s.pop(2);
}

fn read_below_the_stack(s: Stack<'_>, (): &()) {
    s.push_nil();
    s.kind(-2);
}

fn index_a_number(s: Stack<'_>, (): &()) {
    s.push_number(1.0);
    s.raw_get_element(-1, 1);
}

fn write_above_the_stack(s: Stack<'_>, (): &()) {
    s.push_nil();
    s.replace(5);
}

#[test]
#[ignore = "ends the process; the next test runs it"]
fn breaks_a_rule() {
    let redis = Version { text: "7.0.15".to_owned(), number: 0x0007_000f };
    let vm = Vm::new(LIMITS, ServerVersion { redis, valkey: None }, natives()).unwrap();
    let done = match std::env::var(RULE).unwrap().as_str() {
        "drop" => vm.protected(drop_too_many, &()),
        "read" => vm.protected(read_below_the_stack, &()),
        "type" => vm.protected(index_a_number, &()),
        "write" => vm.protected(write_above_the_stack, &()),
        _ => vm.protected(prove, &()),
    };
    assert!(done.is_ok());
}

#[cfg(debug_assertions)]
#[test]
fn a_debug_build_stops_where_a_rule_of_the_stack_is_broken() {
    /// SIGILL or SIGTRAP, by compiler and processor.
    const STOPPED: [Option<i32>; 2] = [Some(4), Some(5)];
    let run = |rule| {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "lua::vm::tests::breaks_a_rule", "--ignored"]).env(RULE, rule).output().unwrap().status
    };
    assert!(run("none").success(), "the process ends well without an offence");
    for rule in ["drop", "read", "type", "write"] {
        let status = run(rule);
        assert!(STOPPED.contains(&status.signal()), "{rule}: {status}");
    }
}
