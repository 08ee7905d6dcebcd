//! Questions beside the twelve.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike as _, TimeDelta, Timelike as _};
use simulator::Vendor;
use sqlx::PgConnection;

use super::figures::{Figures, Verdict, counted, figure, key, mean, number, same, table, text};
use super::{SOURCES, Truth, ask, channel, execute, source};

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

    /// Who wrote to customers at Lynn: the agents of the sessions, whom the other systems know.
    pub(super) async fn agents_of_dialogs(&self, session: &mut PgConnection) -> Verdict {
        let rows = ask(
            session,
            "select a.name, count(*) as messages, count(c.agent_key) as of_session
            from mart.messages m
            join mart.agents a using (agent_key)
            left join mart.conversations c using (conversation_key, agent_key)
            where m.source = 'lynn' and m.direction = 'agent' group by a.name",
        )
        .await;
        let found = table(&rows, &["name"], &["messages", "of_session"]);
        let counts = self.company.dialog_counts(self.from, self.to);
        let agents = self.company.agents();
        let named = |(email, count): (&str, u64)| {
            let agent = agents.iter().find(|identity| identity.agent.email == email).unwrap().agent;
            (agent.name(), vec![number(count); 2])
        };
        same("messages of agents at Lynn", &found, &counts.into_iter().map(named).collect())?;

        let rows = ask(
            session,
            "select source, count(*) as agents, count(*) filter (where person_key in (select person_key from mart.agents where source = 'khoros')) as known
            from mart.agents where source = 'lynn' group by source",
        )
        .await;
        let all = figure(&rows[0], "agents");
        let found = table(&rows, &["source"], &["agents", "known"]);
        same("agents of Lynn", &found, &[("lynn".to_owned(), vec![all; 2])].into())
    }

    /// The channel of the customers who use only one. Analysts do not see who they are.
    pub(super) async fn channels_of_customers(&self, session: &mut PgConnection) -> Verdict {
        execute(session, "set role none").await;
        let rows = ask(session, "select source, handle, channel from mart.customers where handle is not null").await;
        execute(session, "set role tidegate_analyst").await;
        let mut wanted = Vec::new();
        let mut asked = BTreeSet::new();
        for vendor in [Vendor::Khoros, Vendor::Lexer, Vendor::Jaicp] {
            let mut channels: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
            // Some customers are known by what began earlier.
            let earlier = self.from - TimeDelta::days(3);
            for contact in self.company.contacts(vendor, earlier, self.to, self.to) {
                channels.entry(contact.customer.handle).or_default().insert(contact.channel);
            }
            for contact in self.contacts(vendor) {
                let handle = contact.customer.handle;
                let one = channels.get(&handle).filter(|channels| channels.len() == 1).and_then(BTreeSet::first);
                if let Some(raw) = one.filter(|_| asked.insert(key(&[&source(vendor), &handle]))) {
                    // Lexer's messages have a channel.
                    let channel = if vendor == Vendor::Lexer { (*raw).to_owned() } else { channel(vendor, raw) };
                    wanted.push(key(&[&source(vendor), &handle, &channel]));
                }
            }
        }
        let is_asked = |row: &&_| asked.contains(&key(&[&text(row, "source"), &text(row, "handle")]));
        let found = rows.iter().filter(is_asked);
        let found = counted(found.map(|row| key(&[&text(row, "source"), &text(row, "handle"), &text(row, "channel")])));
        same("channels of customers", &found, &counted(wanted))
    }
}
