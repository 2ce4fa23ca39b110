//! The cost of a run in the engine. Not a test:
//! `cargo test --no-default-features --lib lua::tests::timing -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

struct Null;

impl Port for Null {
    fn begin(&mut self, _: Rules) -> Result<(), Error> {
        Ok(())
    }
    fn call(&mut self, _: CommandCall<'_>) -> &[u8] {
        b"$5\r\nvalue\r\n"
    }
    fn run(&mut self, _: usize, call: CommandCall<'_>) -> &[u8] {
        self.call(call)
    }
    fn may_call(&mut self, _: &[&[u8]]) -> Result<bool, &[u8]> {
        Ok(false)
    }
    fn refusal(&mut self, text: &'static [u8]) -> &[u8] {
        text
    }
    fn pause(&mut self) -> Pause {
        Pause::Done
    }
    fn writes(&self) -> u64 {
        0
    }
    fn log(&mut self, _: LogLevel, _: &[u8]) {}
}

impl ReplySink for Null {
    fn integer(&mut self, _: i64) {}
    fn bulk(&mut self, _: &[u8]) {}
    fn status(&mut self, _: &[u8]) {}
    fn error(&mut self, _: &[u8]) {}
    fn boolean(&mut self, _: bool) {}
    fn null(&mut self) {}
    fn array(&mut self, _: usize) {}
    fn map(&mut self, _: usize) {}
    fn set(&mut self, _: usize) {}
    fn double(&mut self, _: f64) {}
    fn big_number(&mut self, _: &[u8]) {}
    fn verbatim(&mut self, _: &[u8], _: &[u8]) {}
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_run() {
    let mut rig = Rig::new();
    for (source, keys, args) in [
        ("", &[][..], &[][..]),
        ("return 1", &[][..], &[][..]),
        ("return ARGV[1]", &[&b"key"[..]][..], &[&b"value"[..]][..]),
        ("return redis.call('GET', 'key')", &[][..], &[][..]),
        ("return redis.call('GET', KEYS[1])", &[&b"key"[..]][..], &[&b"value"[..]][..]),
        ("for i = 1, 100 do redis.call('GET', 'key') end", &[][..], &[][..]),
        ("for i = 1, 100 do redis.call('GET', i) end", &[][..], &[][..]),
        ("return {1, 2, 3}", &[][..], &[][..]),
    ] {
        let sha = rig.engine.load(source.as_bytes()).unwrap().hex();
        let run = Run { keys: &keys, args: &args, read_only: false, numbers: NumberText::Lua51, leaves: false };
        let mut best = u128::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            for _ in 0..100_000 {
                rig.engine.eval_sha(&sha, &run, &mut Null, &mut Null).unwrap();
            }
            best = best.min(start.elapsed().as_nanos() / 100_000);
        }
        println!("{best:6} ns  {source}");
    }
}
