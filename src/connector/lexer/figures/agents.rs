//! Agents and states: Team Volume, unpivoted, and Workflow States in either of its two shapes
//! (`facts/lexer.md §5.3, §5.7`).

use std::collections::BTreeMap;

use super::{ELEMENT_BYTES_MAX, Figures, Members, ObjectWriter, Raw, Records, StepError, TOTALS, flag, instant, shape};

/// A line of Team Volume: an agent and the counts by state.
struct Agent<'a> {
    members: Members<'a>,
    states: Members<'a>,
}

/// Maximum number of states of a workflow.
const STATES_MAX: usize = 10_000;

impl<'a> Agent<'a> {
    fn read(element: Raw<'a>) -> Result<Self, &'static str> {
        if element.get().len() > ELEMENT_BYTES_MAX {
            return Err("larger than an agent's line can be");
        }
        let members = Members::parse(element.get().as_bytes()).ok_or("not an object")?;
        let states = members.get("states").ok_or("no `states`")?;
        let states = Members::parse(states.get().as_bytes()).ok_or("`states` is not an object")?;
        Ok(Self { members, states })
    }
}

impl Figures<'_> {
    /// Writes a row for each agent and state.
    pub(super) async fn agents(&self, elements: &[Raw<'_>], records: &mut dyn Records) -> Result<(), StepError> {
        if elements.iter().any(|element| is_workflow_state(*element)) {
            return Err(shape("Workflow States in place of Team Volume"));
        }
        let mut writer = ObjectWriter::default();
        for element in elements {
            match Agent::read(*element) {
                Err(reason) => records.refuse(reason, element.get().as_bytes())?,
                Ok(agent) => {
                    for (state, count) in agent.states.iter() {
                        self.begin(&mut writer);
                        writer.member_str("state", state);
                        writer.member_raw("is_total", flag(TOTALS.contains(&state)));
                        writer.member_raw("count", count);
                        writer.member_str("extracted_at", &instant(self.now));
                        let others = agent.members.iter().filter(|(name, _)| *name != "states");
                        others.for_each(|(name, raw)| writer.member_raw(name, raw));
                        records.record(writer.end())?;
                        records.flush().await?;
                    }
                }
            }
            records.flush().await?;
        }
        Ok(())
    }

    /// Writes a row for each state. The agents' counts are added up if the response has them instead.
    pub(super) async fn workflow(&self, elements: &[Raw<'_>], records: &mut dyn Records) -> Result<(), StepError> {
        if elements.iter().any(|element| is_agent(*element)) {
            return self.added_up(elements, records).await;
        }
        let mut writer = ObjectWriter::default();
        for element in elements {
            let raw = element.get().as_bytes();
            match Members::parse(raw) {
                None => records.record(raw)?,
                Some(members) => {
                    self.begin(&mut writer);
                    let state = members.text("state").unwrap_or_default();
                    writer.member_raw("is_total", flag(TOTALS.contains(&&*state)));
                    writer.member_raw("derived", Raw::FALSE);
                    members.iter().for_each(|(name, raw)| writer.member_raw(name, raw));
                    records.record(writer.end())?;
                }
            }
            records.flush().await?;
        }
        Ok(())
    }

    async fn added_up(&self, elements: &[Raw<'_>], records: &mut dyn Records) -> Result<(), StepError> {
        let mut sums = BTreeMap::<String, i64>::new();
        for element in elements {
            let agent = Agent::read(*element).map_err(|reason| shape(&format!("an agent's line with {reason}")))?;
            for (state, _) in agent.states.iter() {
                let count = agent.states.i64(state).ok_or_else(|| shape("a count that is not a whole number"))?;
                let sum = sums.entry(state.to_owned()).or_default();
                *sum = sum.checked_add(count).ok_or_else(|| shape("counts that are too large"))?;
                if sums.len() > STATES_MAX {
                    return Err(shape("more states than a workflow has"));
                }
            }
        }
        let mut writer = ObjectWriter::default();
        for (state, volume) in &sums {
            self.begin(&mut writer);
            writer.member_str("state", state);
            writer.member_raw("is_total", flag(TOTALS.contains(&state.as_str())));
            writer.member_i64("volume", *volume);
            writer.member_raw("derived", Raw::TRUE);
            records.record(writer.end())?;
            records.flush().await?;
        }
        Ok(())
    }
}

fn is_agent(element: Raw<'_>) -> bool {
    Members::parse(element.get().as_bytes())
        .is_some_and(|members| members.get("states").is_some() && members.get("user_id").is_some())
}

fn is_workflow_state(element: Raw<'_>) -> bool {
    Members::parse(element.get().as_bytes())
        .is_some_and(|members| members.get("state").is_some() && members.get("states").is_none())
}
