//! What is counted in a simulation.

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) offered: u64,
    pub(crate) admitted: u64,
    /// What one exact bucket for each user admits.
    pub(crate) entitled: u64,
    pub(crate) reports: u64,
    pub(crate) news: u64,
    pub(crate) behind: u64,
    pub(crate) given_up: u64,
    /// The most tokens above bucket and rate in any span of time, of all users together.
    pub(crate) worst: f64,
    lowest: f64,
}

impl Seen {
    /// So many tokens have come so far, beyond a bucket of this size.
    pub(crate) fn look(&mut self, come: f64, tokens: u32) {
        let above = self.admitted as f64 - come;
        self.worst = self.worst.max(above - self.lowest - f64::from(tokens));
        self.lowest = self.lowest.min(above);
    }

    pub(crate) fn ratio(&self) -> f64 {
        self.admitted as f64 / self.entitled as f64
    }

    pub(crate) fn messages_per_request(&self) -> f64 {
        (self.reports + self.news) as f64 / self.offered as f64
    }
}
