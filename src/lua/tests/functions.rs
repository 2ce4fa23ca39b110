//! Function libraries without a server: loading, calling and reloading.

use super::{LIMITS, Record, Rig};
use crate::lua::{Limits, NumberText, Run};

impl Rig {
    fn load(&mut self, name: &str, code: &str) -> Result<(), String> {
        let code = format!("#!lua name={name}\n{code}");
        let library = self.engine.load_library(code.as_bytes(), &mut self.port).map_err(|error| error.wire())?;
        self.engine.put_library(name.as_bytes(), library);
        Ok(())
    }

    /// The reply of a function, or its error; `None` if no function has this name.
    fn call(&mut self, name: &str, keys: &[&[u8]], args: &[&[u8]]) -> Option<Result<String, String>> {
        let mut record = Record::default();
        let run = Run { keys: &keys, args: &args, read_only: false, numbers: NumberText::Lua51, leaves: false };
        let function = self.engine.functions().find(name.as_bytes())?;
        if let Err(error) = self.engine.prepare_function(function, &mut self.port) {
            return Some(Err(error.wire()));
        }
        let outcome = self.engine.call_function(function, &run, &mut self.port, &mut record);
        Some(outcome.map(|()| record.0.join(" ")).map_err(|error| error.wire()))
    }

    /// The engine works after this code was a function, and the code of a library.
    #[track_caller]
    pub fn check_as_library(&mut self, code: &str) {
        if self.load("hostile", &format!("redis.register_function('hostile', function(KEYS, ARGV) {code}\nend)")).is_ok() {
            for _ in 0..2 {
                drop(self.call("hostile", &[b"k"], &[b"a"]));
                self.check_works();
            }
        }
        drop(self.load("hostile", code));
        drop(self.load("hostile", &format!("redis.register_function('hostile', function() end) {code}")));
        self.check_works();
        self.load("good", "redis.register_function('good', function(keys) return #keys end)").unwrap();
        self.expect("good", ":0");
    }

    #[track_caller]
    fn expect(&mut self, name: &str, expected: &str) {
        assert_eq!(self.call(name, &[], &[]), Some(Ok(expected.to_owned())), "{name}");
    }
}

const COUNTER: &str = "local n = 0 redis.register_function('count', function() n = n + 1 return n end)";

#[test]
fn functions_get_keys_and_arguments_and_are_known_in_any_case() {
    let mut rig = Rig::new();
    rig.load("lib", "redis.register_function('Echo', function(keys, args) return {keys, args, #keys, #args} end)").unwrap();
    let many: Vec<&[u8]> = vec![b"k"; 20];
    assert_eq!(rig.call("eCHO", &[b"a"], &[b"b", b"c"]).unwrap().unwrap(), "*4 *1 $a *2 $b $c :1 :2");
    assert!(rig.call("echo", &many, &[]).unwrap().unwrap().ends_with(" :20 :0"), "more keys than are known by their place");
    assert_eq!(rig.call("echo2", &[], &[]), None);
    assert_eq!(rig.call("", &[], &[]), None);
    assert_eq!(rig.call(&"x".repeat(100), &[], &[]), None);
}

#[test]
fn a_key_of_the_call_is_known_again_as_an_argument() {
    let mut rig = Rig::new();
    rig.load("lib", "redis.register_function('get', function(keys) return atomic.buy(keys[2]) end)").unwrap();
    rig.call("get", &[b"a", b"b"], &[]).unwrap().unwrap();
    assert_eq!(rig.port.keys, [Some(1)]);
}

#[test]
fn flags_are_those_that_were_declared() {
    let mut rig = Rig::new();
    rig.load("a", "redis.register_function{function_name='f', callback=function() end, flags={'no-writes', 'ALLOW-OOM'}}")
        .unwrap();
    rig.load("b", "redis.register_function('g', function() end)").unwrap();
    rig.call("f", &[], &[]).unwrap().unwrap();
    rig.call("g", &[], &[]).unwrap().unwrap();
    let flags: Vec<_> = rig.port.begun.iter().map(|rules| rules.flags.unwrap()).collect();
    assert!(flags[0].no_writes && flags[0].allow_oom && !flags[0].allow_stale);
    assert_eq!(flags[1], crate::lua::port::ScriptFlags::default(), "declared, as an empty list");
    let functions = rig.engine.functions();
    assert_eq!(functions.find(b"F").and_then(|function| functions.flags(function)), Some(flags[0]));
}

#[test]
fn a_library_replaces_one_of_its_name_and_a_failed_one_nothing() {
    let mut rig = Rig::new();
    rig.load("lib", "redis.register_function('f', function() return 1 end) redis.register_function('old', function() end)")
        .unwrap();
    rig.load("lib", "redis.register_function('f', function() return 2 end)").unwrap();
    rig.expect("f", ":2");
    assert_eq!(rig.call("old", &[], &[]), None);
    assert_eq!(rig.engine.functions().count(), (1, 1));
    for code in ["error('x')", "redis.register_function('f', function() return 3 end) error('x')", "(", ""] {
        assert!(rig.load("lib", code).is_err(), "{code}");
        rig.expect("f", ":2");
    }
    rig.engine.remove_library(b"lib");
    assert_eq!(rig.call("f", &[], &[]), None);
    assert_eq!(rig.engine.functions().count(), (0, 0));
}

