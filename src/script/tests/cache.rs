//! The script cache, through the engine.

use super::*;
use crate::script::EVICTABLE_SCRIPTS;

fn run(rig: &mut Rig, sha: &[u8]) -> Result<String, Error> {
    let mut record = Record::default();
    let result = rig.engine.eval_sha(sha, &NOTHING, &mut rig.port, &mut record);
    result.map(|()| record.0.join(" "))
}

#[test]
fn scripts_run_by_their_digest_in_any_case() {
    let mut rig = Rig::new();
    let digest = rig.engine.load(b"return 7").unwrap();
    let hex = digest.hex();
    assert_eq!(run(&mut rig, &hex).unwrap(), ":7");
    assert_eq!(run(&mut rig, &hex.to_ascii_uppercase()).unwrap(), ":7");
    assert!(rig.engine.exists(&hex) && rig.engine.exists(&hex.to_ascii_uppercase()));
    for unknown in [&b""[..], b"x", &hex[..39], &[b'0'; 40], &[b'g'; 40], &[b'0'; 41]] {
        assert!(!rig.engine.exists(unknown));
        assert_eq!(run(&mut rig, unknown), Err(Error::NoScript));
    }
}

#[test]
fn eval_remembers_and_flush_forgets() {
    let mut rig = Rig::new();
    rig.check("return 1", ":1");
    let hex = Digest::of(b"return 1").hex();
    assert_eq!(run(&mut rig, &hex).unwrap(), ":1");
    assert_eq!(rig.engine.source(&hex), Some(&b"return 1"[..]));
    rig.engine.flush().unwrap();
    assert_eq!(run(&mut rig, &hex), Err(Error::NoScript));
    assert_eq!(rig.engine.stats().cache.scripts, 0);
    rig.check("return 1", ":1");
}

#[test]
fn only_what_eval_has_seen_is_evicted() {
    let mut rig = Rig::new();
    let kept = rig.engine.load(b"return 'kept'").unwrap().hex();
    for i in 0..EVICTABLE_SCRIPTS * 3 {
        rig.check(&format!("return {i}"), &format!(":{i}"));
    }
    let stats = rig.engine.stats().cache;
    assert_eq!(stats.scripts, EVICTABLE_SCRIPTS + 1);
    assert_eq!(stats.evicted, 1000);
    assert_eq!(run(&mut rig, &kept).unwrap(), "$kept");
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
