//! The sections on clients that wait: for a lock, and for work that comes due.

use super::super::results::{Contention, DueWork, HandOffs, Measured, Waiting};
use super::{aligned, conditions, goal_cells, verdict};

pub fn for_a_lock(waiting: &Measured<Waiting>) -> String {
    let Waiting { hand_offs: passed, contention: contended } = &waiting.figures;
    let fairness = passed.longest_wait;
    format!(
        "### Waiting for a lock\n\n{}\n\n{}\nWith 1,000 waiters the longest wait is {fairness:.2} times the mean one.\n\n{}\n",
        conditions(&waiting.conditions),
        hand_offs(passed),
        contention(contended),
    )
}

fn hand_offs(results: &HandOffs) -> String {
    let mut table =
        vec![["waiters", "CPU us", "grant us", "BLPOP: CPU us", "grant us", "ratio of CPU", "goal", ""].map(str::to_owned)];
    let figure = |number: Option<f64>, digits| number.map(|number| format!("{number:.digits$}")).unwrap_or_default();
    for row in &results.rows {
        let list = row.list.as_ref();
        let [goal, verdict] = goal_cells(row.goal);
        table.push([
            row.waiters.clone(),
            figure(Some(row.lock.cpu_us), 1),
            figure(Some(row.lock.grant_us), 0),
            figure(list.map(|list| list.cpu_us), 1),
            figure(list.map(|list| list.grant_us), 0),
            figure(row.ratio, 2),
            goal,
            verdict,
        ]);
    }
    let HandOffs { per_round, clients, growth, growth_goal, growth_over_many, .. } = results;
    format!(
        "Clients wait with `ATOMIC.LOCK key owner 60000 WAIT 0`. In one hand-off the holder sends UNLOCK, the next waiter reads\n\
         its grant, and the old holder joins the queue again. Commands are sent one at a time, so the server sleeps and wakes for\n\
         each. CPU is the server's for all of it; `grant` is the time from sending UNLOCK to reading the next client's grant.\n\
         The figures are medians of rounds of {per_round} hand-offs, with {clients} clients connected in each row. Next to them\n\
         is the same queue on a list, with the server's own BLPOP and RPUSH. It is left out for 10,000 waiters, because some\n\
         servers take too long.\n\n\
         {}\n\
         A hand-off among 10,000 waiters takes {growth:.2} times the CPU of one among 10; goal {:.2}: {}. It takes\n\
         {growth_over_many:.2} times the CPU of one with 10 waiters in each of 900 queues, which are as short and keep as many\n\
         sockets out of the caches.\n",
        aligned(&table, 1..7),
        growth_goal.at_most,
        verdict(*growth_goal),
    )
}

fn contention(results: &Contention) -> String {
    let head = ["way", "commands per lock", "CPU us per lock", "locks/s", "longest : mean wait", "goal", ""];
    let mut table = vec![head.map(str::to_owned)];
    for way in &results.ways {
        let [goal, verdict] = goal_cells(way.goal);
        table.push([
            way.name.clone(),
            format!("{:.2}", way.commands_per_lock),
            format!("{:.1}", way.cpu_us_per_lock),
            format!("{:.0}", way.locks_per_second),
            format!("{:.2}", way.longest_wait),
            goal,
            verdict,
        ]);
    }
    let Contention { clients, seconds, hold_ms, pause_ms, .. } = results;
    format!(
        "{clients} clients, a thread each, contend for one lock for {seconds} seconds. Each holds it for {hold_ms} ms and asks for it again\n\
         {pause_ms} ms later. Polling clients send `SET key token NX PX 60000`, repeat it after the pause shown, and release with EVALSHA\n\
         of a compare-and-delete; redis-py polls this way, by default every 100 ms. Clients that wait by publish/subscribe, such\n\
         as Redisson's, are not simulated. The goal applies to the commands that clients send per acquired lock. CPU is the\n\
         server's for all of it.\n\n{}",
        aligned(&table, 1..6),
    )
}

pub fn work_that_comes_due(results: &Measured<DueWork>) -> String {
    let head = ["consumers", "way", "commands per job", "CPU us per job", "late, p50 ms", "p99 ms", "goal", ""];
    let mut table = vec![head.map(str::to_owned)];
    for way in &results.figures.ways {
        let [goal, verdict] = goal_cells(way.goal);
        table.push([
            way.consumers.to_string(),
            way.name.clone(),
            format!("{:.2}", way.commands_per_job),
            format!("{:.1}", way.cpu_us_per_job),
            format!("{:.2}", way.late_p50_ms),
            format!("{:.2}", way.late_p99_ms),
            goal,
            verdict,
        ]);
    }
    let DueWork { jobs, jobs_per_second, spread_ms, producer_cpu_us_per_job, idle_consumers, .. } = &results.figures;
    let mut idle = vec![["way", "CPU us per second"].map(str::to_owned)];
    idle.extend(results.figures.idle.iter().map(|way| [way.name.clone(), format!("{:.0}", way.cpu_us_per_second)]));
    format!(
        "### Work that comes due\n\n\
         A producer adds {jobs} jobs to a sorted set with ZADD, {jobs_per_second} per second. Each is due at a random time within the next\n\
         {spread_ms} ms. Consumers take them, one thread each. A job is late by the time from when it is due to when a consumer has read\n\
         it. A consumer that polls calls a script with ZRANGE and ZREM, which returns jobs that are due. It calls the script again at\n\
         once if it got as many jobs as it asked for, or else after the pause shown. The pauses of several consumers begin one after\n\
         the other. Commands are those of consumers. CPU is the server's for all of it, the producer's ZADD included; that alone takes\n\
         {producer_cpu_us_per_job:.1} us per job. A server with consumers that wait wakes for each job; one that is polled hands out several at a\n\
         time, later. The goal applies to the commands per job.\n\n\
         {}\n\n\
         {}\n\
         {idle_consumers} idle consumers, whose next job is due in an hour, cost the server:\n\n{}",
        conditions(&results.conditions),
        aligned(&table, 2..7),
        aligned(&idle, 1..2),
    )
}
