//! A renamed command needs the right to the command that the client sent, and no client loses a right that the server grants.

use super::{WHO, call, intercepting, natives, ours, tells_clients, user};
use crate::support::{Server, Value, each_server_with};

const BOTH: &str = "+eval +atomic.eval ~*";

/// The newest entry of the ACL log: user, reason and object.
fn last_refusal(server: &Server) -> Option<[String; 3]> {
    let log = server.run("ACL LOG 1");
    let entry = log.array().first()?;
    Some(["username", "reason", "object"].map(|field| entry.field(field).unwrap().text()))
}

fn refused(user: &str, reason: &str, object: &str) -> Option<[String; 3]> {
    Some([user, reason, object].map(str::to_owned))
}

#[test]
fn a_command_that_the_operator_forbids_is_not_served() {
    each_server_with(&intercepting().config("rename-command EVAL \"\""), |server| {
        let mut connection = server.connect();
        let sha = server.call(&["SCRIPT", "LOAD", WHO]).text();
        assert_eq!(connection.run(&format!("EVALSHA {sha} 0")), ours());
        let refusal = connection.call(&call("EVAL", WHO, "0"));
        assert!(refusal.error().starts_with("ERR unknown command"), "{refusal:?}");
    });
}

#[test]
fn a_user_with_both_rights_is_served_by_the_module() {
    each_server_with(&intercepting(), |server| {
        assert_eq!(user(server, "both", BOTH).call(&call("EVAL", WHO, "0")), ours());
        let mut all = user(server, "all", "+@all ~*");
        for command in ["EVAL", "EVAL_RO", "eval", "Eval_Ro"] {
            assert_eq!(all.call(&call(command, WHO, "0")), ours(), "{command}");
        }
        assert_eq!(last_refusal(server), None);
    });
}

#[test]
fn a_user_with_only_our_right_is_refused_with_the_servers_error() {
    each_server_with(&intercepting(), |server| {
        for rules in ["+@all -eval ~*", "+atomic.eval ~*", "+@all -@scripting +atomic.eval ~*"] {
            assert_eq!(server.run("ACL LOG RESET"), Value::ok());
            let mut guest = user(server, "guest", rules);
            let reply = guest.call(&call("EVAL", WHO, "0"));
            let expected = if tells_clients(&server.binary) {
                "NOPERM User guest has no permissions to run the 'eval' command"
            } else {
                "NOPERM this user has no permissions to run the 'eval' command"
            };
            assert_eq!(reply.error(), expected, "{rules}");
            assert_eq!(last_refusal(server), refused("guest", "command", "eval"), "{rules}");
            assert_eq!(guest.call(&call("ATOMIC.EVAL", WHO, "0")), ours(), "{rules}");
        }
    });
}

/// On 7.0 the filter cannot see which client sent a command, and the log names such users.
#[test]
fn a_user_with_only_the_servers_right_keeps_it_where_the_filter_sees_the_client() {
    each_server_with(&intercepting(), |server| {
        let mut guest = user(server, "guest", "+eval ~*");
        let reply = guest.call(&call("EVAL", WHO, "0"));
        assert_eq!(server.run("CONFIG SET atomic.intercept no"), Value::ok());
        assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
        if tells_clients(&server.binary) {
            assert_eq!(reply, natives());
            assert!(server.log().contains("user guest lacks +atomic.eval; the server's own engine serves EVAL"));
        } else {
            assert_eq!(reply.error(), "NOPERM this user has no permissions to run the 'atomic.eval' command");
            assert!(server.log().contains("user guest lacks +atomic.eval; these are refused: EVAL"));
        }
    });
}

#[test]
fn keys_must_be_permitted_for_both_commands() {
    each_server_with(&intercepting(), |server| {
        let mut guest = user(server, "guest", "+eval +atomic.eval ~a:*");
        assert_eq!(guest.call(&call("EVAL", WHO, "1 a:1")), ours());
        let reply = guest.call(&call("EVAL", WHO, "2 a:1 b:1"));
        assert!(reply.error().starts_with("NOPERM "), "{reply}");
        assert_eq!(last_refusal(server), refused("guest", "key", "b:1"));
        assert_eq!(guest.call(&call("EVAL", WHO, "1 a:1 b:argument")), ours());

        // A right to each with different keys: together they allow nothing.
        server.run("ACL LOG RESET");
        let mut split = user(server, "split", "+atomic.eval ~b:* (+eval ~a:*)");
        for key in ["a:1", "b:1"] {
            let reply = split.call(&call("EVAL", WHO, &format!("1 {key}")));
            if tells_clients(&server.binary) && key == "a:1" {
                assert_eq!(reply, natives(), "the server's own is permitted");
            } else {
                assert!(reply.error().starts_with("NOPERM "), "{key}: {reply}");
            }
        }
        assert_eq!(last_refusal(server), refused("split", "key", "b:1"));
    });
}

