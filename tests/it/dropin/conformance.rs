//! A sample of the conformance rows through EVAL itself: on a server in drop-in mode, beside a server without the module.

use super::{WHO, call, intercepting, ours};
use crate::script::conformance::rows;
use crate::script::in_common_words;
use crate::support::{Server, Setup, each_installed};

const DATA: &[&str] = &["SET s text", "SET n 10", "RPUSH l a b c", "HSET h f v", "SADD set only", "ZADD z 1.5 a 2 b"];

#[test]
fn a_client_of_eval_sees_what_it_sees_without_the_module() {
    each_installed(|binary| {
        let [plain, dropped] = [Setup::without_module(), intercepting()].map(|setup| Server::start(binary, &setup));
        let mut differing = Vec::new();
        for resp3 in [false, true] {
            let mut connections =
                [plain.connect(), dropped.connect()].map(|connection| if resp3 { connection.resp3() } else { connection });
            // A server without the module has no commands of it.
            for script in rows::SCRIPTS.iter().filter(|script| !script.contains("'ATOMIC.")) {
                let [theirs, ours] = connections.each_mut().map(|connection| {
                    connection.run("FLUSHALL");
                    DATA.iter().for_each(|line| drop(connection.run(line)));
                    let eval = in_common_words(&connection.call(&["EVAL", script, "2", "{k}a", "{k}b", "one", "2", ""]));
                    let sha = super::sha1(script);
                    let evalsha = in_common_words(&connection.call(&["EVALSHA", &sha, "2", "{k}a", "{k}b", "one", "2", ""]));
                    [eval, evalsha]
                });
                if theirs != ours {
                    differing.push(format!("{script}\n    without: {theirs:?}\n    in drop-in mode: {ours:?}"));
                }
            }
        }
        assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
        assert_ne!(dropped.info("atomic_scripts_runs"), "0");
        assert_eq!(plain.run("ATOMIC.EVAL x 0").error().split('\'').next(), Some("ERR unknown command "));
        assert_eq!(dropped.call(&call("EVAL", WHO, "0")), ours());
    });
}
