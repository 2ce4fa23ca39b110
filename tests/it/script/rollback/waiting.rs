//! Clients that wait: their lines are served only after the run is decided, and what it did to bindings is undone with it.

use super::{data, whole};
use crate::script::eval;
use crate::support::locks::{close, expect_silence, granted, not_granted};
use crate::support::{Connection, Server, Value, argv, each_server, eventually};

/// A client that waits for a lock.
#[track_caller]
fn waiter(server: &Server, command: &str) -> Connection {
    let blocked = || server.info("blocked_clients").parse::<i64>().unwrap();
    let before = blocked();
    let mut connection = server.connect();
    connection.send(&argv(command)).unwrap();
    eventually("the client waits", || (blocked() > before).then_some(()));
    connection
}

#[test]
fn an_undone_release_grants_nothing() {
    each_server(|server| {
        for release in
            ["atomic.unlock(KEYS[1], 'me')", "redis.call('ATOMIC.UNLOCK', KEYS[1], 'me')", "redis.call('DEL', KEYS[1])"]
        {
            server.run("FLUSHALL");
            granted(&server.run("ATOMIC.LOCK k me 1000000"));
            let mut waiting = waiter(server, "ATOMIC.LOCK k you 1000000 WAIT 0");
            let before = data(server);
            let reply = server.call(&eval(whole(&format!("{release} error('x')")), "1 k"));
            assert!(reply.error().ends_with("(rolled back 1 key)"), "{release}: {reply}");
            expect_silence(&mut waiting);
            assert_eq!(data(server), before, "{release}");
            assert_eq!(server.run("ATOMIC.LOCKINFO k").field("waiters"), Some(Value::Integer(1)));
            // The same release, not undone.
            server.call(&eval(whole(release), "1 k"));
            granted(&waiting.read().unwrap());
        }
    });
}

#[test]
fn a_key_of_another_type_for_a_moment_disturbs_no_waiter() {
    each_server(|server| {
        granted(&server.run("ATOMIC.LOCK k me 1000000"));
        let mut waiting = waiter(server, "ATOMIC.LOCK k you 1000000 WAIT 0");
        let body =
            "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 1) redis.pcall('ATOMIC.UNLOCK', KEYS[1], 'me') error('x')";
        server.call(&eval(whole(body), "1 k"));
        expect_silence(&mut waiting);
        server.run("ATOMIC.UNLOCK k me");
        granted(&waiting.read().unwrap());
    });
}

#[test]
fn a_script_overtakes_no_waiter() {
    each_server(|server| {
        granted(&server.run("ATOMIC.LOCK k me 1000000"));
        let mut waiting = waiter(server, "ATOMIC.LOCK k you 1000000 WAIT 0");
        let body = "atomic.unlock(KEYS[1], 'me') return atomic.lock(KEYS[1], 'script', 1000000)";
        not_granted(&server.call(&eval(whole(body), "1 k")));
        granted(&waiting.read().unwrap());
    });
}

#[test]
fn an_undone_release_keeps_the_binding() {
    each_server(|server| {
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK k me 1000000 BIND"));
        let bound = || server.info("atomic_locks_bound_to_connections");
        server.call(&eval(whole("atomic.unlock(KEYS[1], 'me') error('x')"), "1 k"));
        assert_eq!(bound(), "1");
        server.call(&eval(whole("atomic.lockrenew(KEYS[1], 'me', 5) error('x')"), "1 k"));
        assert!(server.run("PTTL k").integer() > 900_000);
        close(server, holder);
        eventually("the lock is released with its connection", || (server.run("EXISTS k") == Value::Integer(0)).then_some(()));
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK k me 1000000 BIND"));
        server.call(&eval(whole("atomic.unlock(KEYS[1], 'me')"), "1 k"));
        assert_eq!(bound(), "0");
    });
}

#[test]
fn fences_only_grow() {
    each_server(|server| {
        let first = granted(&server.run("ATOMIC.LOCK k me 1000000"));
        server.run("ATOMIC.UNLOCK k me");
        let script = whole("local fence = atomic.lock(KEYS[1], 'me', 1000)[2] error('fence ' .. string.format('%.0f', fence))");
        let reply = server.call(&eval(script, "1 k"));
        let undone = reply.error().split(' ').skip_while(|word| *word != "fence").nth(1).unwrap().parse::<i64>().unwrap();
        let last = granted(&server.run("ATOMIC.LOCK k me 1000000"));
        assert!(first < undone && undone < last, "{first} {undone} {last}");
    });
}

#[test]
fn due_work_waits_for_the_decision() {
    each_server(|server| {
        let mut waiting = waiter(server, "ATOMIC.ZPOPDUE z WAIT 0");
        server.call(&eval(whole("redis.call('ZADD', KEYS[1], 1, 'job') error('x')"), "1 z"));
        expect_silence(&mut waiting);
        server.call(&eval(whole("redis.call('ZADD', KEYS[1], 1, 'job')"), "1 z"));
        assert!(waiting.read().unwrap().to_string().contains("job"));
    });
}
