//! A long-running script: the replies of other clients, how it is ended, and that nothing else changes data meanwhile.

use std::time::{Duration, Instant};

use super::{eval, evalsha, expect_working, place, sha1};
use crate::support::locks::{granted, vanish};
use crate::support::resp::encode;
use crate::support::{Connection, FakeReplica, RealReplica, Server, Setup, Value, argv, each_server_with, eventually};

const BUSY: &str = "BUSY Redis is busy running a script. You can only call ATOMIC.SCRIPT KILL or SHUTDOWN NOSAVE.";
const NOTBUSY: &str = "NOTBUSY No scripts in execution right now.";
const ENDLESS: &str = "while true do end";

/// A server on which a script is soon reported as busy.
fn quick() -> Setup {
    Setup::with_module().config("busy-reply-threshold 50").config("repl-ping-replica-period 3600")
}

/// A connection whose script does not end.
struct Runner(Connection);

impl Runner {
    /// Sends the call, and returns when the server refuses other clients.
    #[track_caller]
    fn start(server: &Server, call: &[Vec<u8>]) -> Self {
        let mut connection = server.connect();
        connection.send(call).unwrap();
        let mut other = server.connect();
        eventually("others are refused", || {
            matches!(other.run("PING"), Value::Error(text) if super::in_words_of_redis(&text) == BUSY).then_some(())
        });
        Self(connection)
    }

    fn reply(&mut self) -> Value {
        self.0.read().unwrap()
    }
}

fn killed(script: &str) -> Value {
    Value::Error(format!("ERR Script killed by user with SCRIPT KILL.{}", place(script, 1)))
}

#[track_caller]
fn kill(server: &Server) {
    assert_eq!(server.run("ATOMIC.SCRIPT KILL"), Value::ok());
}

#[test]
fn other_clients_are_refused_until_one_kills_the_script() {
    each_server_with(&quick(), |server| {
        server.run("SET k v");
        let mut other = server.connect();
        for form in ["ATOMIC.EVAL", "ATOMIC.EVAL_RO"] {
            let mut runner = Runner::start(server, &argv(&format!("{form} '{ENDLESS}' 1 k")));
            for command in
                ["PING", "GET k", "SET k w", "INFO", "ATOMIC.EVAL 'return 1' 0", "ATOMIC.SCRIPT LOAD x", "EVAL 'return 1' 0"]
            {
                assert_eq!(super::in_words_of_redis(other.run(command).error()), BUSY, "{command}");
            }
            assert_eq!(super::in_words_of_redis(other.run("CONFIG SET atomic.script-budget-ms 1").error()), BUSY);
            kill(server);
            assert_eq!(runner.reply(), killed(ENDLESS), "{form}");
            assert_eq!(other.run("GET k"), Value::bulk("v"));
            expect_working(&mut runner.0, form);
        }
        let digest = server.call(&["ATOMIC.SCRIPT", "LOAD", ENDLESS]).text();
        for form in ["ATOMIC.EVALSHA", "ATOMIC.EVALSHA_RO"] {
            let mut runner = Runner::start(server, &argv(&format!("{form} {digest} 0")));
            kill(server);
            assert_eq!(runner.reply(), killed(ENDLESS), "{form}");
        }
    });
}

#[test]
fn a_slow_script_is_logged_once_with_its_digest() {
    each_server_with(&quick(), |server| {
        let mut runner = Runner::start(server, &argv(&format!("ATOMIC.EVAL '{ENDLESS}' 0")));
        let said = || server.log().lines().filter(|line| line.contains("slow script") && line.contains(&sha1(ENDLESS))).count();
        eventually("the script is in the log", || (said() > 0).then_some(()));
        kill(server);
        runner.reply();
        assert_eq!(said(), 1, "{}", server.log());
        assert_eq!(server.run("ATOMIC.EVAL 'return 1' 0"), Value::Integer(1));
        assert_eq!(said(), 1);
    });
}

#[test]
fn kill_without_a_running_script_is_refused() {
    each_server_with(&quick(), |server| {
        assert_eq!(server.run("ATOMIC.SCRIPT KILL").error(), NOTBUSY);
        assert_eq!(server.run("SCRIPT KILL").error(), NOTBUSY, "in the words of the server");
        assert!(matches!(server.run("ATOMIC.SCRIPT KILL now"), Value::Error(_)));
        server.run("MULTI");
        server.run("ATOMIC.SCRIPT KILL");
        assert_eq!(server.run("EXEC"), Value::Array(vec![Value::Error(NOTBUSY.to_owned())]));
        let script = "return redis.pcall('ATOMIC.SCRIPT', 'KILL')";
        let reply = super::in_words_of_redis(server.call(&eval(script, "0")).error());
        assert_eq!(reply, "ERR This Redis command is not allowed from script");
        assert_eq!(server.run("ACL SETUSER guest reset on nopass +@all -atomic.script|kill ~*"), Value::ok());
        let mut guest = server.connect();
        guest.run("AUTH guest x");
        assert!(guest.run("ATOMIC.SCRIPT KILL").error().starts_with("NOPERM "));
    });
}

