//! Where events come from, and when each source was last known to work.

use std::time::Duration;

use super::answer::millis;
use super::report::SourceStatus;

/// A source as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name in status, metrics and logs.
    pub name: &'static str,
    /// It is part of the daemon, and so works whenever the daemon does.
    pub built_in: bool,
}

#[derive(Debug)]
struct Health {
    source: Source,
    alive: Option<Duration>,
    /// How long before the start it was last known to work, in an earlier run.
    alive_before: Option<Duration>,
    connected: bool,
    trouble: Option<&'static str>,
}

/// The sources of this daemon.
#[derive(Debug)]
pub(super) struct Sources {
    health: Vec<Health>,
}

impl Sources {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        let health = |source: Source| {
            let connected = source.built_in;
            Health { source, alive: None, alive_before: None, connected, trouble: None }
        };
        Self { health: sources.into_iter().map(health).collect() }
    }

    pub(super) fn were_alive(&mut self, ago: Duration) {
        for health in &mut self.health {
            health.alive_before = Some(ago);
        }
    }

    pub(super) fn alive(&mut self, name: &str, now: Duration) {
        if let Some(health) = self.find(name) {
            health.alive = Some(now);
            health.connected = true;
        }
    }

    pub(super) fn lost(&mut self, name: &str) {
        if let Some(health) = self.find(name) {
            health.connected = false;
        }
    }

    pub(super) fn set_trouble(&mut self, name: &str, trouble: Option<&'static str>) {
        if let Some(health) = self.find(name) {
            health.trouble = trouble;
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut Health> {
        self.health.iter_mut().find(|health| health.source.name == name)
    }

    /// Time since every source was last known to work; nothing if one never was.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        let mut oldest = Duration::ZERO;
        for health in &self.health {
            oldest = oldest.max(health.age(now)?);
        }
        Some(oldest)
    }

    pub(super) fn status(&self, now: Duration) -> Vec<SourceStatus> {
        let status = |health: &Health| SourceStatus {
            name: health.source.name,
            state: match (health.connected, health.alive) {
                (true, _) => "connected",
                (false, Some(_)) => "disconnected",
                (false, None) => "connecting",
            },
            age_ms: health.age(now).map(millis),
            trouble: health.trouble,
        };
        self.health.iter().map(status).collect()
    }
}

impl Health {
    fn age(&self, now: Duration) -> Option<Duration> {
        if self.source.built_in {
            return Some(Duration::ZERO);
        }
        let before = || self.alive_before.map(|ago| ago.saturating_add(now));
        self.alive.map(|alive| now.saturating_sub(alive)).or_else(before)
    }
}
