//! A library without the text of ours is foreign: the module does not run, replace or delete it, whatever its name. And a user
//! without the right to write does not change the store.

use super::super::{eval, evalsha, sha1};
use super::{NOSCRIPT, ONE, TWO, expect_found, libraries, listed, load, names, text};
use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_with};

/// A foreign library of this name with one function.
fn foreign(name: &str, function: &str) -> String {
    format!("#!lua name={name}\nredis.register_function('{function}', function() return 'foreign' end)")
}

fn load_natively(server: &Server, code: impl AsRef<[u8]>) {
    let reply = server.call(&[&b"FUNCTION"[..], b"LOAD", b"REPLACE", code.as_ref()]);
    assert!(matches!(reply, Value::Bulk(_)), "{reply}");
}

/// Foreign texts under the name of a script's library.
fn forged(script: &str) -> Vec<Vec<u8>> {
    let name = format!("atomic_{}", sha1(script));
    let ours = text(script);
    vec![
        foreign(&name, "one").into_bytes(),
        [&ours[..], b"redis.register_function('one', function() return 'foreign' end)\n"].concat(),
        [&ours[..], b"\n"].concat(),
        String::from_utf8(ours.clone()).unwrap().replace(script, "return 'another'").into_bytes(),
        String::from_utf8(ours).unwrap().replace("function()end", "function() return 'foreign' end").into_bytes(),
    ]
}

#[test]
fn load_and_flush_do_not_touch_foreign_libraries() {
    each_server(|server| {
        for forged in forged(ONE) {
            load_natively(server, &forged);
            let kept = server.run("FUNCTION LIST WITHCODE");
            let mut replica = FakeReplica::attach(server);
            for _ in 0..2 {
                assert_eq!(server.call(&evalsha(ONE, "1 k")).error(), NOSCRIPT, "{}", forged.escape_ascii());
                assert_eq!(server.run(&format!("ATOMIC.SCRIPT EXISTS {}", sha1(ONE))), Value::integers(&[0]));
                load(server, ONE);
                expect_found(server);
                assert_eq!(listed(server), [(sha1(ONE), false)], "kept, and can be evicted");
                assert_eq!(server.run("FUNCTION LIST WITHCODE"), kept);
                assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
                assert_eq!(server.run("FUNCTION LIST WITHCODE"), kept);
            }
            replica.expect_stream(&[]);
        }
        assert_eq!(server.info("atomic_scripts_store_refused"), (2 * forged(ONE).len()).to_string());
        let said = format!("library atomic_{} does not belong to this module", sha1(ONE));
        assert_eq!(server.log().matches(&said).count(), 1, "said once");
        // The name is free again: now LOAD stores the script.
        server.run("FUNCTION FLUSH");
        load(server, ONE);
        assert_eq!(listed(server), [(sha1(ONE), true)]);
        assert_eq!(libraries(server), names(&[ONE]));
    });
}

#[test]
fn a_library_that_another_client_replaces_is_foreign_from_then_on() {
    each_server(|server| {
        load(server, ONE);
        load(server, TWO);
        for forged in forged(ONE) {
            load_natively(server, &forged);
            assert_eq!(listed(server).len(), 2);
            assert!(listed(server).contains(&(sha1(ONE), false)), "{:?}", listed(server));
            load_natively(server, text(ONE));
            assert!(listed(server).contains(&(sha1(ONE), true)), "{:?}", listed(server));
        }
        load_natively(server, &forged(ONE)[1]);
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        assert_eq!(libraries(server), names(&[ONE]));
        assert_eq!(server.run("FCALL one 0"), Value::bulk("foreign"));
    });
}

#[test]
fn a_foreign_function_with_the_name_stays() {
    each_server(|server| {
        let name = format!("atomic_{}", sha1(ONE));
        load_natively(server, foreign("mine", &name));
        for _ in 0..2 {
            load(server, ONE);
            expect_found(server);
            assert_eq!(listed(server), [(sha1(ONE), false)]);
        }
        assert_eq!(server.run("ATOMIC.SCRIPT FLUSH"), Value::ok());
        assert_eq!(server.run(&format!("FCALL {name} 0")), Value::bulk("foreign"));
        assert_eq!(server.log().matches("loaded but not stored").count(), 1, "said once");
        assert!(server.log().contains("already exists"), "with the server's reason");
    });
}

/// Redis 7.0 accepts no categories from modules.
#[test]
fn a_user_without_the_right_to_write_does_not_change_the_store() {
    for setup in [Setup::with_module(), Setup::with_module().module_args(&["intercept", "yes"])] {
        each_server_with(&setup, |server| {
            load(server, ONE);
            assert_eq!(server.run("ACL SETUSER reader on nopass ~* +@all -@write"), Value::ok());
            let mut reader = server.connect();
            assert_eq!(reader.run("AUTH reader x"), Value::ok());
            let mut replica = FakeReplica::attach(server);
            let natively = reader.call(&["SCRIPT", "LOAD", TWO]);
            assert_eq!(natively, Value::bulk(sha1(TWO)), "the server's own SCRIPT LOAD is no write");
            assert_eq!(reader.call(&["EVALSHA", &sha1("return 1"), "0"]).error().split(' ').next(), Some("NOSCRIPT"));
            if server.binary.is_redis_from(7, 2) || server.binary.is_valkey {
                for command in ["ATOMIC.SCRIPT FLUSH", "ATOMIC.SCRIPT LOAD x"] {
                    assert!(reader.run(command).error().starts_with("NOPERM "), "{command}");
                }
                replica.expect_stream(&[]);
                assert_eq!(libraries(server), names(&[ONE]));
            }
            assert_eq!(reader.run(&format!("ATOMIC.SCRIPT EXISTS {}", sha1(ONE))), Value::integers(&[1]));
            assert_eq!(reader.call(&eval("return 1", "0")), Value::Integer(1));
        });
    }
}