/// Scripts on one line that only a limit can end.
const LOOPS: &[&str] = &[
    "while true do pcall(function() while true do end end) end",
    "while true do xpcall(function() error('x') end, function() while true do end end) end",
    "string.find(('a'):rep(3000), ('.-'):rep(8) .. 'b')",
    "string.gsub(('a'):rep(1e6), 'a', function() while true do end end)",
    "local t = {} for i = 1, 1000 do t[i] = i end table.sort(t, function() while true do end end)",
    "while true do coroutine.wrap(function() while true do coroutine.yield() end end)() end",
    "coroutine.wrap(function() pcall(function() while true do end end) while true do end end)()",
    "while true do redis.call('GET', 'none') end",
    "while true do redis.pcall('nosuchcommand') end",
    "while true do cjson.decode(cjson.encode({1, 2, {3}})) end",
    "while true do redis.sha1hex(('x'):rep(100)) end",
];

#[test]
fn every_loop_can_be_killed_and_its_memory_is_freed() {
    each_server_with(&quick(), |server| {
        for endless in LOOPS {
            let script = format!("local garbage = {{}} for i = 1, 5e4 do garbage[i] = {{i}} end {endless}");
            let mut runner = Runner::start(server, &eval(&script, "0"));
            kill(server);
            assert_eq!(runner.reply(), killed(&script), "{endless}");
            expect_working(&mut runner.0, endless);
        }
        let used: u64 = server.info("atomic_scripts_vm_memory").parse().unwrap();
        assert!(used < 8 << 20, "{used} bytes are used");
    });
}

#[test]
fn a_script_that_has_written_cannot_be_killed_but_the_server_can_be_shut_down() {
    each_server_with(&quick(), |server| {
        let mut runner = Runner::start(server, &eval("redis.call('SET', 'k', 1) while true do end", "0"));
        let refusal = server.run("ATOMIC.SCRIPT KILL");
        assert!(refusal.error().starts_with("UNKILLABLE Sorry the script already executed write commands"), "{refusal}");
        assert!(!runner.0.has_input(Duration::from_millis(100)), "it was killed");
        assert_eq!(super::in_words_of_redis(server.run("PING").error()), BUSY);
        server.shut_down("NOSAVE");
        assert!(runner.0.read().is_err());
    });
}

#[test]
fn a_failed_write_does_not_count() {
    each_server_with(&quick(), |server| {
        let script = "redis.pcall('SET', 'k') redis.pcall('INCR', KEYS[1], 1) while true do end";
        let mut runner = Runner::start(server, &eval(script, "1 k"));
        kill(server);
        assert_eq!(runner.reply(), killed(script));
    });
}

#[test]
fn each_of_the_two_kills_ends_only_its_own_scripts() {
    each_server_with(&quick(), |server| {
        let mut runner = Runner::start(server, &eval(ENDLESS, "0"));
        let reply = server.run("SCRIPT KILL");
        assert_eq!(reply.error(), NOTBUSY);
        assert_eq!(server.run("FUNCTION KILL").error(), NOTBUSY);
        assert_eq!(super::in_words_of_redis(server.run("PING").error()), BUSY, "it runs on");
        kill(server);
        assert_eq!(runner.reply(), killed(ENDLESS));

        let mut theirs = server.connect();
        theirs.send(&["EVAL", ENDLESS, "0"]).unwrap();
        eventually("the server is busy", || matches!(server.run("PING"), Value::Error(_)).then_some(()));
        assert_eq!(server.run("ATOMIC.SCRIPT KILL").error(), NOTBUSY);
        assert_eq!(server.run("SCRIPT KILL"), Value::ok());
        assert!(theirs.read().unwrap().error().contains("Script killed by user"));
        expect_working(&mut server.connect(), "both");
    });
}

