//! The examples: each calls the same commands through its client; the test checks what it left on the server.

use crate::support::installed::root;
use crate::support::{Server, Setup, Value, each_server_with};

/// Runs an example on every server, with the scripted commands of `lua/commands`.
pub fn each_example(run: impl Fn(&Server)) {
    let commands = root().join("lua/commands");
    let setup = Setup::with_module().module_args(&["commands-dir", commands.to_str().unwrap()]);
    each_server_with(&setup, |server| {
        run(server);
        assert_eq!(server.run("MGET answer {book}:stock {book}:orders").to_string(), "1) \"42\"\n2) \"3\"\n3) \"1\"");
        assert_eq!(server.run("ZSCORE scores ann").text(), "30");
        assert_eq!(server.run("ATOMIC.LOCKINFO lock:report"), Value::Array(Vec::new()), "the lock was not given back");
        for command in ["atomic.ratelimit", "atomic.cas", "atomic.lock", "atomic.unlock", "atomic.evalsha"] {
            let figures = server.info(&format!("cmdstat_{command}"));
            assert!(figures.contains("rejected_calls=0,failed_calls=0"), "{command}: {figures}");
        }
        let limited = server.run("ATOMIC.RATELIMIT_RO rate:ann BUCKET 3 1 60000");
        assert_eq!(limited.array()[..3], [Value::Integer(0), Value::Integer(3), Value::Integer(0)]);
    });
}
