//! ATOMIC.EVAL beside the server's own EVAL: the same script on the same data of the same server gets the same reply.

mod api;
mod arguments;
mod cmsgpack;
pub(super) mod differences;
mod functions;
mod json;
mod language;
pub(crate) mod rows;
mod structs;
pub(super) mod words;

use differences::DIFFERENCES;

use super::{in_common_words, sha1};
use crate::support::{Connection, Server, Value, argv, each_server};

/// The data that each script finds.
const DATA: &[&str] = &["SET s text", "SET n 10", "RPUSH l a b c", "HSET h f v", "SADD set only", "ZADD z 1.5 a 2 b"];

const ARGUMENTS: &[&str] = &["2", "{k}a", "{k}b", "one", "2", ""];

fn with_arguments(script: &str) -> Vec<Vec<u8>> {
    [&[script], ARGUMENTS].concat().iter().map(|argument| argument.as_bytes().to_vec()).collect()
}

/// The replies of the server's command and of ours to the same call, on the same data.
fn both(connection: &mut Connection, command: &str, call: &[Vec<u8>]) -> [Value; 2] {
    [command, &format!("ATOMIC.{command}")].map(|command| {
        connection.run("FLUSHALL");
        DATA.iter().for_each(|line| drop(connection.run(line)));
        in_common_words(&connection.call(&[&[command.as_bytes().to_vec()][..], call].concat()))
    })
}

/// Asserts that both replies to each call are the same in both protocols, types included.
fn expect_same(server: &Server, calls: &[Vec<Vec<u8>>]) {
    expect_same_by(server, "EVAL", calls);
}

/// [`expect_same`] for one of the script commands.
fn expect_same_by(server: &Server, command: &str, calls: &[Vec<Vec<u8>>]) {
    let mut differing = Vec::new();
    for (protocol, mut connection) in [("RESP2", server.connect()), ("RESP3", server.connect().resp3())] {
        for call in calls {
            let [theirs, ours] = both(&mut connection, command, call);
            if theirs != ours {
                let script = String::from_utf8_lossy(&call[0]);
                differing.push(format!("{script}\n    {protocol}, the server: {theirs:?}\n    {protocol}, ATOMIC: {ours:?}"));
            }
        }
    }
    assert!(differing.is_empty(), "{} of {} answers differ:\n{}", differing.len(), 2 * calls.len(), differing.join("\n"));
}

fn expect_same_scripts(server: &Server, scripts: &[&str]) {
    expect_same(server, &scripts.iter().map(|script| with_arguments(script)).collect::<Vec<_>>());
}

#[test]
fn values_replies_and_errors_are_those_of_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, rows::SCRIPTS));
}

#[test]
fn the_documented_api_is_that_of_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, &[api::ERRORS, api::VALUES, api::COMMANDS].concat()));
}

#[test]
fn the_language_and_its_libraries_are_those_of_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, language::LANGUAGE));
}

#[test]
fn json_and_bits_are_those_of_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, &[json::JSON, json::BITS].concat()));
}

#[test]
fn cmsgpack_is_that_of_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, cmsgpack::CMSGPACK));
}

#[test]
fn struct_is_that_of_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, structs::STRUCT));
}

#[test]
fn both_protocols_are_those_of_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, functions::RESP3));
}

#[test]
fn the_rest_of_the_api_is_that_of_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, &[functions::REPLICATION_AND_RIGHTS, functions::COMMANDS].concat()));
}

#[test]
fn flags_are_read_and_refused_as_by_the_servers_own_eval() {
    each_server(|server| expect_same_scripts(server, functions::SHEBANGS));
}

#[test]
fn read_only_runs_are_those_of_the_servers_own_eval_ro() {
    each_server(|server| {
        let scripts: Vec<_> = functions::READ_ONLY.iter().map(|script| with_arguments(script)).collect();
        expect_same_by(server, "EVAL_RO", &scripts);
        let calls: Vec<_> = rows::CALLS.iter().map(|line| argv(line)).collect();
        expect_same_by(server, "EVAL_RO", &calls);
    });
}

#[test]
fn cached_scripts_reply_as_with_the_servers_own_evalsha() {
    each_server(|server| {
        let scripts = [functions::SHEBANGS, functions::READ_ONLY].concat();
        let calls: Vec<_> = scripts
            .iter()
            .map(|script| {
                // A source that does not compile is unknown to both.
                for command in ["SCRIPT", "ATOMIC.SCRIPT"] {
                    server.call(&[command, "LOAD", script]);
                }
                with_arguments(&sha1(script))
            })
            .collect();
        expect_same_by(server, "EVALSHA", &calls);
        expect_same_by(server, "EVALSHA_RO", &calls);
    });
}

