//! The labels of each family.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;

use super::{NotificationOutcome, RowChange};
use crate::http::CallOutcome;
use crate::quota::CallKind;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RunLabels {
    /// Not `job`: Prometheus sets this label itself, to the name of what it scrapes.
    pub(super) tidegate_job: Arc<str>,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct JobLabels {
    pub(super) tidegate_job: String,
    pub(super) connection: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabels {
    pub(super) kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProblemLabels {
    pub(super) connection: String,
    pub(super) stream: String,
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ConnectionLabels {
    pub(super) connection: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StreamLabels {
    pub(super) connection: String,
    pub(super) stream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RowLabels {
    pub(super) connection: String,
    pub(super) stream: String,
    pub(super) change: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CallLabels {
    pub(super) connection: String,
    pub(super) kind: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabels {
    pub(super) connection: String,
    pub(super) limit: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RelationLabels {
    pub(super) relation: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TargetLabels {
    pub(super) target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NotificationLabels {
    pub(super) target: String,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LoopLabels {
    pub(super) r#loop: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) state: String,
}

pub(super) fn call_labels(connection: &str, kind: CallKind, outcome: CallOutcome) -> CallLabels {
    let kind = match kind {
        CallKind::Login => "login",
        CallKind::Data => "data",
    };
    CallLabels { connection: connection.to_owned(), kind, outcome: outcome.label() }
}

pub(super) fn calls_of(connection: &str) -> impl Iterator<Item = CallLabels> {
    let kinds = [CallKind::Login, CallKind::Data].into_iter();
    kinds.flat_map(move |kind| CallOutcome::ALL.map(|outcome| call_labels(connection, kind, outcome)))
}

pub(super) fn connection_labels(connection: &str) -> ConnectionLabels {
    ConnectionLabels { connection: connection.to_owned() }
}

pub(super) fn stream_labels(connection: &str, stream: &str) -> StreamLabels {
    StreamLabels { connection: connection.to_owned(), stream: stream.to_owned() }
}

pub(super) fn row_labels(connection: &str, stream: &str, change: RowChange) -> RowLabels {
    RowLabels { connection: connection.to_owned(), stream: stream.to_owned(), change: change.label() }
}

pub(super) fn limit_labels(connection: &str, limit: &str) -> LimitLabels {
    LimitLabels { connection: connection.to_owned(), limit: limit.to_owned() }
}

pub(super) fn notification_labels(target: &str, outcome: NotificationOutcome) -> NotificationLabels {
    NotificationLabels { target: target.to_owned(), outcome: outcome.label() }
}

pub(super) fn notifications_to(target: &str) -> impl Iterator<Item = NotificationLabels> {
    NotificationOutcome::ALL.into_iter().map(move |outcome| notification_labels(target, outcome))
}
