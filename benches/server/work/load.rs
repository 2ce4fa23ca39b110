//! Clients that send requests, as fast as they can or at a fixed rate.
//!
//! At a fixed rate the loop is open: every request has a planned time of arrival, whether earlier ones are done or not, and it waits from
//! then on. So a server that stalls is charged for all requests that would have come meanwhile. One thread polls all connections, since
//! threads would measure the scheduler of this machine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::contest;
use super::super::driver::Connection;

/// How long all requests may take.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a client does for each request. In the commands `{k}` stands for its key, `{o}` for its name, `{now}` for the time in ms.
#[derive(Debug, Clone)]
pub struct Request {
    pub ask: String,
    /// How the reply begins that lets the request through.
    pub granted: &'static str,
    /// How the reply begins after which the client asks again, and the pause before that.
    pub denied: Option<(&'static str, Duration)>,
    /// What follows; the request has waited until then.
    pub then: Option<Then>,
}

/// Work of this time, a command, and how its reply begins.
#[derive(Debug, Clone)]
pub struct Then {
    pub work: Duration,
    pub command: String,
    pub reply: &'static str,
}

pub struct Client {
    pub key: String,
    pub name: String,
    pub request: Request,
}

pub struct Outcome {
    pub seconds: f64,
    /// How long each request waited until it was let through. With a fixed rate, from its planned time of arrival on.
    pub waits_ms: Vec<f64>,
}

/// Runs `total` requests, client by client in turn. Without a rate each client begins its next request as soon as the last is done.
pub fn run(port: u16, clients: &[Client], total: usize, per_second: Option<usize>) -> Result<Outcome, String> {
    let mut running = Vec::with_capacity(clients.len());
    for (number, client) in clients.iter().enumerate() {
        let mut connection = Connection::open(port)?;
        connection.start_polling()?;
        running.push(Running { client, connection, state: State::Idle, planned: Instant::now(), next: number });
    }
    let plan = Plan { start: Instant::now(), clients: clients.len(), total, per_second };
    let (mut done, mut waits_ms) = (0, Vec::with_capacity(total));
    while done < total {
        for running in &mut running {
            done += usize::from(running.step(&plan, &mut waits_ms)?);
        }
        if plan.start.elapsed() > DEADLINE {
            return Err(format!("{done} of {total} requests were done in {} s", DEADLINE.as_secs()));
        }
    }
    Ok(Outcome { seconds: plan.start.elapsed().as_secs_f64(), waits_ms })
}

struct Plan {
    start: Instant,
    clients: usize,
    total: usize,
    per_second: Option<usize>,
}

impl Plan {
    /// When this request arrives, if that time has come.
    fn arrived(&self, request: usize, now: Instant) -> Option<Instant> {
        let planned = match self.per_second {
            Some(rate) => self.start + arrival(request, rate),
            None => now,
        };
        (request < self.total && planned <= now).then_some(planned)
    }
}

/// When a request arrives, from the start on.
#[allow(clippy::cast_precision_loss, reason = "counts of a few seconds")]
pub fn arrival(request: usize, per_second: usize) -> Duration {
    Duration::from_secs_f64(request as f64 / per_second as f64)
}

enum State {
    Idle,
    Asking,
    /// Denied; asks again then.
    Pausing(Instant),
    /// Let through; its work is done then.
    Working(Instant),
    Finishing,
}

struct Running<'a> {
    client: &'a Client,
    connection: Connection,
    state: State,
    /// When the present request arrived.
    planned: Instant,
    next: usize,
}

impl Running<'_> {
    /// Does what can be done now. Returns whether a request is done.
    fn step(&mut self, plan: &Plan, waits_ms: &mut Vec<f64>) -> Result<bool, String> {
        let now = Instant::now();
        match self.state {
            State::Idle => {
                if let Some(planned) = plan.arrived(self.next, now) {
                    self.planned = planned;
                    self.next += plan.clients;
                    self.ask()?;
                }
            }
            State::Pausing(until) if now >= until => self.ask()?,
            State::Working(until) if now >= until => {
                let command = self.client.request.then.as_ref().map_or("", |then| then.command.as_str());
                self.send(command)?;
                self.state = State::Finishing;
            }
            State::Pausing(_) | State::Working(_) => {}
            State::Asking => return self.answered(waits_ms),
            State::Finishing => return self.finished(),
        }
        Ok(false)
    }

    fn ask(&mut self) -> Result<(), String> {
        self.send(&self.client.request.ask)?;
        self.state = State::Asking;
        Ok(())
    }

    /// Looks for the reply to what it asked.
    fn answered(&mut self, waits_ms: &mut Vec<f64>) -> Result<bool, String> {
        let Some(reply) = self.connection.poll()? else { return Ok(false) };
        let (reply, now) = (self.connection.input(reply), Instant::now());
        let request = &self.client.request;
        if reply.starts_with(request.granted.as_bytes()) {
            waits_ms.push((now - self.planned).as_secs_f64() * 1000.0);
            self.state = request.then.as_ref().map_or(State::Idle, |then| State::Working(now + then.work));
            return Ok(request.then.is_none());
        }
        let pause = request.denied.filter(|(denied, _)| reply.starts_with(denied.as_bytes())).map(|(_, pause)| pause);
        let pause = pause.ok_or_else(|| format!("{}: {}", request.ask, reply.escape_ascii()))?;
        self.state = State::Pausing(now + pause);
        Ok(false)
    }

    /// Looks for the reply to its last command.
    fn finished(&mut self) -> Result<bool, String> {
        let Some(reply) = self.connection.poll()? else { return Ok(false) };
        let (reply, then) = (self.connection.input(reply), self.client.request.then.as_ref());
        if !then.is_some_and(|then| reply.starts_with(then.reply.as_bytes())) {
            return Err(format!("{then:?}: {}", reply.escape_ascii()));
        }
        self.state = State::Idle;
        Ok(true)
    }

    fn send(&mut self, template: &str) -> Result<(), String> {
        self.connection.send(&command(template, &self.client.key, &self.client.name))
    }
}

/// Encodes a command.
pub fn command(template: &str, key: &str, name: &str) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis()).to_string();
    contest::command(&template.replace("{now}", &now), key, name)
}