/// The script as the callback of a function; a script with a `#!` line cannot be a callback.
fn as_function(script: &str) -> Option<String> {
    (!script.starts_with("#!"))
        .then(|| format!("#!lua name=conformance\nredis.register_function('conformance', function(KEYS, ARGV) {script}\nend)"))
}

/// The reply, with one wording for every error of a called nil.
fn nil_call(answer: &Value) -> Value {
    let said = format!("{answer:?}").contains("attempt to call ");
    if said { Value::bulk("attempt to call nil") } else { answer.clone() }
}

#[test]
fn functions_reply_as_with_the_servers_own_fcall() {
    let all = [
        rows::SCRIPTS,
        api::ERRORS,
        api::VALUES,
        api::COMMANDS,
        language::LANGUAGE,
        json::JSON,
        cmsgpack::CMSGPACK,
        structs::STRUCT,
        functions::RESP3,
        functions::REPLICATION_AND_RIGHTS,
        functions::COMMANDS,
    ]
    .concat();
    each_server(|server| {
        let (mut compared, mut connection) = (0, server.connect());
        for script in &all {
            let Some(code) = as_function(script) else { continue };
            // Both refuse a source that is not a function body.
            if matches!(connection.call(&["ATOMIC.FUNCTION", "LOAD", "REPLACE", &code]), Value::Error(_)) {
                assert!(matches!(connection.call(&["FUNCTION", "LOAD", "REPLACE", &code]), Value::Error(_)), "{script}");
                continue;
            }
            let call = with_arguments("conformance");
            let [theirs, ours] = both(&mut connection, "FCALL", &call);
            // Functions lack these fields, and Luau does not name the nil value.
            let only_of_scripts = ["replicate_commands", "breakpoint", "debug"].iter().any(|name| script.contains(name));
            let [theirs, ours] = if only_of_scripts { [theirs, ours].map(|answer| nil_call(&answer)) } else { [theirs, ours] };
            assert_eq!(theirs, ours, "{script}");
            compared += 1;
        }
        assert!(compared > 800, "{compared} of {} were compared", all.len());
    });
}

#[test]
fn the_table_has_the_fields_of_the_servers_own() {
    let fields = |table: &str| {
        format!(
            "local t = {{}} for name, value in pairs({table}) do t[#t + 1] = name .. ' ' .. type(value) end table.sort(t) return t"
        )
    };
    each_server(|server| {
        expect_same_scripts(server, &[&fields("redis")]);
        if server.binary.is_valkey {
            expect_same_scripts(server, &[&fields("server")]);
        }
    });
}

#[test]
fn numkeys_is_read_and_refused_as_by_the_servers_own_eval() {
    each_server(|server| expect_same(server, &rows::CALLS.iter().map(|line| argv(line)).collect::<Vec<_>>()));
}

/// The server's reply may change: packages are updated and adopt later behaviour. Our reply is the same as the server's, or as listed.
#[test]
fn every_difference_is_listed_with_our_reply() {
    each_server(|server| {
        let mut connection = server.connect();
        let mut wrong = Vec::new();
        for difference in DIFFERENCES.iter().chain(words::WORDS) {
            for &(script, _, written) in difference.rows {
                let [theirs, ours] = both(&mut connection, "EVAL", &with_arguments(script)).map(|answer| answer.to_string());
                if ours != theirs && ours != written {
                    wrong.push(format!("{script}: {ours}, the server: {theirs} ({})", difference.reason));
                }
            }
        }
        assert!(wrong.is_empty(), "not as written down:\n{}", wrong.join("\n"));
    });
}

#[test]
fn only_errors_are_mapped_to_common_words() {
    let error = |text: &str| Value::Error(text.to_owned());
    assert_eq!(in_common_words(&error("ERR x script: abc, on @user_script:1.")), error("ERR x"));
    assert_eq!(
        in_common_words(&error("NOSCRIPT No matching script. Please use ATOMIC.EVAL.")),
        in_common_words(&error("NOSCRIPT No matching script. Please use EVAL."))
    );
    for other in [error("WRONGTYPE x"), Value::bulk("a script: b"), Value::Status("script: x".to_owned())] {
        assert_eq!(in_common_words(&other), other);
    }
}
