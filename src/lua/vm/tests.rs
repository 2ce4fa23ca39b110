//! A panic inside Luau replaces the VM. Debug builds check the rules that the stack's methods have and its types do not: Luau's
//! assertions stop the process.
#![allow(clippy::unwrap_used)]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::pinned::Ref;
use super::stack::native;
use super::*;
use crate::lua::numbers::text::NumberText;
use crate::lua::tests::{FakePort, LIMITS, natives};
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

fn crash(_: Stack<'_>) -> c_int {
    #![allow(clippy::panic)]
    panic!("a bug");
}

fn add_crash(s: Stack<'_>, globals: &Ref) {
    s.push_ref(*globals);
    s.set_readonly(-1, false);
    s.push_native(native(crash), c"crash");
    s.raw_set_field(-2, c"crash");
    s.set_readonly(-1, true);
}

fn crash_at_once(s: Stack<'_>, (): &()) {
    crash(s);
}

/// Runs a script without arguments in the VM.
fn run(vm: &mut Vm, code: &str) -> Result<()> {
    let nothing: &[&[u8]] = &[];
    let script = vm.compile(Source { code: code.as_bytes(), name: c"@user_script", library: false })?.function;
    let task = Task { entry: EntryPoint::Script(script), keys: &nothing, args: &nothing, numbers: NumberText::default() };
    vm.run(task, RunName::Library, &mut FakePort::default(), None)
}

#[test]
fn a_panic_in_a_function_of_a_script_replaces_the_vm() {
    let redis = Version { text: "7.0.15".to_owned(), number: 0x0007_000f };
    let mut vm = Vm::new(LIMITS, ServerVersion { redis, valkey: None }, natives()).unwrap();
    for code in ["crash()", "pcall(crash)", "coroutine.wrap(crash)()", "table.sort({1, 2}, crash)", "('a'):gsub('a', crash)"] {
        let number = vm.number();
        vm.protected(add_crash, &vm.context.names.get().globals).unwrap();
        let failed = run(&mut vm, code);
        assert!(matches!(&failed, Err(Error::Internal(text)) if text == "a bug"), "{code}: {failed:?}");
        assert_eq!(vm.number(), number + 1, "{code}");
        run(&mut vm, "assert(not pcall(error, 'x')) assert(crash == nil)").unwrap_err();
        run(&mut vm, "assert(not pcall(error, 'x'))").unwrap();
    }
    let number = vm.number();
    assert_eq!(vm.protected(crash_at_once, &()), Err(Some("ERR internal error, please report it: a bug".to_owned())));
    vm.recover().unwrap();
    assert_eq!(vm.number(), number + 1);
    run(&mut vm, "assert(not pcall(error, 'x'))").unwrap();
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