#[test]
fn many_keys_are_checked_like_few() {
    each_server_with(&intercepting(), |server| {
        let mut guest = user(server, "guest", "+eval +atomic.eval ~a:*");
        for count in [1, 12, 13, 14, 15, 16, 17, 200] {
            let keys: Vec<String> = (0..count).map(|at| format!("a:{at}")).collect();
            assert_eq!(guest.call(&call("EVAL", WHO, &format!("{count} {}", keys.join(" ")))), ours(), "{count}");
            let reply = guest.call(&call("EVAL", WHO, &format!("{} {} b", count + 1, keys.join(" "))));
            assert!(reply.error().starts_with("NOPERM "), "{count}: {reply}");
        }
    });
}

#[test]
fn a_revoked_right_is_gone_at_once_and_in_a_transaction() {
    each_server_with(&intercepting(), |server| {
        let mut guest = user(server, "guest", BOTH);
        for taken in ["-eval", "-atomic.eval", "resetkeys", "-eval -atomic.eval"] {
            assert_eq!(server.run(&format!("ACL SETUSER guest {BOTH}")), Value::ok());
            guest.run("MULTI");
            assert_eq!(guest.call(&call("EVAL", WHO, "1 k")), Value::Status("QUEUED".to_owned()));
            assert_eq!(server.run(&format!("ACL SETUSER guest {taken}")), Value::ok());
            let replies = guest.run("EXEC");
            assert!(replies.array()[0].error().starts_with("NOPERM "), "{taken}: {replies}");
            if tells_clients(&server.binary) {
                assert!(replies.array()[0].error().contains("ACLs rules changed"), "{taken}: {replies}");
            }
            assert_eq!(last_refusal(server).map(|[user, ..]| user), Some("guest".to_owned()), "{taken}");
            if taken != "-atomic.eval" || !tells_clients(&server.binary) {
                let reply = guest.call(&call("EVAL", WHO, "1 k"));
                assert!(reply.error().starts_with("NOPERM "), "{taken}: {reply}");
            }
        }
    });
}

/// A command that the server holds back does not pass the filter again.
#[test]
fn a_right_revoked_while_the_command_was_held_back_is_gone() {
    each_server_with(&intercepting(), |server| {
        let (mut guest, mut other) = (user(server, "guest", BOTH), user(server, "other", BOTH));
        assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
        guest.send(&call("EVAL", WHO, "0")).unwrap();
        other.send(&call("EVAL", WHO, "0")).unwrap();
        crate::support::eventually("both are held", || (server.info("blocked_clients") == "2").then_some(()));
        assert_eq!(server.run("ACL SETUSER guest -eval"), Value::ok());
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        assert_eq!(other.read().unwrap(), ours());
        assert!(guest.read().unwrap().error().starts_with("NOPERM "));
    });
}

#[test]
fn a_client_that_sends_the_filters_spelling_needs_both_rights() {
    each_server_with(&intercepting(), |server| {
        let mut guest = user(server, "guest", "+atomic.eval ~*");
        assert!(guest.call(&call("ATOMIC.Eval", WHO, "0")).error().contains("'eval' command"));
        assert_eq!(guest.call(&call("ATOMIC.EVAL", WHO, "0")), ours());
        assert_eq!(user(server, "both", BOTH).call(&call("ATOMIC.Eval", WHO, "0")), ours());
    });
}

#[test]
fn each_subcommand_of_script_has_its_own_right() {
    each_server_with(&intercepting(), |server| {
        let mut guest = user(server, "guest", "+script|load +atomic.script");
        assert_eq!(guest.call(&["SCRIPT", "LOAD", "return 1"]).text(), super::sha1("return 1"));
        let reply = guest.call(&["SCRIPT", "EXISTS", "x"]);
        assert!(reply.error().starts_with("NOPERM ") && reply.error().contains("'script|exists' command"), "{reply}");
        assert_eq!(last_refusal(server), refused("guest", "command", "script|exists"));
        let mut guest = user(server, "lacking", "+script");
        let reply = guest.call(&["SCRIPT", "LOAD", "return 1"]);
        if tells_clients(&server.binary) {
            assert_eq!(reply.text(), super::sha1("return 1"));
        } else {
            assert!(reply.error().starts_with("NOPERM "), "{reply}");
        }
    });
}