#[test]
fn two_kills_end_one_script() {
    each_server_with(&quick(), |server| {
        for _ in 0..3 {
            let mut runner = Runner::start(server, &eval(ENDLESS, "0"));
            let mut killers = [server.connect(), server.connect()];
            killers.iter_mut().for_each(|killer| killer.send(&["ATOMIC.SCRIPT", "KILL"]).unwrap());
            let replies = killers.map(|mut killer| killer.read().unwrap());
            assert!(replies.contains(&Value::ok()), "{replies:?}");
            let known = |reply: &Value| *reply == Value::ok() || reply.error() == NOTBUSY;
            assert!(replies.iter().all(known), "{replies:?}");
            assert_eq!(runner.reply(), killed(ENDLESS));
            let slow = "local t = os.clock() while os.clock() - t < 0.3 do end return 'done'";
            assert_eq!(server.call(&eval(slow, "0")), Value::bulk("done"), "the next one is not killed");
        }
    });
}

#[test]
fn a_client_that_disconnects_does_not_end_its_script() {
    each_server_with(&quick(), |server| {
        let runner = Runner::start(server, &eval(ENDLESS, "0"));
        drop(runner);
        for _ in 0..20 {
            assert_eq!(super::in_words_of_redis(server.connect().run("PING").error()), BUSY);
        }
        kill(server);
        eventually("the script is over", || (server.run("PING") == Value::Status("PONG".to_owned())).then_some(()));
        assert_eq!(server.run("ATOMIC.SCRIPT KILL").error(), NOTBUSY);
        expect_working(&mut server.connect(), "a client that left");
    });
}

/// The limit that ends a script that cannot be killed.
fn unreachable(budget: u64, script: &str) -> Value {
    let limit = format!("the time limit of {budget} ms for scripts that SCRIPT KILL cannot reach");
    Value::Error(format!("ERR script exceeded {limit} (0 writes were applied){}", place(script, 1)))
}

/// Sends PING and KILL all the time while `run` lasts. None gets a reply before it ends: the server serves no other client.
fn hammered(server: &Server, run: impl FnOnce() -> Value) -> Value {
    let mut others: Vec<Connection> = (0..5).map(|_| server.connect()).collect();
    let reply = std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..40 {
                let command = if round % 2 == 0 { "PING" } else { "ATOMIC.SCRIPT KILL" };
                others.iter_mut().for_each(|other| other.send(&argv(command)).unwrap());
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        run()
    });
    for other in &mut others {
        for _ in 0..20 {
            assert_eq!(other.read().unwrap(), Value::Status("PONG".to_owned()));
            assert_eq!(other.read().unwrap().error(), NOTBUSY);
        }
    }
    reply
}

#[test]
fn in_a_transaction_no_other_client_is_served_and_a_limit_ends_the_script() {
    each_server_with(&quick().module_args(&["script-unreachable-budget-ms", "300"]), |server| {
        let reply = hammered(server, || {
            let mut connection = server.connect();
            connection.run("MULTI");
            connection.run("SET k 1");
            connection.call(&eval(ENDLESS, "0"));
            connection.run("GET k");
            connection.run("EXEC")
        });
        assert_eq!(reply, Value::Array(vec![Value::ok(), unreachable(300, ENDLESS), Value::bulk("1")]));
        assert!(server.log().contains("slow script"), "{}", server.log());
        assert_eq!(server.run("CONFIG SET atomic.script-unreachable-budget-ms 100"), Value::ok());
        let mut runner = Runner::start(server, &eval(ENDLESS, "0"));
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(200) {
            assert_eq!(
                super::in_words_of_redis(server.run("PING").error()),
                BUSY,
                "it can be killed, so that this limit is not its"
            );
        }
        kill(server);
        assert_eq!(runner.reply(), killed(ENDLESS));
    });
}

#[test]
fn on_a_replica_no_other_client_is_served_and_a_limit_ends_the_script() {
    each_server_with(&quick(), |primary| {
        let replica = RealReplica::with_module(primary);
        for setting in ["busy-reply-threshold 50", "atomic.script-unreachable-budget-ms 300"] {
            assert_eq!(replica.server.run(&format!("CONFIG SET {setting}")), Value::ok());
        }
        let reply = hammered(&replica.server, || {
            primary.run("SET written meanwhile");
            replica.server.call(&eval(ENDLESS, "0"))
        });
        assert_eq!(reply, unreachable(300, ENDLESS));
        replica.expect_same_data();
    });
}

