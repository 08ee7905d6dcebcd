//! Lists without pages: labels, experiments, counts (`facts/jaicp.md §4, §7-§9`).

use std::sync::atomic::Ordering;

use super::super::{Outcome, Records, StepError, StepRequest};
use super::endpoint::{Endpoint, Request};
use super::record::{OTHER, RecordWriter};
use super::{Jaicp, times};
use crate::decode::list::{self, Lone};
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::{DecodeError, Sink};
use crate::http::{HttpError, Session};

/// Rows that are passed on at a time.
const FLUSH_ROWS: usize = 500;

/// How a list's elements become records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Unchanged,
    /// One for each element of `branches`.
    Branches,
    /// With the time of the reading.
    Observed,
}

/// The elements of a list, as JSON texts.
pub(super) fn rows(body: &[u8]) -> Result<Vec<String>, StepError> {
    let rows = list::read(body, Lone::Wrapper)?;
    Ok(rows.into_iter().map(|row| row.get().to_owned()).collect())
}

impl Jaicp {
    /// The whole list in one step.
    pub(super) async fn whole_step(
        &self,
        session: &Session<'_>,
        request: &StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError> {
        let (endpoint, made) = match &*request.stream.name {
            "message_labels" => (Endpoint::MessageLabels, Made::Unchanged),
            "message_label_groups" => (Endpoint::MessageLabelGroups, Made::Unchanged),
            "session_labels" => (Endpoint::SessionLabels, Made::Unchanged),
            "experiments" => (Endpoint::Experiments, Made::Unchanged),
            "experiment_branches" => (Endpoint::Experiments, Made::Branches),
            "experiment_counts" => (Endpoint::ExperimentCounts, Made::Observed),
            "unique_clients" => (Endpoint::UniqueClients, Made::Observed),
            "sessions_count" => (Endpoint::SessionsCount, Made::Observed),
            _ => return Err(StepError::NotServed(501)),
        };
        let (rows, bytes) = self.whole(session, endpoint).await?;
        records.begin(request.window);
        let mut writer = RecordWriter::new(records, OTHER, &self.token, &self.warned);
        let observed_at = times::text(request.window.end);
        for (number, row) in rows.iter().enumerate() {
            match made {
                Made::Unchanged => writer.record(row.as_bytes())?,
                Made::Branches => branches(row, &mut writer)?,
                Made::Observed => observed(row, &observed_at, &mut writer)?,
            }
            if number % FLUSH_ROWS == FLUSH_ROWS - 1 {
                writer.flush().await?;
            }
        }
        Ok(Outcome::Page { next: None, bytes })
    }

    /// Tries the vendor's spelling of experiments first, and the correct one if that path is unknown (`§9`).
    async fn whole(&self, session: &Session<'_>, endpoint: Endpoint) -> Result<(Vec<String>, u64), StepError> {
        let right = match endpoint {
            Endpoint::Experiments => Endpoint::ExperimentsSpelledRight,
            Endpoint::ExperimentCounts => Endpoint::ExperimentCountsSpelledRight,
            _ => return self.small_rows(session, &Request::new(endpoint), rows).await,
        };
        if self.spelled_right.load(Ordering::Relaxed) {
            return self.small_rows(session, &Request::new(right), rows).await;
        }
        match self.small_unclassified(session, &Request::new(endpoint), rows, Some(Vec::new)).await {
            Err(StepError::Http(HttpError::Status { status: 404, .. })) => {
                let response = self.small_rows(session, &Request::new(right), rows).await?;
                self.spelled_right.store(true, Ordering::Relaxed);
                Ok(response)
            }
            response => response.map_err(|error| self.explained(error)),
        }
    }
}

/// One record per branch; an experiment without branches has no record.
pub(super) fn branches(experiment: &str, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let Some(members) = Members::parse(experiment.as_bytes()) else {
        return sink.record(experiment.as_bytes());
    };
    let Some(branches) = members.get("branches") else { return Ok(()) };
    let Ok(branches) = list::elements(branches) else {
        return sink.refuse("its branches are not an array", experiment.as_bytes());
    };
    let mut writer = ObjectWriter::default();
    for branch in branches {
        let Some(own) = Members::parse(branch.get().as_bytes()) else {
            sink.record(branch.get().as_bytes())?;
            continue;
        };
        writer.begin();
        if let Some(key) = members.get("key") {
            writer.member_raw("experimentKey", key);
        }
        own.iter().for_each(|(name, raw)| writer.member_raw(name, raw));
        sink.record(writer.end())?;
    }
    Ok(())
}

fn observed(row: &str, at: &str, sink: &mut dyn Sink) -> Result<(), DecodeError> {
    let Some(members) = Members::parse(row.as_bytes()) else { return sink.record(row.as_bytes()) };
    let mut writer = ObjectWriter::default();
    writer.begin();
    writer.member_str("observedAt", at);
    members.iter().for_each(|(name, raw)| writer.member_raw(name, raw));
    sink.record(writer.end())
}
