//! The caller needs the permissions for the inner command, its keys and its channels: when it runs, and when its reply is replayed.

use super::{MISMATCH, brief};
use crate::script::is_denied;
use crate::support::{Connection, Server, each_server};

const REPLAY: &str = "NOPERM this user has no permissions to run the command in ATOMIC.IDEM, or to use its keys";

/// A connection of a user with exactly these rules.
#[track_caller]
fn user(server: &Server, rules: &str) -> Connection {
    let reply = server.run(&format!("ACL SETUSER guest reset on >pw resetchannels -@all +auth +ping +atomic.idem {rules}"));
    assert_eq!(brief(&reply), "OK", "{rules}");
    let mut connection = server.connect();
    assert_eq!(brief(&connection.run("AUTH guest pw")), "OK");
    connection
}

/// The inner command, rules that allow it, and rules that lack one permission.
const RULES: &[(&str, &str, &[&str])] = &[
    ("INCR n", "+incr ~k ~n", &["~k ~n", "+incr ~k", "+incr ~k %R~n", "+incr ~k ~other"]),
    ("GET n", "+get ~k %R~n", &["~k %R~n", "+get ~k", "+get ~k %W~n"]),
    ("MSET n 1 m 2", "+mset ~k ~n ~m", &["+mset ~k ~n", "+mset ~k ~m"]),
    ("OBJECT ENCODING n", "+object|encoding ~k ~n", &["+object|freq ~k ~n", "+object|encoding ~k"]),
    ("PUBLISH c m", "+publish ~k &c", &["+publish ~k &d", "+publish ~k", "~k &c"]),
    ("ATOMIC.INCRBY n 1", "+atomic.incrby ~k ~n", &["~k ~n", "+atomic.incrby ~k"]),
    ("EVAL 'return 1' 1 n", "+eval +atomic.eval ~k ~n", &["+eval ~k ~n", "+atomic.eval ~k ~n", "+eval +atomic.eval ~k"]),
    ("ATOMIC.EVAL 'return 1' 1 n", "+atomic.eval ~k ~n", &["~k ~n", "+eval ~k ~n", "+atomic.eval ~k"]),
    ("ECHO a", "+echo ~k", &["~k", "+echo"]),
];

#[test]
fn each_permission_is_needed_for_the_first_call() {
    each_server(|server| {
        for (command, allowed, lacking) in RULES {
            for rules in *lacking {
                server.run("FLUSHALL");
                server.run("SET n 1");
                let reply = user(server, rules).run(&format!("ATOMIC.IDEM k 90000 {command}"));
                assert!(reply.error().starts_with("NOPERM "), "{command} with {rules}: {reply}");
                assert_eq!(brief(&server.run("EXISTS k")), "0", "{command} with {rules}");
            }
            server.run("FLUSHALL");
            server.run("SET n 1");
            let reply = user(server, allowed).run(&format!("ATOMIC.IDEM k 90000 {command}"));
            assert_eq!(brief(&reply)[..3], *"[0,", "{command} with {allowed}: {reply}");
        }
    });
}

#[test]
fn each_permission_is_needed_for_a_replay() {
    each_server(|server| {
        for (command, allowed, lacking) in RULES {
            server.run("FLUSHALL");
            server.run("SET n 1");
            let call = format!("ATOMIC.IDEM k 90000 {command}");
            assert_eq!(brief(&server.run(&call))[..3], *"[0,");
            for rules in *lacking {
                let mut guest = user(server, rules);
                // The stand-in's own permission does not count: nothing runs.
                let only_to_run = command.starts_with("EVAL") && *rules == "+eval ~k ~n";
                let reply = guest.run(&call);
                if only_to_run {
                    assert_eq!(brief(&reply)[..3], *"[1,", "{rules}: {reply}");
                } else {
                    assert!(reply.error().starts_with("NOPERM "), "{command} with {rules}: {reply}");
                }
                // Not even that there was another command.
                let other = guest.run("ATOMIC.IDEM k 90000 DEL n");
                assert!(other.error().starts_with("NOPERM "), "{rules}: {other}");
            }
            let mut guest = user(server, allowed);
            assert_eq!(brief(&guest.run(&call))[..3], *"[1,", "{command} with {allowed}");
        }
        server.run("FLUSHALL");
        server.run("ATOMIC.IDEM k 90000 INCR n");
        let mut guest = user(server, "+incr +decr ~k ~n");
        assert_eq!(guest.run("ATOMIC.IDEM k 90000 DECR n").error(), MISMATCH);
    });
}

#[test]
fn a_refused_replay_is_in_the_acl_log() {
    each_server(|server| {
        server.run("ATOMIC.IDEM k 90000 ECHO a");
        server.run("ACL LOG RESET");
        assert_eq!(user(server, "~k").run("ATOMIC.IDEM k 90000 ECHO a").error(), REPLAY);
        let log = server.run("ACL LOG");
        let fields = ["username", "reason", "object"].map(|field| log.array()[0].field(field).unwrap().text());
        assert_eq!((log.array().len(), fields), (1, ["guest", "command", "ECHO"].map(str::to_owned)));
    });
}

/// The user of a script, whoever runs it, is the one that called it: also inside, and also for a replay.
#[test]
fn scripts_inside_and_outside_act_as_the_caller() {
    each_server(|server| {
        server.run("SET n 1");
        let allowed = "return redis.acl_check_cmd('GET', 'n')";
        let write = "return redis.call('SET', 'n', 'w')";
        for (eval, key) in [("ATOMIC.EVAL", "a"), ("EVAL", "e")] {
            server.run("ACL LOG RESET");
            let mut guest = user(server, "+eval +atomic.eval ~a ~e ~s ~n");
            let mut run = |key: &str, script: &str| guest.call(&["ATOMIC.IDEM", key, "90000", eval, script, "0"]);
            assert_eq!(brief(&run(key, allowed)), "[0, nil]", "{eval}");
            assert!(is_denied(&run("s", write)), "{eval}");
            assert_eq!(brief(&server.run("GET n")), "\"1\"");
            // A replay through a script.
            assert_eq!(brief(&server.run("ATOMIC.IDEM s 90000 GET n")), "[0, \"1\"]");
            let replay = "return redis.call('ATOMIC.IDEM', 's', 90000, 'GET', 'n')";
            let reply = guest.call(&[eval, replay, "0"]);
            assert!(reply.error().starts_with(REPLAY), "{eval}: {reply}");
            assert_eq!(brief(&server.call(&[eval, replay, "0"])), "[1, \"1\"]");
            server.run("DEL s");
        }
        // Looking for the user of a script denies nothing, so it leaves no entry in the ACL log.
        server.run("ACL LOG RESET");
        let mut guest = user(server, "-ping +atomic.eval +get ~*");
        let replay = "return redis.call('ATOMIC.IDEM', 's', 90000, 'GET', 'n')";
        assert_eq!(brief(&guest.call(&["ATOMIC.EVAL", replay, "0"])), "[0, \"1\"]");
        assert_eq!(brief(&guest.call(&["ATOMIC.EVAL", replay, "0"])), "[1, \"1\"]");
        assert_eq!(brief(&server.run("ACL LOG")), "[]");
    });
}
