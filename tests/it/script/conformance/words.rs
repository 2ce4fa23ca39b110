//! The errors with Luau's texts: the same code and line, in other words.

use super::differences::Difference;

/// The scripts run like those of `rows`.
pub const WORDS: &[Difference] = &[
    Difference {
        reason: "Run-time errors have Luau's texts after the server's code and line.",
        on: &[],
        rows: &[
            (
                "redis.nosuchfunction()",
                "(error) ERR user_script:1: attempt to call field 'nosuchfunction' (a nil value)",
                "(error) ERR user_script:1: attempt to call a nil value",
            ),
            (
                "local x x()",
                "(error) ERR user_script:1: attempt to call local 'x' (a nil value)",
                "(error) ERR user_script:1: attempt to call a nil value",
            ),
            (
                "local t = {} t:f()",
                "(error) ERR user_script:1: attempt to call method 'f' (a nil value)",
                "(error) ERR user_script:1: attempt to call missing method 'f' of table",
            ),
            (
                "return string.nosuch('x')",
                "(error) ERR user_script:1: attempt to call field 'nosuch' (a nil value)",
                "(error) ERR user_script:1: attempt to call a nil value",
            ),
            (
                "local t return t.x",
                "(error) ERR user_script:1: attempt to index local 't' (a nil value)",
                "(error) ERR user_script:1: attempt to index nil with 'x'",
            ),
            (
                "local t = {} return t.x.y",
                "(error) ERR user_script:1: attempt to index field 'x' (a nil value)",
                "(error) ERR user_script:1: attempt to index nil with 'y'",
            ),
            (
                "return nil + 1",
                "(error) ERR user_script:1: attempt to perform arithmetic on a nil value",
                "(error) ERR user_script:1: attempt to perform arithmetic (add) on nil and number",
            ),
            (
                "return {} .. 'x'",
                "(error) ERR user_script:1: attempt to concatenate a table value",
                "(error) ERR user_script:1: attempt to concatenate table with string",
            ),
            (
                "return 1 < 'x'",
                "(error) ERR user_script:1: attempt to compare number with string",
                "(error) ERR user_script:1: attempt to compare number < string",
            ),
            (
                "return {} < {}",
                "(error) ERR user_script:1: attempt to compare two table values",
                "(error) ERR user_script:1: attempt to compare table < table",
            ),
            (
                "table.sort({1, 'x'})",
                "(error) ERR attempt to compare string with number",
                "(error) ERR attempt to compare string < number",
            ),
            (
                "return tonumber()",
                "(error) ERR user_script:1: bad argument #1 to 'tonumber' (value expected)",
                "(error) ERR user_script:1: missing argument #1",
            ),
            (
                "return type()",
                "(error) ERR user_script:1: bad argument #1 to 'type' (value expected)",
                "(error) ERR user_script:1: missing argument #1",
            ),
            (
                "return math.max()",
                "(error) ERR user_script:1: bad argument #1 to 'max' (number expected, got no value)",
                "(error) ERR user_script:1: missing argument #1 to 'max' (number expected)",
            ),
            (
                "return math.abs('x')",
                "(error) ERR user_script:1: bad argument #1 to 'abs' (number expected, got string)",
                "(error) ERR user_script:1: invalid argument #1 to 'abs' (number expected, got string)",
            ),
            (
                "return math.random(0)",
                "(error) ERR user_script:1: bad argument #1 to 'random' (interval is empty)",
                "(error) ERR user_script:1: invalid argument #1 to 'random' (interval is empty)",
            ),
            (
                "return string.format('%d', 'x')",
                "(error) ERR user_script:1: bad argument #2 to 'format' (number expected, got string)",
                "(error) ERR user_script:1: invalid argument #2 to 'format' (number expected, got string)",
            ),
            (
                "return string.format('%d')",
                "(error) ERR user_script:1: bad argument #2 to 'format' (no value)",
                "(error) ERR user_script:1: missing argument #2",
            ),
            (
                "return select(0)",
                "(error) ERR user_script:1: bad argument #1 to 'select' (index out of range)",
                "(error) ERR user_script:1: invalid argument #1 to 'select' (index out of range)",
            ),
            (
                "return ipairs(nil)",
                "(error) ERR user_script:1: bad argument #1 to 'ipairs' (table expected, got nil)",
                "(error) ERR user_script:1: invalid argument #1 to 'ipairs' (table expected, got nil)",
            ),
            (
                "return setmetatable(1, {})",
                "(error) ERR user_script:1: bad argument #1 to 'setmetatable' (table expected, got number)",
                "(error) ERR user_script:1: invalid argument #1 to 'setmetatable' (table expected, got number)",
            ),
            (
                "return coroutine.status(nil)",
                "(error) ERR user_script:1: bad argument #1 to 'status' (coroutine expected)",
                "(error) ERR user_script:1: invalid argument #1 to 'status' (thread expected, got nil)",
            ),
            (
                "assert(false, {err = 'CODE asserted'})",
                "(error) ERR user_script:1: bad argument #2 to 'assert' (string expected, got table)",
                "(error) ERR user_script:1: invalid argument #2 to 'assert' (string expected, got table)",
            ),
        ],
    },
    Difference {
        reason: "Errors in the source have Luau's texts after the server's code and line.",
        on: &[],
        rows: &[
            (
                "x y z",
                "(error) ERR Error compiling script (new function): user_script:1: '=' expected near 'y'",
                "(error) ERR Error compiling script (new function): user_script:1: Incomplete statement: expected assignment or a function call",
            ),
            (
                "\nreturn return",
                "(error) ERR Error compiling script (new function): user_script:2: unexpected symbol near 'return'",
                "(error) ERR Error compiling script (new function): user_script:2: Expected identifier when parsing expression, got 'return'",
            ),
            (
                "#!lua flags=no-writes\nreturn return",
                "(error) ERR Error compiling script (new function): user_script:2: unexpected symbol near 'return'",
                "(error) ERR Error compiling script (new function): user_script:2: Expected identifier when parsing expression, got 'return'",
            ),
            (
                "return (",
                "(error) ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected identifier when parsing expression, got <eof>",
            ),
            (
                "for",
                "(error) ERR Error compiling script (new function): user_script:1: '<name>' expected near '<eof>'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected identifier when parsing variable name, got <eof>",
            ),
            (
                "if x then",
                "(error) ERR Error compiling script (new function): user_script:1: 'end' expected near '<eof>'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected 'end' (to close 'then' at column 6), got <eof>",
            ),
            (
                "return 'unfinished",
                "(error) ERR Error compiling script (new function): user_script:1: unfinished string near '<eof>'",
                "(error) ERR Error compiling script (new function): user_script:1: Malformed string; did you forget to finish it?",
            ),
            (
                "--[[ unfinished",
                "(error) ERR Error compiling script (new function): user_script:1: unfinished long comment near '<eof>'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected identifier when parsing expression, got unfinished comment",
            ),
            (
                "return 1 2",
                "(error) ERR Error compiling script (new function): user_script:1: '<eof>' expected near '2'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected <eof>, got '2'",
            ),
            (
                "return {1, 2",
                "(error) ERR Error compiling script (new function): user_script:1: '}' expected near '<eof>'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected '}' (to close '{' at column 8), got <eof>",
            ),
            (
                "local 1x = 2",
                "(error) ERR Error compiling script (new function): user_script:1: malformed number near '1x'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected identifier when parsing variable name, got '1x'",
            ),
            (
                "break",
                "(error) ERR Error compiling script (new function): user_script:1: no loop to break near '<eof>'",
                "(error) ERR Error compiling script (new function): user_script:1: break statement must be inside a loop",
            ),
            (
                "goto x",
                "(error) ERR Error compiling script (new function): user_script:1: '=' expected near 'x'",
                "(error) ERR Error compiling script (new function): user_script:1: Incomplete statement: expected assignment or a function call",
            ),
            (
                "local a <const> = 1",
                "(error) ERR Error compiling script (new function): user_script:1: unexpected symbol near '<'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected identifier when parsing expression, got '<'",
            ),
            (
                " #!lua\nreturn 1",
                "(error) ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'",
                "(error) ERR Error compiling script (new function): user_script:1: Expected identifier when parsing expression, got '#'",
            ),
            (
                "local f, e = loadstring('x y z', '=name') return e",
                r#""name:1: '=' expected near 'y'""#,
                r#""name:1: Incomplete statement: expected assignment or a function call""#,
            ),
        ],
    },
];