#[test]
fn other_limits_end_a_script_that_could_be_killed() {
    let limits = ["script-timeout-ms", "200", "script-budget-ms", "500"];
    each_server_with(&quick().module_args(&limits), |server| {
        let wrote = "redis.call('SET', 'k', 1) while true do end";
        let mut other = server.connect();
        for (script, limit, writes) in [(ENDLESS, 200, 0), (wrote, 500, 1)] {
            // Repeat until other clients were refused: on a busy machine the limit may come before they ask, or before the write.
            let (mut runner, reply) = eventually("others are refused before the limit", || {
                let mut runner = server.connect();
                runner.send(&eval(script, "0")).unwrap();
                let mut refused = false;
                while !runner.has_input(Duration::from_millis(1)) {
                    let answer = other.run("PING");
                    refused |= matches!(&answer, Value::Error(text) if super::in_words_of_redis(text) == BUSY);
                }
                let reply = runner.read().unwrap();
                (refused && !(writes > 0 && reply.error().contains("(0 writes"))).then_some((runner, reply))
            });
            let text = format!("ERR script exceeded the time limit of {limit} ms ({writes} writes were applied)");
            assert_eq!(reply.error(), format!("{text}{}", place(script, 1)));
            expect_working(&mut runner, script);
        }
    });
}

/// Runs until a key changes.
const WATCHES: &str =
    "local before = redis.call('GET', KEYS[1]) while redis.call('GET', KEYS[1]) == before do end return 'changed'";

#[test]
fn no_lock_is_handed_off_while_a_script_is_busy() {
    each_server_with(&quick(), |server| {
        let mut replica = FakeReplica::attach(server);
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK lock holder 100000 BIND"));
        let mut waiting = ["gone", "next"].map(|owner| {
            let mut waiter = server.connect();
            waiter.send(&argv(&format!("ATOMIC.LOCK lock {owner} 100000 WAIT 0"))).unwrap();
            waiter
        });
        eventually("both wait", || (server.info("blocked_clients") == "2").then_some(()));
        replica.stream();
        let mut runner = Runner::start(server, &eval(WATCHES, "1 lock"));
        let [gone, next] = &mut waiting;
        drop(holder);
        drop(std::mem::replace(gone, server.connect()));
        assert_eq!(super::in_words_of_redis(server.run("PING").error()), BUSY, "the script is still busy");
        kill(server);
        assert_eq!(runner.reply(), killed(WATCHES));
        granted(&next.read().unwrap());
        let owners = server.run("ATOMIC.LOCKINFO lock").to_string();
        assert!(owners.contains("next") && !owners.contains("gone") && !owners.contains("holder"), "{owners}");
        let stream = replica.stream();
        assert!(
            !stream.is_empty() && stream.iter().all(|line| line.starts_with("SET lock ") || line.starts_with("DEL lock")),
            "{stream:?}"
        );
    });
}

#[test]
fn a_lease_that_ends_while_a_script_is_busy_is_handed_off_when_the_script_ends() {
    each_server_with(&quick(), |server| {
        let replica = RealReplica::with_module(server);
        let mut runner = server.connect();
        granted(&server.run("ATOMIC.LOCK lock holder 100000"));
        let mut waiter = server.connect();
        waiter.send(&argv("ATOMIC.LOCK lock next 100000 WAIT 0")).unwrap();
        eventually("it waits", || (server.info("blocked_clients") == "1").then_some(()));
        // Nothing comes between two commands of one pipeline, so the lease ends while the script runs, and the script would see the
        // next owner. (It may see that the key has expired, where the server's clock advances in a script.)
        let busy = "local before, t = redis.call('GET', KEYS[1]), os.clock() while os.clock() - t < 0.6 do \
                    local now = redis.call('GET', KEYS[1]) if now and now ~= before then return 'changed' end end return 'same'";
        runner
            .send_raw(&[argv("ATOMIC.LOCKRENEW lock holder 100"), eval(busy, "1 lock")].map(|call| encode(&call)).concat())
            .unwrap();
        assert_eq!(runner.read().unwrap(), Value::Integer(100));
        assert_eq!(runner.read().unwrap(), Value::bulk("same"));
        granted(&waiter.read().unwrap());
        replica.expect_same_data();
        vanish(server, {
            let mut last = server.connect();
            last.send(&argv("ATOMIC.LOCK lock last 1000 WAIT 0")).unwrap();
            eventually("it waits", || (server.info("blocked_clients") == "1").then_some(()));
            last
        });
    });
}

#[test]
fn a_cached_script_is_found_after_it_was_killed() {
    each_server_with(&quick(), |server| {
        let script = "while ARGV[1] == 'loop' do end return ARGV[1]";
        for _ in 0..3 {
            let mut runner = Runner::start(server, &eval(script, "0 loop"));
            kill(server);
            assert_eq!(runner.reply(), killed(script));
            assert_eq!(server.call(&evalsha(script, "0 once")), Value::bulk("once"));
        }
    });
}
