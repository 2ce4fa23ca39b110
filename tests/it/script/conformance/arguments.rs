//! The implicit `arg` of Lua 5.1 in random programs: which functions have it, what shadows it, and which uses are not a variable.

use std::fmt::Write as _;

use super::{expect_same, with_arguments};
use crate::support::each_server;

const PROGRAMS: u64 = 400;

/// The beginning of every program, and its return at the end.
const SHOW: &str = "local out = {} local function name(v) local t = type(v) return (t == 'table' or t == 'function') and t or tostring(v) end \
                    local function show(v) if type(v) == 'table' then local s = 't' .. name(v.n) for i = 1, 4 do s = s .. ',' .. name(v[i]) end \
                    v = s end out[#out + 1] = name(v) end ";

/// An xorshift generator.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.roll(words.len() as u64)).unwrap()]
    }
}

struct Program {
    dice: Dice,
    text: String,
    functions: u32,
}

impl Program {
    fn text(seed: u64) -> String {
        let mut program = Self { dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1), text: SHOW.to_owned(), functions: 0 };
        program.block(0, true);
        program.text + " return out"
    }

    fn add(&mut self, text: &str) {
        let separator = self.dice.one_of(&[" ", "\n", " --[[ arg ... ]] ", " -- function(...) arg\n"]);
        self.text.push_str(separator);
        self.text.push_str(text);
    }

    fn block(&mut self, depth: u64, vararg: bool) {
        for _ in 0..=self.dice.roll(4) {
            self.statement(depth, vararg);
        }
    }

    fn statement(&mut self, depth: u64, vararg: bool) {
        if depth < 4 && self.dice.roll(3) == 0 {
            return self.function(depth);
        }
        if depth < 4 && self.dice.roll(4) == 0 {
            let (open, close) = [
                ("do", "end"),
                ("if true then", "end"),
                ("if not arg then show(1) elseif true then", "else show(arg) end"),
                ("for i = 1, 2 do", "end"),
                ("for arg = 1, 2 do", "end"),
                ("for _, arg in ipairs({'x', 'y'}) do", "end"),
                ("repeat", "until true"),
                ("repeat local arg = true", "until arg"),
                ("while true do", "break end"),
            ][usize::try_from(self.dice.roll(9)).unwrap()];
            self.add(open);
            self.block(depth + 1, vararg);
            return self.add(close);
        }
        let plain = [
            "show(arg)",
            "show(arg)",
            "show(type(arg) == 'table' and #arg)",
            "show(type(arg) == 'table' and select('#', unpack(arg)))",
            "local t = {arg = 'field'} show(t.arg)",
            "local t = {[1] = arg, arg, arg} show(t)",
            "show('arg')",
            "show([[arg ...]])",
            "show(#\"function(...) arg\\\"\")",
            "local o = {} function o:arg() return self == o end show(o:arg())",
            "local o = {} function o.arg(...) return arg end show(o.arg(7))",
            "local arg = 'hidden' show(arg)",
            "do local select = 'hidden' show(select) show((function(...) return arg end)(4)) end",
            "pcall(function() arg = 'assigned' end)",
            "pcall(function() arg[1] = 'element' arg.n = 1 end)",
            "show(pcall(function(...) arg.n = #arg + 1 return unpack(arg) end, 5, 6))",
            "local function arg() return 'function' end show(arg())",
            "show(((function(...) return arg end)(1, nil, 3)).n)",
            "show(loadstring('local function f(...) return arg end return f(1, 2)')())",
        ];
        let with_dots =
            ["show((...))", "show(select('#', ...))", "local a, b = ... show(b)", "show({...})", "local arg = {...} show(arg)"];
        let statement = if vararg && self.dice.roll(3) == 0 { self.dice.one_of(&with_dots) } else { self.dice.one_of(&plain) };
        self.add(statement);
        self.text.push_str(self.dice.one_of(&["", "", ";"]));
    }

    fn function(&mut self, depth: u64) {
        self.functions += 1;
        let name = format!("f{}", self.functions);
        let vararg = self.dice.roll(3) > 0;
        let mut parameters = self.dice.one_of(&["", "a", "arg", "a, b", "arg, a"]).to_owned();
        if vararg {
            parameters += if parameters.is_empty() { "..." } else { ", ..." };
        }
        let head = match self.dice.roll(4) {
            0 => format!("local function {name}({parameters})"),
            1 => format!("local {name} = function ({parameters})"),
            2 => format!("local {name} {name} = function({parameters}) --[==[ arg ]] ]==]"),
            _ => format!("local {name} = (function({parameters}) return function({parameters})"),
        };
        self.add(&head);
        self.block(depth + 1, vararg);
        self.add("end");
        if head.contains("return function") {
            self.add("end)(8, 9)");
        }
        let mut arguments = String::new();
        for _ in 0..self.dice.roll(5) {
            let comma = if arguments.is_empty() { "" } else { ", " };
            let _ = write!(arguments, "{comma}{}", self.dice.one_of(&["1", "'a'", "true", "{n = 3}"]));
        }
        self.add(&format!("{name}({arguments})"));
    }
}

#[test]
fn random_programs_around_arg_are_those_of_the_servers_own_eval() {
    let programs: Vec<_> = (1..=PROGRAMS).map(|seed| with_arguments(&Program::text(seed))).collect();
    let mention = |word: &str| programs.iter().filter(|call| String::from_utf8_lossy(&call[0]).contains(word)).count();
    assert!(mention("show(arg)") > 200 && mention("...)") > 200, "the programs are about something else");
    each_server(|server| expect_same(server, &programs));
}
