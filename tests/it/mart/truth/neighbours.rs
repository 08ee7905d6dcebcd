//! Questions beside the twelve.

use std::collections::BTreeMap;

use chrono::{Datelike as _, Timelike as _};
use simulator::Vendor;
use sqlx::PgConnection;

use super::figures::{Figures, Verdict, counted, figure, key, mean, number, same, table};
use super::{SOURCES, Truth, ask, source};

impl Truth<'_> {
    /// When conversations began, how long teams let customers wait, and who wrote.
    pub(super) async fn conversations_in_other_ways(&self, session: &mut PgConnection) -> Verdict {
        let first = self.from.date_naive();
        let rows = ask(
            session,
            &format!(
                "select source, weekday, hour, count(*) as conversations from mart.conversations
                join mart.calendar using (day) where day >= '{first}' group by source, weekday, hour"
            ),
        )
        .await;
        let found = table(&rows, &["source", "weekday", "hour"], &["conversations"]);
        let mut weekdays = Vec::new();
        for &(vendor, source) in SOURCES {
            for contact in self.contacts(vendor) {
                let at = contact.started.with_timezone(&self.zone);
                weekdays.push(key(&[&source, &at.weekday().number_from_monday(), &at.hour()]));
            }
        }
        same("weekdays and hours", &found, &counted(weekdays))?;

        let rows = ask(
            session,
            "select source, a.team, avg(first_response_seconds) as wait from mart.conversations
            join mart.agents a using (source, agent_key) where source = 'khoros' group by source, a.team",
        )
        .await;
        let found = table(&rows, &["source", "team"], &["wait"]);
        let mut teams: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for contact in self.contacts(Vendor::Khoros) {
            if let Some((agent, wait)) = contact.agent.zip(contact.first_response_seconds) {
                teams.entry(key(&[&"khoros", &agent.team])).or_default().push(wait);
            }
        }
        let wanted = teams.into_iter().map(|(team, waits)| (team, vec![mean(&waits)])).collect();
        same("first response by team", &found, &wanted)?;

        let rows = ask(
            session,
            &format!(
                "select source, count(distinct customer_key) as customers from mart.conversations
                where source <> 'lynn' and day >= '{first}' group by source"
            ),
        )
        .await;
        let found = table(&rows, &["source"], &["customers"]);
        let wanted = [Vendor::Khoros, Vendor::Lexer, Vendor::Jaicp].map(|vendor| {
            let customers = self.company.customers(vendor, self.from, self.to);
            (source(vendor).to_owned(), vec![number(customers.len())])
        });
        same("customers", &found, &wanted.into())
    }

    /// Answers, the inbox and messages.
    pub(super) async fn other_relations(&self, session: &mut PgConnection) -> Verdict {
        let first = self.from.date_naive();
        let rows = ask(
            session,
            "select week, nps_group, count(*) as answers from mart.survey_responses
            join mart.calendar using (day) where nps_group <> 'passive' group by week, nps_group",
        )
        .await;
        let found = table(&rows, &["week", "nps_group"], &["answers"]);
        let mut wanted = Figures::new();
        for (week, nps) in self.company.nps_by_week(self.from, self.to, self.zone) {
            for (group, count) in [("promoter", nps.promoters), ("detractor", nps.detractors)] {
                wanted.insert(key(&[&week, &group]), vec![number(count)]);
            }
        }
        same("answers by week", &found, &wanted)?;

        let rows = ask(
            session,
            "select replace(state, 'inbox ', '') as state, sum(open_count) as messages from mart.backlog_days
            where state like 'inbox %' group by state",
        )
        .await;
        let found = table(&rows, &["state"], &["messages"]);
        let open = ["new", "assigned", "in_progress", "awaiting_approval", "redirected"];
        let states = self.company.inbox_states(self.from, self.to);
        let wanted = open.map(|state| (state.to_owned(), vec![number(states.get(state).copied().unwrap_or(0))]));
        same("inbox", &found, &wanted.into())?;

        // Khoros counts the messages of a conversation itself.
        let rows = ask(
            session,
            &format!(
                "select c.source, sum(c.messages) as counted, sum(m.messages) as listed
                from mart.conversations c
                join (
                    select conversation_key, count(*) as messages, count(*) filter (where direction = 'agent') as replies
                    from mart.messages group by conversation_key
                ) m using (conversation_key)
                where c.source = 'khoros' and c.day >= '{first}' group by c.source"
            ),
        )
        .await;
        let listed = figure(&rows[0], "listed");
        same(
            "messages",
            &table(&rows, &["source"], &["counted", "listed"]),
            &[("khoros".to_owned(), vec![listed; 2])].into(),
        )
    }
}