#[test]
fn errors_name_the_function_and_its_line() {
    let mut rig = Rig::new();
    rig.load("lib", "redis.register_function('Bad', function()\nerror('no')\nend)").unwrap();
    let error = rig.call("bad", &[], &[]).unwrap().unwrap_err();
    assert_eq!(error, "ERR user_function:3: no script: Bad, on @user_function:3.");
    assert_eq!(rig.load("lib", "x = = 1").unwrap_err().split(": ").next(), Some("ERR Error compiling function"));
}

#[test]
fn the_code_runs_again_in_a_new_vm_and_its_values_are_gone() {
    let mut rig = Rig::new();
    rig.load("lib", COUNTER).unwrap();
    rig.expect("count", ":1");
    rig.expect("count", ":2");
    rig.engine.flush().unwrap();
    rig.expect("count", ":1");
}

#[test]
fn a_limit_ends_a_function_and_not_its_library() {
    let mut rig = Rig::with(Limits { memory_bytes: 4 << 20, ..LIMITS });
    rig.load("lib", &format!("{COUNTER} redis.register_function('eat', function() local t = {{}} while true do t[#t + 1] = ('x'):rep(999) .. #t end end)"))
        .unwrap();
    for _ in 0..5 {
        let error = rig.call("eat", &[], &[]).unwrap().unwrap_err();
        assert!(error.contains("memory limit"), "{error}");
        assert!(rig.call("count", &[], &[]).unwrap().is_ok());
        rig.check_works();
    }
}

#[test]
fn code_that_registers_something_else_each_time_is_refused_once_its_vm_is_gone() {
    let mut rig = Rig::new();
    let name = "local n = tostring({}):gsub('[^%w]', '') redis.register_function(n, function() return 1 end) redis.register_function('f', function() return 1 end)";
    rig.load("lib", name).unwrap();
    rig.expect("f", ":1");
    rig.engine.flush().unwrap();
    let error = rig.call("f", &[], &[]).unwrap().unwrap_err();
    assert_eq!(error, "ERR the library no longer registers the same functions");
}

#[test]
fn a_name_that_was_a_number_is_that_number() {
    let mut rig = Rig::new();
    // Argument names are read without case, so there may be many; and each number among them becomes text.
    let fields: String = (0..200_u32)
        .map(|bits| {
            let letter =
                |(at, letter): (usize, char)| if bits >> (at % 11) & 1 == 1 { letter.to_ascii_uppercase() } else { letter };
            let name: String = "description".chars().enumerate().map(letter).collect();
            format!("{name} = 20000000{bits:05}, ")
        })
        .collect();
    for round in 0..300 {
        let code =
            format!("redis.register_function{{{fields}function_name = 1{round:012}, callback = function() return {round} end}}");
        rig.load("lib", &code).unwrap();
        rig.expect(&format!("1{round:012}"), &format!(":{round}"));
    }
}

#[test]
fn register_function_ends_with_the_load_and_leaves_nothing_behind() {
    let mut rig = Rig::new();
    rig.load("lib", "local kept = redis.register_function kept('late', function() kept('more', function() end) end)").unwrap();
    let error = rig.call("late", &[], &[]).unwrap().unwrap_err();
    assert!(error.contains("redis.register_function can only be called on FUNCTION LOAD command"), "{error}");
    rig.engine.flush().unwrap();
    rig.load("other", "redis.register_function('f', function() return 1 end)").unwrap();
    assert_eq!(rig.engine.functions().count(), (2, 2));
    rig.engine.remove_library(b"other");
    for number in (0..40).chain(0..40) {
        rig.check(&format!("return 'script {number}'"), &format!("$script {number}"));
    }
}

#[test]
fn other_globals_do_not_last() {
    let mut rig = Rig::new();
    rig.load(
        "lib",
        "local function helper() return type(redis) end
         redis.register_function('good', function() return helper() end)
         redis.register_function('evil', function() setfenv(helper, {type = function() return 'forged' end}) return helper() end)",
    )
    .unwrap();
    rig.expect("good", "$table");
    rig.expect("evil", "$forged");
    rig.expect("good", "$table");
    rig.check("return type(redis)", "$table");
}

#[test]
fn code_under_load_cannot_call_commands_later_either() {
    let mut rig = Rig::new();
    rig.load(
        "lib",
        "local kept, api, other = redis, getfenv(0).redis, _G.atomic
         redis.register_function('kept', function() return {pcall(function() return kept.call('PING') end)} end)
         redis.register_function('api', function() return {pcall(function() return api.call('PING') end)} end)
         redis.register_function('other', function() return {pcall(function() return other.buy('x') end)} end)
         redis.register_function('now', function() return redis.call('PING') end)",
    )
    .unwrap();
    for name in ["kept", "api", "other"] {
        let answer = rig.call(name, &[], &[]).unwrap().unwrap();
        assert!(answer.contains("nonexistent global variable"), "{name}: {answer}");
    }
    assert!(rig.port.calls.is_empty());
    rig.expect("now", "+OK");
    for code in ["redis.call('PING')", "server.call('PING')", "atomic.buy('x')", "return KEYS[1]"] {
        rig.load("bad", code).unwrap_err();
        rig.expect("now", "+OK");
    }
}
