//! Pulls against nodes that the test plays, with a clock that the test owns.

use super::*;

const SCRIPT: &[u8] = b"return 1";
const OTHER: &[u8] = b"return 2";

const A: NodeId = NodeId::new([b'a'; 40]);
const B: NodeId = NodeId::new([b'b'; 40]);

/// A node whose pulls are tested, and what it has sent since the last look.
struct Node {
    pulls: Pulls<()>,
    now: Instant,
    sent: Vec<(NodeId, Body)>,
    unreachable: Vec<NodeId>,
}

impl Node {
    fn new() -> Self {
        Self { pulls: Pulls::new(), now: Instant::now(), sent: Vec::new(), unreachable: Vec::new() }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn begin(&mut self, script: &[u8]) -> bool {
        let Self { pulls, sent, unreachable, .. } = self;
        pulls.begin(Digest::of(script), &[A, B], self.now, &mut |to, message| {
            sent.push((to, message.body.clone()));
            !unreachable.contains(&to)
        })
    }

    fn join(&mut self, script: &[u8], id: u64) {
        assert!(self.pulls.join(Digest::of(script), Client { id, read_only: false, handle: () }).is_none());
    }

    /// Passes a message to the node, and returns the clients and the script of the pull that it ends.
    fn hear(&mut self, from: NodeId, script: &[u8], body: Body) -> Option<(Vec<u64>, Option<Vec<u8>>)> {
        let Self { pulls, sent, unreachable, .. } = self;
        let message = Message { digest: Digest::of(script), body };
        pulls.heard_of(from);
        let ended = pulls.heard(from, message, self.now, &mut |to, message| {
            sent.push((to, message.body.clone()));
            !unreachable.contains(&to)
        });
        ended.map(|ended| (ended.clients.iter().map(|client| client.id).collect(), ended.source))
    }

    fn expire(&mut self) -> Vec<Vec<u64>> {
        let sent = &mut self.sent;
        let ended = self.pulls.expire(self.now, &mut |to, message| {
            sent.push((to, message.body.clone()));
            true
        });
        ended.iter().map(|ended| ended.clients.iter().map(|client| client.id).collect()).collect()
    }

    fn admit(&mut self, script: &[u8]) -> Admission {
        self.pulls.admit(Digest::of(script), self.now)
    }

    #[track_caller]
    fn expect_sent(&mut self, expected: &[(NodeId, Body)]) {
        assert_eq!(std::mem::take(&mut self.sent), expected);
    }
}

fn source(script: &[u8]) -> Body {
    Body::Source(script.to_vec())
}

#[test]
fn all_are_asked_and_the_first_that_has_the_script_sends_it() {
    let mut node = Node::new();
    assert_eq!(node.admit(SCRIPT), Admission::Begin);
    assert!(node.begin(SCRIPT));
    node.expect_sent(&[(A, Body::Ask), (B, Body::Ask)]);
    node.join(SCRIPT, 1);
    assert_eq!(node.admit(SCRIPT), Admission::Join);
    node.join(SCRIPT, 2);
    assert_eq!(node.pulls.waiting(), 2);
    assert_eq!(node.hear(A, SCRIPT, Body::Lack), None);
    assert_eq!(node.hear(B, SCRIPT, Body::Have), None);
    node.expect_sent(&[(B, Body::Fetch)]);
    assert_eq!(node.hear(B, SCRIPT, source(SCRIPT)), Some((vec![1, 2], Some(SCRIPT.to_vec()))));
    node.expect_sent(&[(B, Body::Got)]);
    let expected = Counts { asked: 1, found: 1, ..Counts::default() };
    assert_eq!((node.pulls.counts, node.pulls.waiting(), node.pulls.next_deadline()), (expected, 0, None));
}

#[test]
fn a_script_that_all_lack_is_unknown_for_a_while() {
    let mut node = Node::new();
    assert!(node.begin(SCRIPT));
    node.join(SCRIPT, 1);
    assert_eq!(node.hear(A, SCRIPT, Body::Lack), None);
    assert_eq!(node.hear(B, SCRIPT, Body::Lack), Some((vec![1], None)));
    assert_eq!((node.admit(SCRIPT), node.admit(OTHER)), (Admission::Refused, Admission::Begin));
    node.pass(REMEMBERED);
    assert_eq!(node.admit(SCRIPT), Admission::Begin);
    // A load anywhere ends that at once.
    for body in [Body::Loaded, Body::Have, source(SCRIPT)] {
        assert!(node.begin(SCRIPT));
        assert_eq!(node.hear(A, SCRIPT, Body::Lack), None);
        assert!(node.hear(B, SCRIPT, Body::Lack).is_some());
        assert_eq!(node.admit(SCRIPT), Admission::Refused);
        node.hear(A, SCRIPT, body);
        assert_eq!(node.admit(SCRIPT), Admission::Begin);
    }
}

#[test]
fn misses_are_bounded() {
    let mut node = Node::new();
    for number in 0..=MAX_MISSES {
        let script = number.to_string();
        let now = node.now;
        node.pulls.remember(Digest::of(script.as_bytes()), now);
    }
    assert_eq!(node.pulls.misses.len(), MAX_MISSES);
    assert_eq!((node.admit(b"0"), node.admit(b"1")), (Admission::Begin, Admission::Refused));
}

#[test]
fn a_pull_ends_in_time_and_who_is_silent_is_not_awaited_again() {
    let mut node = Node::new();
    assert!(node.begin(SCRIPT));
    node.join(SCRIPT, 1);
    node.hear(A, SCRIPT, Body::Lack);
    node.pass(LIMIT - Duration::from_millis(1));
    assert_eq!(node.expire(), [] as [Vec<u64>; 0]);
    node.pass(Duration::from_millis(1));
    assert_eq!(node.expire(), [[1]]);
    assert_eq!(node.admit(SCRIPT), Admission::Refused);
    // The next pull waits for the node that answered only, but takes an answer of the other.
    assert!(node.begin(OTHER));
    node.join(OTHER, 2);
    assert_eq!(node.hear(A, OTHER, Body::Lack), Some((vec![2], None)));
    assert!(node.begin(b"return 3"));
    node.hear(B, b"return 3", Body::Have);
    node.hear(B, b"return 3", source(b"return 3"));
    // Now it is awaited again.
    assert!(node.begin(b"return 4"));
    assert_eq!(node.hear(A, b"return 4", Body::Lack), None);
    assert!(node.hear(B, b"return 4", Body::Lack).is_some());
}

#[test]
fn nobody_waits_for_nodes_that_are_silent_or_out_of_reach() {
    let mut node = Node::new();
    node.unreachable = vec![A, B];
    assert!(!node.begin(SCRIPT));
    assert_eq!(node.admit(SCRIPT), Admission::Refused);
    node.unreachable.clear();
    assert!(node.begin(OTHER));
    node.pass(LIMIT);
    assert_eq!(node.expire().len(), 1);
    node.sent.clear();
    assert!(!node.begin(b"return 3"), "silent nodes are awaited");
    node.expect_sent(&[(A, Body::Ask), (B, Body::Ask)]);
    assert_eq!(node.pulls.counts, Counts { asked: 3, missed: 3, ..Counts::default() });
}

#[test]
fn a_node_sends_one_script_at_a_time() {
    let mut node = Node::new();
    for script in [SCRIPT, OTHER] {
        assert!(node.begin(script));
        node.hear(B, script, Body::Lack);
    }
    node.sent.clear();
    node.hear(A, SCRIPT, Body::Have);
    node.hear(A, OTHER, Body::Have);
    node.expect_sent(&[(A, Body::Fetch)]);
    assert!(node.hear(A, SCRIPT, source(SCRIPT)).is_some());
    node.expect_sent(&[(A, Body::Got), (A, Body::Fetch)]);
    assert!(node.hear(A, OTHER, source(OTHER)).is_some());
    node.expect_sent(&[(A, Body::Got)]);
}

#[test]
fn another_node_sends_what_the_first_one_lost() {
    let mut node = Node::new();
    assert!(node.begin(SCRIPT));
    node.hear(A, SCRIPT, Body::Have);
    node.hear(B, SCRIPT, Body::Have);
    node.sent.clear();
    assert_eq!(node.hear(A, SCRIPT, Body::Lack), None);
    node.expect_sent(&[(B, Body::Fetch)]);
    assert!(node.hear(B, SCRIPT, Body::Lack).is_some());
    // So does the loss of the connection.
    node.pass(REMEMBERED);
    assert!(node.begin(SCRIPT));
    node.unreachable = vec![A];
    node.hear(A, SCRIPT, Body::Have);
    node.hear(B, SCRIPT, Body::Have);
    node.expect_sent(&[(A, Body::Ask), (B, Body::Ask), (A, Body::Fetch), (B, Body::Fetch)]);
}

#[test]
fn a_node_that_does_not_send_delays_only_its_own_pull() {
    let mut node = Node::new();
    assert!(node.begin(SCRIPT));
    node.hear(B, SCRIPT, Body::Lack);
    node.hear(A, SCRIPT, Body::Have);
    node.pass(LIMIT / 2);
    assert!(node.begin(OTHER));
    node.hear(A, OTHER, Body::Have);
    node.sent.clear();
    node.pass(LIMIT / 2);
    assert_eq!(node.expire().len(), 1);
    node.expect_sent(&[(A, Body::Fetch)]);
    // Somebody has it, so it is not unknown.
    assert_eq!(node.admit(SCRIPT), Admission::Begin);
}

#[test]
fn a_short_script_comes_as_the_answer() {
    let mut node = Node::new();
    assert!(node.begin(SCRIPT));
    node.join(SCRIPT, 1);
    node.sent.clear();
    assert_eq!(node.hear(A, SCRIPT, source(SCRIPT)), Some((vec![1], Some(SCRIPT.to_vec()))));
    // So does that of the other node, which has no use any more.
    assert_eq!(node.hear(B, SCRIPT, source(SCRIPT)), None);
    node.expect_sent(&[]);
    // It may also come while another node is told to send it.
    assert!(node.begin(OTHER));
    node.hear(A, OTHER, Body::Have);
    assert!(node.hear(B, OTHER, source(OTHER)).is_some());
    assert!(node.begin(SCRIPT));
    node.sent.clear();
    node.hear(A, SCRIPT, Body::Have);
    node.expect_sent(&[(A, Body::Fetch)]);
}

#[test]
fn a_script_that_nobody_waits_for_is_forgotten() {
    const STRANGER: NodeId = NodeId::new([b'c'; 40]);
    let mut node = Node::new();
    assert_eq!(node.hear(A, SCRIPT, source(SCRIPT)), None);
    assert!(node.begin(SCRIPT));
    for (from, script) in [(A, OTHER), (STRANGER, SCRIPT)] {
        assert_eq!(node.hear(from, script, source(script)), None);
    }
    assert_eq!(node.pulls.counts, Counts { asked: 1, ..Counts::default() });
}

#[test]
fn a_client_that_leaves_does_not_end_the_pull() {
    let mut node = Node::new();
    assert!(node.begin(SCRIPT));
    node.join(SCRIPT, 1);
    node.join(SCRIPT, 2);
    assert_eq!(node.pulls.leave(1).map(|client| client.id), Some(1));
    assert!(node.pulls.leave(1).is_none());
    node.hear(A, SCRIPT, Body::Have);
    assert_eq!(node.hear(A, SCRIPT, source(SCRIPT)), Some((vec![2], Some(SCRIPT.to_vec()))));
}

#[test]
fn nodes_that_were_denied_a_script_are_told_when_it_is_loaded() {
    let mut node = Node::new();
    let now = node.now;
    for (to, script) in [(A, SCRIPT), (B, SCRIPT), (A, SCRIPT), (B, OTHER)] {
        node.pulls.denied(Digest::of(script), to, now);
    }
    assert_eq!(node.pulls.take_denied(Digest::of(SCRIPT), now), [A, B]);
    assert_eq!(node.pulls.take_denied(Digest::of(SCRIPT), now), []);
    assert_eq!(node.pulls.take_denied(Digest::of(OTHER), now + REMEMBERED), []);
    (0..=MAX_DENIALS).for_each(|_| node.pulls.denied(Digest::of(OTHER), A, now));
    assert_eq!(node.pulls.denials.len(), MAX_DENIALS);
}

#[test]
fn pulls_and_clients_are_bounded() {
    let mut node = Node::new();
    for number in 0..PER_SECOND {
        assert!(node.begin(number.to_string().as_bytes()));
    }
    node.sent.clear();
    assert!(!node.begin(SCRIPT));
    node.expect_sent(&[]);
    (0..1000).for_each(|id| node.join(b"0", id));
    assert_eq!((node.admit(b"0"), node.admit(SCRIPT)), (Admission::Refused, Admission::Refused));
    assert_eq!(node.pulls.counts.limited, 3);
    node.pass(Duration::from_secs(1));
    node.expire();
    node.begin(SCRIPT);
    assert_eq!(node.pulls.counts.asked, u64::from(PER_SECOND) + 1);
}

/// Whether a node with these scripts on their way to A, `(length, was fetched)`, may send one more.
fn may_send(sent: &[(usize, bool)], next: (usize, bool)) -> bool {
    let mut node = Node::new();
    let mut all = sent.iter().chain([&next]).zip(0_u32..).map(|((length, is_fetched), number)| {
        let (digest, now) = (Digest::of(&number.to_be_bytes()), node.now);
        node.pulls.may_send(A, digest, *length, *is_fetched, now)
    });
    assert!(all.by_ref().take(sent.len()).all(|may| may));
    all.next() == Some(true)
}

#[test]
fn one_fetched_script_and_a_few_short_ones_are_on_their_way_at_a_time() {
    const LONG: usize = 256 << 10;
    let several = WINDOW / (SHORT + HEAD);
    for (sent, next, expected) in [
        (vec![], (LONG, true), true),
        (vec![(LONG, true)], (LONG, true), false),
        (vec![(LONG, true)], (1, true), false),
        (vec![(SHORT, false)], (LONG, true), true),
        (vec![], (SHORT, false), true),
        (vec![], (SHORT + 1, false), false),
        (vec![(SHORT, false); several - 1], (SHORT, false), true),
        (vec![(SHORT, false); several], (SHORT, false), false),
        (vec![(LONG, true)], (1, false), false),
        (vec![(LONG / 2, true)], (SHORT, false), true),
    ] {
        assert_eq!(may_send(&sent, next), expected, "{next:?} after {sent:?}");
    }
}

#[test]
fn a_script_is_on_its_way_until_it_is_acknowledged_or_late() {
    let mut node = Node::new();
    let now = node.now;
    let fetched = |node: &mut Node, to, now| node.pulls.may_send(to, Digest::of(SCRIPT), 1, true, now);
    assert!(fetched(&mut node, A, now) && !fetched(&mut node, A, now));
    assert!(fetched(&mut node, B, now));
    node.hear(A, OTHER, Body::Got);
    assert!(!fetched(&mut node, A, now));
    node.hear(A, SCRIPT, Body::Got);
    assert!(fetched(&mut node, A, now));
    assert!(!fetched(&mut node, A, now + LIMIT / 2));
    assert!(fetched(&mut node, A, now + LIMIT));
}