#[test]
fn a_client_that_is_not_authenticated_gets_noauth() {
    let setup = intercepting().config("requirepass secret");
    crate::support::each_installed(|binary| {
        let server = Server::start(binary, &setup.clone().config("user default on >secret ~* +@all"));
        let mut nobody = server.connect();
        assert!(nobody.call(&call("EVAL", WHO, "0")).error().starts_with("NOAUTH "));
        nobody.run("AUTH secret");
        assert_eq!(nobody.call(&call("EVAL", WHO, "0")), ours());
    });
}

#[test]
fn the_calls_of_a_script_need_the_rights_of_its_user() {
    each_server_with(&intercepting(), |server| {
        let script = "return redis.call('SET', 'k', 'v')";
        assert!(crate::script::is_denied(&user(server, "guest", BOTH).call(&call("EVAL", script, "0"))));
        assert_eq!(user(server, "guest", &format!("{BOTH} +set")).call(&call("EVAL", script, "0")), Value::ok());
    });
}

/// The module caches for a moment that a client is unrestricted.
#[test]
fn an_unrestricted_user_is_cached_until_its_rights_change() {
    each_server_with(&intercepting(), |server| {
        let mut all = user(server, "all", "+@all ~*");
        user(server, "guest", "+@all -eval ~*");
        let mut script = || all.call(&call("EVAL", WHO, "0"));
        for _ in 0..3 {
            assert_eq!(script(), ours());
            assert_eq!(server.run("ACL SETUSER all -eval"), Value::ok());
            assert!(script().error().starts_with("NOPERM "));
            assert_eq!(server.run("ACL SETUSER all +@all"), Value::ok());
            assert_eq!(script(), ours());
            server.run("MULTI");
            server.call(&call("EVAL", WHO, "0"));
            server.run("ACL SETUSER all -eval");
            assert_eq!(server.run("EXEC").array()[0], ours());
            assert!(script().error().starts_with("NOPERM "));
            assert_eq!(server.run("ACL SETUSER all +@all"), Value::ok());
        }
        for becomes in ["AUTH guest pw", "HELLO 2 AUTH guest pw"] {
            assert_eq!(script(), ours());
            let mut same = server.connect();
            same.run("AUTH all pw");
            assert_eq!(same.call(&call("EVAL", WHO, "0")), ours());
            same.run(becomes);
            assert!(same.call(&call("EVAL", WHO, "0")).error().starts_with("NOPERM "), "{becomes}");
            same.run("RESET");
            assert_eq!(same.call(&call("EVAL", WHO, "0")), ours(), "{becomes}");
        }
        let mut same = server.connect();
        assert_eq!(same.call(&call("EVAL", WHO, "0")), ours());
        same.run("MULTI");
        same.call(&call("EVAL", WHO, "0"));
        same.run("AUTH guest pw");
        same.call(&call("EVAL", WHO, "0"));
        let replies = same.run("EXEC");
        if let Value::Array(replies) = replies {
            assert_eq!(replies[0], ours());
            assert!(matches!(&replies[2], Value::Error(_)), "{replies:?}");
        }
        assert!(
            same.call(&call("EVAL", WHO, "0")).error().starts_with("NOPERM ") || same.run("ACL WHOAMI") == Value::bulk("default")
        );
    });
}

#[test]
fn what_a_restricted_user_may_run_is_cached_command_by_command() {
    each_server_with(&intercepting(), |server| {
        let rules = "-@all +eval +atomic.eval +atomic.eval_ro +evalsha ~a:*";
        let mut guest = user(server, "guest", rules);
        for _ in 0..3 {
            assert_eq!(guest.call(&call("EVAL", WHO, "1 a:1")), ours());
            // Keys are checked each time, and another command needs its own rights.
            server.run("ACL LOG RESET");
            assert!(guest.call(&call("EVAL", WHO, "1 b:1")).error().starts_with("NOPERM "));
            assert_eq!(last_refusal(server), refused("guest", "key", "b:1"));
            assert_ne!(guest.call(&call("EVAL_RO", WHO, "0")), ours());
            server.run("ACL SETUSER guest -eval");
            assert!(guest.call(&call("EVAL", WHO, "1 a:1")).error().starts_with("NOPERM "));
            server.run("ACL SETUSER guest +eval");
        }
    });
}

#[test]
fn a_user_without_all_keys_is_not_cached() {
    each_server_with(&intercepting(), |server| {
        for rules in ["+@all ~a", "+@all ~* -eval", "+@all %R~*", "+eval ~* (+@all ~*)"] {
            let mut guest = user(server, "guest", rules);
            for _ in 0..3 {
                guest.call(&call("EVAL", WHO, "1 a"));
                assert!(guest.call(&call("EVAL", WHO, "1 b")) != ours() || rules.contains("(+@all"), "{rules}");
            }
        }
    });
}
