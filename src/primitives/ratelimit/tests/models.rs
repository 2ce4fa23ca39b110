//! Naive models of each kind of policy.

use std::collections::VecDeque;

use super::*;

/// A policy that stores everything, unit by unit where possible.
pub(super) enum Model {
    /// `level` in units of 1/`token` of a token, of which `refill` drain per microsecond, at the time `at`.
    Bucket {
        capacity: u128,
        token: u128,
        refill: u128,
        level: u128,
        at: u64,
    },
    Fixed {
        limit: u64,
        window: u64,
        aligned: bool,
        end: u64,
        used: u64,
    },
    /// The usage of the previous window and of the current one, which begins at `start`.
    Sliding {
        limit: u64,
        window: u64,
        start: u64,
        previous: u64,
        current: u64,
    },
    /// The time of each unit.
    Log {
        limit: u64,
        window: u64,
        units: VecDeque<u64>,
    },
}

impl Model {
    pub(super) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Bucket(Bucket { capacity, refill, period }) => {
                Self::Bucket { capacity: capacity.into(), token: period.micros().into(), refill: refill.into(), level: 0, at: 0 }
            }
            Kind::Fixed(Fixed { limit, window, aligned }) => {
                Self::Fixed { limit, window: window.micros(), aligned, end: 0, used: 0 }
            }
            Kind::Sliding(Sliding { limit, window }) => {
                Self::Sliding { limit, window: window.micros(), start: 0, previous: 0, current: 0 }
            }
            Kind::Log(Log { limit, window }) => Self::Log { limit, window: window.micros(), units: VecDeque::new() },
        }
    }

    pub(super) fn advance(&mut self, now: u64) {
        match self {
            Self::Bucket { refill, level, at, .. } => {
                *level = level.saturating_sub(*refill * u128::from(now - *at));
                *at = now;
            }
            Self::Fixed { end, used, .. } if now >= *end => *used = 0,
            Self::Fixed { .. } => {}
            Self::Sliding { window, start, previous, current, .. } => {
                while (*previous > 0 || *current > 0) && now >= *start + *window {
                    (*previous, *current) = (*current, 0);
                    *start += *window;
                }
                if *previous == 0 && *current == 0 {
                    *start = now;
                }
            }
            Self::Log { window, units, .. } => units.retain(|at| at + *window > now),
        }
    }

    /// Whether the usage plus `amount` is within `capacities` times the limit.
    pub(super) fn fits(&self, now: u64, amount: u64, capacities: u64) -> bool {
        match self {
            Self::Bucket { capacity, token, level, .. } => {
                level + u128::from(amount) * token <= capacity * token * u128::from(capacities)
            }
            Self::Fixed { limit, used, .. } => used + amount <= limit * capacities,
            Self::Sliding { limit, window, start, previous, current } => {
                let left = window - now.saturating_sub(*start);
                previous * left + (current + amount) * window <= limit * window * capacities
            }
            Self::Log { limit, units, .. } => units.len() as u64 + amount <= limit * capacities,
        }
    }

    /// Units left, found by trial.
    pub(super) fn remaining(&self, now: u64, limit: u64) -> i64 {
        let most = (0..=limit).rev().find(|&amount| self.fits(now, amount, 1));
        let debt = || (1..=limit).find(|&missing| self.fits(now, limit - missing, 2)).map(|missing| -(missing as i64));
        most.map(|amount| amount as i64).or_else(debt).unwrap()
    }

    pub(super) fn charge(&mut self, now: u64, amount: u64) {
        match self {
            Self::Bucket { token, level, .. } => *level += u128::from(amount) * *token,
            Self::Fixed { window, aligned, end, used, .. } => {
                if *used == 0 {
                    let grid = if *aligned { *window } else { 1000 };
                    let start = now / grid * grid;
                    *end = start + *window;
                }
                *used += amount;
            }
            Self::Sliding { current, .. } => *current += amount,
            Self::Log { units, .. } => units.extend((0..amount).map(|_| now)),
        }
    }

    /// Returns the units refunded.
    pub(super) fn refund(&mut self, amount: u64) -> u64 {
        match self {
            Self::Bucket { token, level, .. } => {
                let given = (u128::from(amount) * *token).min(*level);
                *level -= given;
                u64::try_from(given.div_ceil(*token)).unwrap()
            }
            Self::Fixed { used: count, .. } | Self::Sliding { current: count, .. } => {
                let given = amount.min(*count);
                *count -= given;
                given
            }
            Self::Log { units, .. } => (0..amount).filter(|_| units.pop_back().is_some()).count() as u64,
        }
    }
}

/// The naive limiter: charges all policies or none.
pub(super) struct Models(pub(super) Vec<(Model, u64)>);

impl Models {
    pub(super) fn new(policies: &[Policy<'_>]) -> Self {
        Self(policies.iter().map(|policy| (Model::new(policy.kind), policy.kind.limit())).collect())
    }

    pub(super) fn run(&mut self, request: Request, now: u64) -> u64 {
        self.0.iter_mut().for_each(|(model, _)| model.advance(now));
        let fits = |amount, capacities| self.0.iter().all(|(model, _)| model.fits(now, amount, capacities));
        let granted = match request {
            Charge(amount) if fits(amount, 1) => amount,
            Force(amount) if fits(amount, 2) => amount,
            UpTo(most) => (1..=most).rev().find(|&amount| fits(amount, 1)).unwrap_or(0),
            Refund(amount) => return self.0.iter_mut().map(|(model, _)| model.refund(amount)).max().unwrap(),
            _ => 0,
        };
        self.0.iter_mut().for_each(|(model, _)| model.charge(now, granted));
        granted
    }

    pub(super) fn remaining(&self, now: u64) -> Vec<i64> {
        self.0.iter().map(|(model, limit)| model.remaining(now, *limit)).collect()
    }
}
