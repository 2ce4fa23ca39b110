//! Client libraries in Rust: their own types for scripts and functions.

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, FunctionInterface, KeysInterface, LuaInterface};
use fred::types::Builder;
use fred::types::config::Config;
use fred::types::scripts::{FunctionFlag, Library};

use super::each_way;
use super::examples::each_example;
use crate::support::{DEADLINE, Server};

// The examples are built as programs too; here they run in the test.
#[allow(dead_code)]
#[path = "../../../examples/fred.rs"]
mod fred_example;
#[allow(dead_code)]
#[path = "../../../examples/redis_rs.rs"]
mod redis_rs;

const COUNT: &str =
    "redis.call('SET', KEYS[2], ARGV[1]) return {redis.call('INCRBY', KEYS[1], ARGV[2]), redis.call('GET', KEYS[2])}";

#[test]
fn a_script_of_redis_rs_loads_itself_and_returns() {
    each_way(|server| {
        let mut client = server.client();
        let script = redis::Script::new(COUNT);
        let keys = &["{k}count", "{k}last"];
        let mut invocation = script.prepare_invoke();
        invocation.key(keys).arg(b"\x00\xff").arg(5);
        // The script is not loaded: NOSCRIPT, SCRIPT LOAD and EVALSHA again.
        assert_eq!(invocation.invoke::<(i64, Vec<u8>)>(&mut client), Ok((5, b"\x00\xff".to_vec())));
        assert_eq!(invocation.load(&mut client).as_deref(), Ok(script.get_hash()));
        assert_eq!(script.key(keys).arg("b").arg(2).invoke(&mut client), Ok((7, "b".to_owned())));
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut client).unwrap();
        assert_eq!(script.key(keys).arg("c").arg(1).invoke(&mut client), Ok((8, "c".to_owned())));

        let (set, answer): (String, (i64, String)) = redis::pipe()
            .atomic()
            .cmd("SET")
            .arg(keys[0])
            .arg(1)
            .cmd("EVALSHA")
            .arg(script.get_hash())
            .arg(2)
            .arg(keys)
            .arg("d")
            .arg(1)
            .query(&mut client)
            .unwrap();
        assert_eq!((set.as_str(), answer), ("OK", (2, "d".to_owned())));

        let error = redis::Script::new("return redis.call('INCR', KEYS[1])").key(keys[1]).invoke::<i64>(&mut client).unwrap_err();
        assert!(error.to_string().contains("not an integer"), "{error}");
        let error = redis::Script::new("return {err = 'MINE says no'}").invoke::<i64>(&mut client).unwrap_err();
        assert_eq!((error.code(), error.detail()), (Some("MINE"), Some("says no")));
        let error = redis::Script::new("return return").invoke::<i64>(&mut client).unwrap_err();
        assert!(error.to_string().contains("ompil"), "{error}");
    });
}

#[test]
fn a_script_of_fred_reloads_itself_and_returns() {
    each_way(|server| {
        with_fred(server, async |client| {
            let script = fred::types::scripts::Script::from_lua(COUNT);
            let keys = vec!["{k}count", "{k}last"];
            let refused = script.evalsha::<(i64, String), _, _, _>(&client, keys.clone(), vec!["a", "1"]).await.unwrap_err();
            assert!(refused.details().starts_with("NOSCRIPT"), "{refused}");
            assert_eq!(script.evalsha_with_reload(&client, keys.clone(), vec!["a", "5"]).await, Ok((5, "a".to_owned())));
            assert_eq!(script.evalsha(&client, keys.clone(), vec!["b", "2"]).await, Ok((7, "b".to_owned())));
            assert_eq!(client.script_exists(script.sha1().clone()).await, Ok(vec![true]));
            client.script_flush(false).await?;
            assert_eq!(client.script_exists(script.sha1().clone()).await, Ok(vec![false]));
            assert_eq!(client.eval(COUNT, keys.clone(), vec!["c", "1"]).await, Ok((8, "c".to_owned())));
            assert_eq!(client.get(keys[1]).await, Ok("c".to_owned()));

            let refused = client.eval::<i64, _, _, _>("return redis.call('INCR', KEYS[1])", keys[1], ()).await.unwrap_err();
            assert!(refused.details().contains("not an integer"), "{refused}");
            Ok(())
        });
    });
}

#[test]
fn a_library_of_fred_is_loaded_called_and_restored() {
    let code = "#!lua name=orders\nredis.register_function('take', function(keys, args) return redis.call('DECRBY', keys[1], args[1]) end)\n\
                redis.register_function{function_name='left', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}";
    each_way(|server| {
        with_fred(server, async |client| {
            client.set::<(), _, _>("stock", 10, None, None, false).await?;
            let library = Library::from_code(&client, code).await?;
            assert_eq!(&**library.name(), "orders");
            let (take, left) = (&library.functions()["take"], &library.functions()["left"]);
            assert_eq!((take.flags(), left.flags()), (&[][..], &[FunctionFlag::NoWrites][..]));
            assert_eq!(take.fcall(&client, "stock", 4).await, Ok(6));
            assert_eq!(left.fcall_ro(&client, "stock", ()).await, Ok(6));
            assert!(take.fcall_ro::<i64, _, _, _>(&client, "stock", 4).await.is_err());

            let dump: fred::types::Value = client.function_dump().await?;
            client.function_delete::<(), _>("orders").await?;
            assert!(left.fcall::<i64, _, _, _>(&client, "stock", ()).await.is_err());
            client.function_restore::<(), _, _>(dump.into_bytes().unwrap(), "REPLACE").await?;
            assert_eq!(Library::from_name(&client, "orders").await?, library);
            assert_eq!(take.fcall(&client, "stock", 1).await, Ok(5));
            Ok(())
        });
    });
}

#[test]
fn the_example_for_redis_rs_works() {
    each_example(|server| redis_rs::run(&server.url()).unwrap());
}

#[test]
fn the_example_for_fred_works() {
    each_example(|server| current_thread().block_on(fred_example::run(&server.url())).unwrap());
}

fn current_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Runs `body` with a client of fred that is connected to the server.
#[track_caller]
fn with_fred(server: &Server, body: impl AsyncFn(Client) -> Result<(), Error>) {
    let connected = async {
        let config = Config::from_url(&server.url())?;
        let client = Builder::from_config(config).with_performance_config(|to| to.default_command_timeout = DEADLINE).build()?;
        client.init().await?;
        body(client.clone()).await?;
        client.quit().await
    };
    current_thread().block_on(connected).unwrap();
}
