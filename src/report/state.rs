//! The states of a stream in words and symbols. Which one a stream has is defined in SQL, by `tidegate.stream_state`.

/// How a state is shown: never by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub name: &'static str,
    pub symbol: &'static str,
    pub tone: Tone,
    /// What it means, as a phrase.
    pub meaning: &'static str,
}

/// How much attention something needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Bad,
    Warning,
    Active,
    Good,
    Quiet,
}

impl Tone {
    /// The class of the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warning => "warn",
            Self::Active => "active",
            Self::Good => "good",
            Self::Quiet => "quiet",
        }
    }
}

const fn state(name: &'static str, symbol: &'static str, tone: Tone, meaning: &'static str) -> State {
    State { name, symbol, tone, meaning }
}

/// All states, those that need attention first.
pub const STATES: [State; 10] = [
    state(
        "failed",
        "✕",
        Tone::Bad,
        "it failed three times in a row, for a reason that only an operator can remove, or before its first success",
    ),
    state("held", "⚑", Tone::Bad, "the last reading was too doubtful to delete rows, and needs a decision"),
    state("late", "▲", Tone::Bad, "it did not succeed within the time that its schedule allows"),
    state("gap", "◧", Tone::Warning, "something before the newest data was not read"),
    state("waiting", "…", Tone::Active, "it waits for a limit, an export or a fault to pass"),
    state("reading", "▶", Tone::Active, "it is being read"),
    state("pending", "○", Tone::Quiet, "it was not read to its end yet"),
    state("on time", "✓", Tone::Good, "it is as complete as its schedule requires"),
    state("paused", "‖", Tone::Quiet, "every job that reads it is paused"),
    state("retired", "–", Tone::Quiet, "no job reads it any more"),
];

/// The names of all states, those that need attention first, as statements sort them.
pub fn names() -> Vec<String> {
    STATES.iter().map(|state| state.name.to_owned()).collect()
}

/// The state of that name. One that a newer version added is shown by its name.
pub fn find(name: &str) -> State {
    let unknown = State { name: "unknown", symbol: "?", tone: Tone::Quiet, meaning: "not known to this version" };
    STATES.into_iter().find(|state| state.name == name).unwrap_or(unknown)
}

/// The kind of a problem: a state, or something else that is wrong.
pub fn of_problem(kind: &str) -> State {
    match kind {
        "rejects" => state("rejects", "✕", Tone::Warning, "records could not become rows"),
        "schema" => state("schema", "±", Tone::Warning, "the vendor changed a field, or the table lacks columns"),
        "quota_refused" => state("refused", "✕", Tone::Bad, "the vendor refused a call although the ledger had room"),
        "config_refused" => state("configuration", "✕", Tone::Bad, "the configuration on disk is wrong"),
        "push_unknown" => state("push", "?", Tone::Bad, "it is not known whether a batch was accepted"),
        "notify_stuck" => state("notifications", "✕", Tone::Warning, "messages are not delivered"),
        "stalled" => state("Tidegate", "✕", Tone::Bad, "periodic work of Tidegate fails"),
        kind => find(kind),
    }
}

/// The tone of a run's or task's state.
pub fn of_run(name: &str) -> State {
    match name {
        "succeeded" => state("succeeded", "✓", Tone::Good, "it read everything to its end"),
        "failed" => state("failed", "✕", Tone::Bad, "a stream of it failed"),
        "held" => state("held", "⚑", Tone::Bad, "something is held and needs a decision"),
        "cancelled" => state("cancelled", "⊘", Tone::Warning, "it was cancelled"),
        "running" => state("running", "▶", Tone::Active, "a worker has it"),
        "waiting" => state("waiting", "…", Tone::Active, "it waits for a limit, an export or a fault to pass"),
        "queued" => state("queued", "○", Tone::Quiet, "it waits for a worker"),
        _ => state("unknown", "?", Tone::Quiet, "not known to this version"),
    }
}

/// The state of a batch that was sent.
pub fn of_push(name: &str) -> State {
    match name {
        "sending" => state("sending", "▶", Tone::Active, "it is on its way"),
        "sent" => state("sent", "…", Tone::Active, "the vendor has it and loads it"),
        "done" => state("done", "✓", Tone::Good, "the vendor has loaded it"),
        "failed" => state("failed", "✕", Tone::Bad, "the vendor could not load it"),
        "refused" => state("refused", "✕", Tone::Bad, "the vendor did not take it; its rows are sent again"),
        "unknown" => state("unknown", "?", Tone::Bad, "it is not known whether the vendor has it"),
        "resent" => state("resent", "–", Tone::Quiet, "its rows were let go to be sent again"),
        _ => state("unknown", "?", Tone::Quiet, "not known to this version"),
    }
}
