//! The script cache, through the engine.

use super::*;
use crate::lua::EVICTABLE_SCRIPTS;

fn run(rig: &mut Rig, sha: &[u8]) -> Result<String, Error> {
    let mut record = Record::default();
    let result = rig.engine.eval_sha(sha, &NOTHING, &mut rig.port, &mut record);
    result.map(|()| record.0.join(" "))
}

fn adopt(rig: &mut Rig, source: &[u8]) -> [u8; 40] {
    rig.engine.adopt(Digest::of(source), source);
    Digest::of(source).hex()
}

#[test]
fn scripts_run_by_their_digest_in_any_case() {
    let mut rig = Rig::new();
    let digest = rig.engine.load(b"return 7").unwrap();
    let hex = digest.hex();
    assert_eq!(run(&mut rig, &hex).unwrap(), ":7");
    assert_eq!(run(&mut rig, &hex.to_ascii_uppercase()).unwrap(), ":7");
    assert!(rig.engine.contains(digest));
    for unknown in [&b""[..], b"x", &hex[..39], &[b'0'; 40], &[b'g'; 40], &[b'0'; 41]] {
        assert_eq!(run(&mut rig, unknown), Err(Error::NoScript));
    }
}

#[test]
fn eval_remembers_and_flush_forgets() {
    let mut rig = Rig::new();
    rig.check("return 1", ":1");
    let digest = Digest::of(b"return 1");
    let hex = digest.hex();
    assert_eq!(run(&mut rig, &hex).unwrap(), ":1");
    assert_eq!(rig.engine.source(digest), Some(&b"return 1"[..]));
    rig.engine.flush().unwrap();
    assert_eq!(run(&mut rig, &hex), Err(Error::NoScript));
    assert_eq!(rig.engine.stats().cache.scripts, 0);
    rig.check("return 1", ":1");
}

#[test]
fn stored_scripts_are_not_evicted() {
    let mut rig = Rig::new();
    let loaded = rig.engine.load(b"return 'loaded'").unwrap().hex();
    let kept = adopt(&mut rig, b"return 'kept'");
    for i in 0..EVICTABLE_SCRIPTS * 3 {
        rig.check(&format!("return {i}"), &format!(":{i}"));
    }
    let stats = rig.engine.stats().cache;
    assert_eq!(stats.scripts, EVICTABLE_SCRIPTS + 1);
    assert_eq!((stats.evicted, stats.stored), (1001, 1));
    assert_eq!(run(&mut rig, &kept).unwrap(), "$kept");
    assert_eq!(run(&mut rig, &loaded), Err(Error::NoScript));
    assert_eq!(run(&mut rig, &Digest::of(b"return 0").hex()), Err(Error::NoScript));
    assert_eq!(run(&mut rig, &Digest::of(b"return 1499").hex()).unwrap(), ":1499");
}

#[test]
fn memory_stays_bounded_over_many_scripts() {
    let mut rig = Rig::new();
    for i in 0..20_000 {
        rig.check(&format!("local a, b = {i}, 'x' return a"), &format!(":{i}"));
    }
    assert!(rig.engine.stats().vm_bytes < 8 << 20, "{}", rig.engine.stats().vm_bytes);
}

#[test]
fn scripts_survive_a_new_vm() {
    let mut rig = Rig::new();
    let kept = rig.engine.load(b"return 'kept'").unwrap().hex();
    let pin = "local function f() end setfenv(f, {('x'):rep(9000000)}) return 1";
    for i in 0..3 {
        rig.check(&format!("{pin} -- {i}"), ":1");
    }
    assert_eq!(run(&mut rig, &kept).unwrap(), "$kept");
    rig.check(&format!("{pin} -- 0"), ":1");
}

#[test]
fn an_adopted_script_is_compiled_when_it_is_used() {
    let mut rig = Rig::new();
    let good = b"local a, b = 1, 'two' return a";
    let hex = adopt(&mut rig, good);
    let stats = |rig: &Rig, source| rig.engine.script_stats(Digest::of(source)).unwrap();
    assert_eq!(stats(&rig, good).memory, 0);
    assert_eq!(run(&mut rig, &hex).unwrap(), ":1");
    assert!((100..10_000).contains(&stats(&rig, good).memory), "{:?}", stats(&rig, good));
    let broken = adopt(&mut rig, b"return return");
    for _ in 0..2 {
        assert!(matches!(run(&mut rig, &broken), Err(Error::Script(text)) if text.starts_with(b"ERR Error compiling script")));
        assert!(rig.engine.load(b"return return").is_err());
    }
    assert_eq!(stats(&rig, b"return return").runs.calls, 0, "what does not compile does not run");
    assert_eq!(run(&mut rig, &hex).unwrap(), ":1");
}

#[test]
fn a_script_that_is_no_longer_stored_is_evicted_at_once_above_the_limit() {
    let mut rig = Rig::new();
    let sources: Vec<_> = (0..=EVICTABLE_SCRIPTS).map(|i| format!("return {i}")).collect();
    for source in &sources {
        adopt(&mut rig, source.as_bytes());
    }
    rig.engine.set_stored(&[Digest::of(b"return 0")].into());
    assert_eq!(rig.engine.stats().cache.scripts, EVICTABLE_SCRIPTS + 1);
    rig.engine.set_stored(&[].into());
    assert_eq!(rig.engine.stats().cache.scripts, EVICTABLE_SCRIPTS);
    assert!(!rig.engine.contains(Digest::of(b"return 0")), "the least recently used");
}

#[test]
fn runs_and_errors_are_counted_per_script() {
    let mut rig = Rig::new();
    rig.check("return 1", ":1");
    let hex = Digest::of(b"return 1").hex();
    run(&mut rig, &hex).unwrap();
    let failing = rig.engine.load(b"error('x')").unwrap();
    assert!(run(&mut rig, &failing.hex()).is_err());
    let runs = |rig: &Rig, digest| rig.engine.script_stats(digest).unwrap().runs;
    let (good, bad) = (runs(&rig, Digest::of(b"return 1")), runs(&rig, failing));
    assert_eq!((good.calls, good.errors, bad.calls, bad.errors), (2, 0, 1, 1));
    assert!(0 < good.p50 && good.p50 <= good.p99 && good.p99 <= good.max && good.max <= good.total, "{good:?}");
    rig.engine.reset_stats();
    assert_eq!(runs(&rig, failing).calls, 0);
    assert_eq!(run(&mut rig, &hex).unwrap(), ":1");
    assert_eq!(runs(&rig, Digest::of(b"return 1")).calls, 1);
}
