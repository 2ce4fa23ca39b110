//! The scripts to which ATOMIC.EVAL replies differently from the server's own EVAL, and why. docs/lua.md is generated from them.

/// Scripts whose two replies differ for the same reason.
pub struct Difference {
    /// Why.
    pub reason: &'static str,
    /// Prefixes of the names of the servers that differ; empty if all do. On the others both replies are equal.
    pub on: &'static [&'static str],
    /// Script, the server's reply, this engine's reply, as redis-cli prints them.
    pub rows: &'static [(&'static str, &'static str, &'static str)],
}

/// All of them except the wording of Luau's errors. The scripts run like those of `rows`.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "Luau knows escapes that Lua 5.1 reads as the plain letter.",
        on: &[],
        rows: &[
            (r"return '\x41'", r#""x41""#, r#""A""#),
            (r"return '\u{48}'", r#""u{48}""#, r#""H""#),
            (r"return '\z  x'", r#""z  x""#, r#""x""#),
        ],
    },
    Difference {
        reason: "Luau keeps the last of two values assigned to one variable or to one place in a table constructor.",
        on: &[],
        rows: &[
            ("local a = 0 a, a = 1, 2 return a", "(integer) 1", "(integer) 2"),
            ("local t = {'b', [1] = 'a'} return t[1]", r#""b""#, r#""a""#),
            (
                "return {1, 2, [2] = 5, 3}",
                "1) (integer) 1\n2) (integer) 2\n3) (integer) 3",
                "1) (integer) 1\n2) (integer) 5\n3) (integer) 3",
            ),
        ],
    },
    Difference {
        reason: "A tail call of a function to itself uses one of 20,000 stack levels.",
        on: &[],
        rows: &[(
            "local function s(n, a) if n == 0 then return a end return s(n - 1, a + n) end return s(30000, 0)",
            "(integer) 450015000",
            "(error) ERR user_script:1: stack overflow",
        )],
    },
    Difference {
        reason: "Patterns have the class %g and continue after a NUL byte.",
        on: &[],
        rows: &[
            ("return ('0'):match('%g')", "(nil)", r#""0""#),
            (r"return ('a'):find('[\0-\31]')", "(error) ERR user_script:1: malformed pattern (missing ']')", "(nil)"),
        ],
    },
    Difference {
        reason: "A loop starts with its first value exactly; Lua 5.1 subtracts the step and adds it again.",
        on: &[],
        rows: &[("for i = 2.9, 8, 31 do return ('%.17g'):format(i) end", r#""2.8999999999999986""#, r#""2.8999999999999999""#)],
    },
    Difference {
        reason: "Luau has syntax that Lua 5.1 does not have.",
        on: &[],
        rows: &[
            (
                "local x = 1 x += 1 return x",
                "(error) ERR Error compiling script (new function): user_script:1: '=' expected near '+'",
                "(integer) 2",
            ),
            (
                "for i = 1, 3 do continue end return 1",
                "(error) ERR Error compiling script (new function): user_script:1: '=' expected near 'end'",
                "(integer) 1",
            ),
            (
                "return 5 // 2",
                "(error) ERR Error compiling script (new function): user_script:1: unexpected symbol near '/'",
                "(integer) 2",
            ),
            (
                "return 1_000",
                "(error) ERR Error compiling script (new function): user_script:1: malformed number near '1_000'",
                "(integer) 1000",
            ),
            (
                "return 0b101",
                "(error) ERR Error compiling script (new function): user_script:1: malformed number near '0b101'",
                "(integer) 5",
            ),
            (
                "return `a{1}b`",
                "(error) ERR Error compiling script (new function): user_script:1: unexpected symbol near '`'",
                r#""a1b""#,
            ),
            (
                "return if true then 1 else 2",
                "(error) ERR Error compiling script (new function): user_script:1: unexpected symbol near 'if'",
                "(integer) 1",
            ),
            (
                "local x: number = 1 return x",
                "(error) ERR Error compiling script (new function): user_script:1: unexpected symbol near ':'",
                "(integer) 1",
            ),
            ("for _, v in {7} do return v end", "(error) ERR user_script:1: attempt to call a table value", "(integer) 7"),
        ],
    },
    Difference {
        reason: "Luau's libraries are stricter, more tolerant or newer in some details.",
        on: &[],
        rows: &[
            ("return #setmetatable({1, 2}, {__len = function() return 9 end})", "(integer) 2", "(integer) 9"),
            ("return {string.find('abc', '', 10)}", "1) (integer) 4\n2) (integer) 3", "(empty array)"),
            ("local t = {1, 2} table.insert(t, 0, 'x') return t", "(empty array)", "1) (integer) 1\n2) (integer) 2"),
            (
                "return select('#', unpack({}, 1, 8000))",
                "(error) ERR user_script:1: too many results to unpack",
                "(integer) 8000",
            ),
            (
                "return {xpcall(function(...) return select('#', ...) end, error, 1, 2)}",
                "1) (integer) 1\n2) (integer) 0",
                "1) (integer) 1\n2) (integer) 2",
            ),
            ("return 1 --\0x", "(integer) 1", "(error) ERR Error compiling script (new function): a NUL byte in the source"),
            (
                "return load('return 1')()",
                "(error) ERR user_script:1: bad argument #1 to 'load' (function expected, got string)",
                "(integer) 1",
            ),
            ("pcall()", "(nil)", "(error) ERR user_script:1: missing argument #1"),
            (
                "return collectgarbage('bogus')",
                "(error) ERR user_script:1: bad argument #1 to 'collectgarbage' (invalid option 'bogus')",
                "(integer) 0",
            ),
            ("return string.format('%*', 5)", "(error) ERR user_script:1: invalid option '%*' to 'format'", r#""5""#),
            (
                "return select('#', ('x'):rep(8000):byte(1, -1))",
                "(error) ERR user_script:1: stack overflow (string slice too long)",
                "(integer) 8000",
            ),
            (r"return string.format('%s', 'a\0b')", r#""a""#, r#""a\x00b""#),
            ("return string.format('%c%c', 0, 65)", r#""A""#, r#""\x00A""#),
        ],
    },
    Difference {
        reason: "Luau's libraries use 32-bit positions.",
        on: &[],
        rows: &[
            ("return ('abc'):sub(1, 2^31)", r#""abc""#, r#""""#),
            ("return {('abc'):byte(1, 2^31)}", "1) (integer) 97\n2) (integer) 98\n3) (integer) 99", "(empty array)"),
            (
                "return string.char(2^32 + 65)",
                r#""A""#,
                "(error) ERR user_script:1: invalid argument #1 to 'char' (invalid value)",
            ),
        ],
    },
    Difference {
        reason: "An error always has a code.",
        on: &[],
        rows: &[
            ("return {err = 'no code'}", "(error) no code", "(error) ERR no code"),
            ("return {err = 'oneword'}", "(error) oneword", "(error) ERR oneword"),
            ("return {err = ''}", "(error) ", "(error) ERR "),
            ("return {err = '-ERR dash'}", "(error) -ERR dash", "(error) ERR -ERR dash"),
            ("return {err = 'Mixed case'}", "(error) Mixed case", "(error) ERR Mixed case"),
            ("return redis.error_reply('no code')", "(error) no code", "(error) ERR no code"),
            ("return redis.error_reply('--X y')", "(error) -X y", "(error) ERR -X y"),
            ("error({err = 5})", "(error) 5", "(error) ERR 5"),
            ("error({err = 'no code'})", "(error) no code", "(error) ERR no code"),
            ("error({err = 'oneword'})", "(error) oneword", "(error) ERR oneword"),
        ],
    },
    Difference {
        reason: "An error or a status is always printable ASCII.",
        on: &[],
        rows: &[
            (r"return {err = 'ERR a\r\nb'}", "(error) ERR a  b", r"(error) ERR a\r\nb"),
            (r"return {err = 'ERR a\0b'}", "(error) ERR a", r"(error) ERR a\x00b"),
            (r"error({err = 'ERR a\tb'})", "(error) ERR a\tb", r"(error) ERR a\tb"),
            (r"return {ok = 'a\r\nb'}", "a  b", r"a\r\nb"),
            (r"return {ok = 'a\0b'}", "a", r"a\x00b"),
            (r"return redis.status_reply('a\nb')", "a b", r"a\nb"),
            (r"return {err = 'ERR \228\184\128'}", "(error) ERR \u{4e00}", r"(error) ERR \xe4\xb8\x80"),
            (r"return {ok = '\195\169'}", "\u{e9}", r"\xc3\xa9"),
        ],
    },
    Difference {
        reason: "Errors of cjson and bit give the function's own name; Lua 5.1 gives the name that the script calls it by.",
        on: &[],
        rows: &[
            (
                "return select(2, pcall(bit.tobit, {}))",
                r#""bad argument #1 to '?' (number expected, got table)""#,
                r#""bad argument #1 to 'tobit' (number expected, got table)""#,
            ),
            (
                "local write = cjson.encode write()",
                "(error) ERR user_script:1: bad argument #1 to 'write' (expected 1 argument)",
                "(error) ERR user_script:1: bad argument #1 to 'encode' (expected 1 argument)",
            ),
        ],
    },
    Difference {
        reason: "JSON is at most 1000 levels deep, whatever the script sets.",
        on: &[],
        rows: &[
            (
                "local c, t = cjson.new(), {} c.encode_max_depth(2000) for i = 2, 1001 do t = {t} end return #c.encode(t)",
                "(integer) 2002",
                "(error) ERR user_script:1: Cannot serialise, excessive nesting (1001)",
            ),
            (
                "local c = cjson.new() c.decode_max_depth(2000) return #c.decode(('['):rep(1001) .. (']'):rep(1001))",
                "(integer) 1",
                "(error) ERR user_script:1: Found too many nested data structures (1001) at character 1001",
            ),
        ],
    },
    Difference {
        reason: "Only Redis 8.4 and later have this function.",
        on: &["redis-7", "redis-8.0", "redis-8.2", "valkey"],
        rows: &[("return type(cjson.decode_array_with_array_mt)", r#""nil""#, r#""function""#)],
    },
    Difference {
        reason: "Valkey 8.1 and later have other words for an unknown engine.",
        on: &["valkey-8.1", "valkey-9"],
        rows: &[(
            "#!js\nreturn 1",
            "(error) ERR Could not find scripting engine 'js'",
            "(error) ERR Unexpected engine in script shebang: #!js",
        )],
    },
    Difference {
        reason: "MessagePack is decoded to a depth of 1000, because each level uses C stack.",
        on: &[],
        rows: &[(
            r"return #cmsgpack.unpack(('\145'):rep(2000) .. '\1')",
            "(integer) 1",
            "(error) ERR user_script:1: stack overflow (in function mp_decode_to_lua_array)",
        )],
    },
    Difference {
        reason: "Errors of cmsgpack and struct give the function's own name, whatever the script calls it.",
        on: &[],
        rows: &[(
            "local f = struct.pack f('z')",
            "(error) ERR user_script:1: bad argument #1 to 'f' (invalid format option 'z')",
            "(error) ERR user_script:1: bad argument #1 to 'pack' (invalid format option 'z')",
        )],
    },
    Difference {
        reason: "Valkey's copy of the library has another copyright notice.",
        on: &["valkey"],
        rows: &[(
            "return cmsgpack._COPYRIGHT",
            r#""Copyright (C) 2012, Redis Ltd.""#,
            r#""Copyright (C) 2012, Salvatore Sanfilippo""#,
        )],
    },
    Difference {
        reason: "Redis has no table called server.",
        on: &["redis"],
        rows: &[
            (
                "return server == nil",
                "(error) ERR user_script:1: Script attempted to access nonexistent global variable 'server'",
                "(nil)",
            ),
            (
                "return type(server.call)",
                "(error) ERR user_script:1: Script attempted to access nonexistent global variable 'server'",
                r#""function""#,
            ),
        ],
    },
    Difference {
        reason: "Redis 7.0 has no os library.",
        on: &["redis-7.0"],
        rows: &[
            (
                "return type(os)",
                "(error) ERR user_script:1: Script attempted to access nonexistent global variable 'os'",
                r#""table""#,
            ),
            (
                "return type(os.clock())",
                "(error) ERR user_script:1: Script attempted to access nonexistent global variable 'os'",
                r#""number""#,
            ),
            ("return os.time", "(error) ERR user_script:1: Script attempted to access nonexistent global variable 'os'", "(nil)"),
        ],
    },
    Difference {
        reason: "Redis 7.0 passes numbers to commands with 17 digits, and large whole numbers with an exponent.",
        on: &["redis-7.0"],
        rows: &[
            ("return redis.call('ECHO', 0.1)", r#""0.10000000000000001""#, r#""0.1""#),
            ("return redis.call('ECHO', 1 / 3)", r#""0.33333333333333331""#, r#""0.3333333333333333""#),
            ("return redis.call('ECHO', 1e-7)", r#""9.9999999999999995e-08""#, r#""1e-7""#),
            ("return redis.call('ECHO', 1.5e300)", r#""1.5000000000000001e+300""#, r#""1.5e+300""#),
            ("return redis.call('ECHO', 1e17)", r#""1e+17""#, r#""100000000000000000""#),
            ("return redis.call('ECHO', 2^61)", r#""2.305843009213694e+18""#, r#""2305843009213693952""#),
            ("return redis.call('ECHO', 2^63)", r#""9.2233720368547758e+18""#, r#""9223372036854776000""#),
            ("return redis.call('ECHO', -0)", r#""-0""#, r#""0""#),
        ],
    },
    Difference {
        reason: "Valkey 9 keeps a number that a script stores as text.",
        on: &["valkey-9"],
        rows: &[
            ("redis.call('SET', 'e', 10) return redis.call('OBJECT', 'ENCODING', 'e')", r#""embstr""#, r#""int""#),
            ("redis.call('SET', 'e', '10') return redis.call('OBJECT', 'ENCODING', 'e')", r#""embstr""#, r#""int""#),
            ("redis.call('SET', KEYS[1], 10) return redis.call('OBJECT', 'ENCODING', KEYS[1])", r#""embstr""#, r#""int""#),
            ("redis.call('SET', KEYS[1], ARGV[2]) return redis.call('OBJECT', 'ENCODING', KEYS[1])", r#""embstr""#, r#""int""#),
            ("redis.call('SET', KEYS[1], '10') return redis.call('OBJECT', 'ENCODING', KEYS[1])", r#""embstr""#, r#""int""#),
            ("redis.call('SET', KEYS[1], 2^40) return redis.call('OBJECT', 'ENCODING', KEYS[1])", r#""embstr""#, r#""int""#),
            ("redis.call('SETNX', KEYS[1], '10') return redis.call('OBJECT', 'ENCODING', KEYS[1])", r#""embstr""#, r#""int""#),
            ("redis.call('GETSET', KEYS[1], '10') return redis.call('OBJECT', 'ENCODING', KEYS[1])", r#""embstr""#, r#""int""#),
            ("redis.call('SET', 5, '10') return redis.call('OBJECT', 'ENCODING', 5)", r#""embstr""#, r#""int""#),
            ("redis.call('SET', 'e', '10', 'EX', 100) return redis.call('OBJECT', 'ENCODING', 'e')", r#""embstr""#, r#""int""#),
            (
                "redis.call('MSET', 'e', '10', 'f', 11) return {redis.call('OBJECT', 'ENCODING', 'e'), redis.call('OBJECT', 'ENCODING', 'f')}",
                "1) \"embstr\"\n2) \"embstr\"",
                "1) \"int\"\n2) \"int\"",
            ),
            (
                "local a = {} for i = 1, 12, 2 do a[i] = 'e' .. i a[i + 1] = i * 5 end redis.call('MSET', unpack(a)) \
     return {redis.call('OBJECT', 'ENCODING', 'e1'), redis.call('OBJECT', 'ENCODING', 'e11')}",
                "1) \"embstr\"\n2) \"embstr\"",
                "1) \"int\"\n2) \"int\"",
            ),
        ],
    },
    Difference {
        reason: "A number in a call of more than 12 arguments is stored as text.",
        on: &["redis", "valkey-8"],
        rows: &[(
            "redis.call('MSET', 'a', 1, 'b', 2, 'c', 3, 'd', 4, 'e', 5, 'f', 6, 'g', 7) return redis.call('OBJECT', 'ENCODING', 'g')",
            r#""int""#,
            r#""embstr""#,
        )],
    },
    Difference {
        reason: "Quotes have no meaning in the first line of a script.",
        on: &[],
        rows: &[
            ("#!lua 'flags=no-writes'\nreturn 1", "(integer) 1", "(error) ERR Unknown lua shebang option: 'flags=no-writes'"),
            (
                "#!lua \"flags=no-writes\nreturn 1",
                "(error) ERR Invalid engine in script shebang",
                "(error) ERR Unknown lua shebang option: \"flags=no-writes",
            ),
        ],
    },
    Difference {
        reason: "Valkey 8.1 and later support more engines and ignore the case of their names.",
        on: &["valkey-8.1", "valkey-9"],
        rows: &[
            ("#!LUA\nreturn 1", "(integer) 1", "(error) ERR Unexpected engine in script shebang: #!LUA"),
            (
                "#!js\nreturn 1",
                "(error) ERR Could not find scripting engine 'js'",
                "(error) ERR Unexpected engine in script shebang: #!js",
            ),
            (
                "#!lua5.1\nreturn 1",
                "(error) ERR Could not find scripting engine 'lua5.1'",
                "(error) ERR Unexpected engine in script shebang: #!lua5.1",
            ),
            (
                "#! lua\nreturn 1",
                "(error) ERR Unknown lua shebang option: lua",
                "(error) ERR Unexpected engine in script shebang: #!",
            ),
            (
                "#!\nreturn 1",
                "(error) ERR Could not find scripting engine ''",
                "(error) ERR Unexpected engine in script shebang: #!",
            ),
        ],
    },
    Difference {
        reason: "Redis 7.0 refuses BLOCK in scripts; later versions do not wait.",
        on: &["redis-7.0"],
        rows: &[(
            "return redis.call('XREAD', 'BLOCK', 0, 'STREAMS', 'x', '$')",
            "(error) ERR XREAD command is not allowed with BLOCK option from scripts",
            "(nil)",
        )],
    },
    Difference {
        reason: "Valkey 9 names an unknown subcommand.",
        on: &["valkey-9"],
        rows: &[
            (
                "return redis.pcall('OBJECT', 'nosuch', 's')",
                "(error) ERR unknown subcommand 'nosuch'. Try OBJECT HELP.",
                "(error) ERR Unknown command called from script",
            ),
            (
                "return redis.call('COMMAND', 'NOSUCH')",
                "(error) ERR unknown subcommand 'NOSUCH'. Try COMMAND HELP.",
                "(error) ERR Unknown command called from script",
            ),
        ],
    },
];
