//! The twelve questions over a warehouse that the product's jobs filled, compared with what the company knows: the
//! simulators serve rows, and `simulator::company` answers the same questions from the facts, apart from these rows.

mod figures;
mod neighbours;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::{Map, Value};
use simulator::Vendor;
use simulator::company::{Company, Contact};
use sqlx::{AssertSqlSafe, PgConnection};
use tidegate::mart::{Settings, Views};

use self::figures::{Figures, NULL, Verdict, counted, day, figure, key, mean, number, percentile, same, table, text};
use super::company::Warehouse;
use super::questions::questions;

/// Vendors with conversations, and their name in the column `source`.
const SOURCES: &[(Vendor, &str)] =
    &[(Vendor::Khoros, "khoros"), (Vendor::Lexer, "lexer"), (Vendor::Jaicp, "jaicp"), (Vendor::Lynn, "lynn")];
/// What the company knows, and where to ask.
struct Truth<'a> {
    company: &'a Company,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    zone: Tz,
}

fn source(vendor: Vendor) -> &'static str {
    SOURCES.iter().find(|(known, _)| *known == vendor).unwrap().1
}

fn monday(day: NaiveDate) -> NaiveDate {
    day - TimeDelta::days(i64::from(day.weekday().num_days_from_monday()))
}

/// A vendor's name of a channel in the vocabulary of the mart.
fn channel(vendor: Vendor, raw: &str) -> String {
    // Lexer's file of cases has no channel.
    let known = match (vendor, raw) {
        (Vendor::Lexer, _) => "unknown",
        (_, "Web Chat" | "chatwidget") => "webchat",
        (_, "Teléfono" | "resterisk") => "phone",
        (_, raw) => raw,
    };
    known.to_lowercase()
}

/// The rows of a statement, as a member of `tidegate_analyst` reads them.
async fn ask(session: &mut PgConnection, statement: &str) -> Vec<Map<String, Value>> {
    let statement = statement.trim_end().trim_end_matches(';');
    let sql = format!("select to_jsonb(q) from (\n{statement}\n) q");
    let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(session).await.unwrap();
    rows.into_iter().map(|row| row.as_object().unwrap().clone()).collect()
}

/// The rows of one of `deploy/bi/questions`, by the beginning of its name.
async fn question(session: &mut PgConnection, name: &str) -> Vec<Map<String, Value>> {
    let (_, statement) = questions().into_iter().find(|(file, _)| file.starts_with(name)).unwrap();
    ask(session, &statement).await
}

impl Truth<'_> {
    fn day(&self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.zone).date_naive()
    }

    fn week(&self, at: DateTime<Utc>) -> NaiveDate {
        monday(self.day(at))
    }

    /// The last local day of which the vendors list only a part: Khoros and Lexer the conversations that were closed
    /// later, JAICP the sessions with a later turn.
    fn day_before(&self) -> NaiveDate {
        self.day(self.from - TimeDelta::seconds(1))
    }

    /// What is known of the contacts of a vendor.
    fn contacts(&self, vendor: Vendor) -> Vec<Contact> {
        self.company.contacts(vendor, self.from, self.to, self.to)
    }

    /// Conversations that began earlier and were closed within the time that is read, so that Khoros and Lexer report
    /// them. Their responses are of the day on which they began.
    fn closed_later(&self, vendor: Vendor) -> Vec<Contact> {
        let mut contacts = self.company.contacts(vendor, self.from - TimeDelta::days(3), self.from, self.to);
        contacts.retain(|contact| {
            let before = (self.from - contact.started).as_seconds_f64();
            matches!(vendor, Vendor::Khoros | Vendor::Lexer)
                && contact.resolution_seconds.is_some_and(|secs| secs >= before)
        });
        contacts
    }

    /// Whether an agent took part: at Khoros, one who is assigned counts too.
    fn reached(vendor: Vendor, contact: &Contact) -> bool {
        contact.reached_agent || vendor == Vendor::Khoros && contact.agent.is_some()
    }

    /// 1: per day and channel.
    async fn conversations(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "01").await;
        let is_whole = |day: NaiveDate| day > self.day_before();
        let rows: Vec<_> = rows.into_iter().filter(|row| is_whole(day(row, "day"))).collect();
        let found = table(&rows, &["day", "channel", "source"], &["conversations"]);
        let mut wanted = Figures::new();
        for &(vendor, source) in SOURCES {
            let counts = self.company.per_day_and_channel(vendor, self.from, self.to, self.zone);
            for ((day, raw), count) in counts.into_iter().filter(|((day, _), _)| is_whole(*day)) {
                wanted.entry(key(&[&day, &channel(vendor, raw), &source])).or_insert_with(|| vec![0.0])[0] +=
                    number(count);
            }
        }
        same("conversations", &found, &wanted)
    }

    /// 2: per week.
    async fn response_and_resolution(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "02").await;
        let rows: Vec<_> = rows.into_iter().filter(|row| day(row, "week") >= self.week(self.from)).collect();
        let columns = [
            "conversations",
            "answered",
            "first_response_median_minutes",
            "first_response_p90_minutes",
            "resolution_median_hours",
            "resolution_p90_hours",
        ];
        let mut found = table(&rows, &["week", "source"], &columns);
        let mut wanted = Figures::new();
        for &(vendor, source) in SOURCES {
            let mut weeks: BTreeMap<NaiveDate, Vec<Contact>> = BTreeMap::new();
            for contact in self.contacts(vendor).into_iter().filter(|contact| Self::reached(vendor, contact)) {
                weeks.entry(self.week(contact.started)).or_default().push(contact);
            }
            for (week, contacts) in weeks {
                let first: Vec<f64> = contacts.iter().filter_map(|contact| contact.first_response_seconds).collect();
                let resolved: Vec<f64> = contacts.iter().filter_map(|contact| contact.resolution_seconds).collect();
                let mut figures = vec![
                    number(contacts.len()),
                    number(first.len()),
                    percentile(first.clone(), 0.5) / 60.0,
                    percentile(first, 0.9) / 60.0,
                ];
                if vendor != Vendor::Jaicp {
                    figures.extend([0.5, 0.9].map(|part| percentile(resolved.clone(), part) / 3600.0));
                }
                wanted.insert(key(&[&week, &source]), figures);
            }
        }
        // The company has no end of JAICP's dialogs, since they never end by themselves.
        found.iter_mut().filter(|(key, _)| key.ends_with("jaicp")).for_each(|(_, figures)| figures.truncate(4));
        same("response and resolution", &found, &wanted)
    }

    /// 3: per week.
    async fn service_level(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "03").await;
        let found = table(&rows, &["week", "source"], &["measured", "breached", "percent", "unmeasured"]);
        let mut wanted = Figures::new();
        let mut week = self.from;
        while week < self.to {
            let end = (week + TimeDelta::weeks(1)).min(self.to);
            for vendor in [Vendor::Lexer, Vendor::Lynn] {
                let sla = self.company.sla(vendor, week, end);
                let (all, broken) = (number(sla.handled), number(sla.broken));
                let figures = vec![all, broken, 100.0 * broken / all, number(sla.unanswered)];
                wanted.insert(key(&[&self.week(week), &source(vendor)]), figures);
            }
            week = end;
        }
        same("service level", &found, &wanted)
    }

    /// 4: per agent.
    async fn agents(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "04").await;
        let found = table(&rows, &["source", "name"], &["handled", "replies", "conversations", "average_wait_minutes"]);
        let mut wanted = Figures::new();
        let wait = |waits: &[f64]| if waits.is_empty() { NULL } else { mean(waits) / 60.0 };
        for vendor in [Vendor::Khoros, Vendor::Lynn] {
            let mut agents: BTreeMap<&str, Vec<Contact>> = BTreeMap::new();
            for contact in self.contacts(vendor).into_iter().chain(self.closed_later(vendor)) {
                if let Some(agent) = contact.agent {
                    agents.entry(agent.email).or_default().push(contact);
                }
            }
            for contacts in agents.values() {
                let agent = contacts[0].agent.unwrap();
                let closed = contacts.iter().filter(|contact| contact.state == "Closed").count();
                let later: Vec<&Contact> = contacts.iter().filter(|contact| contact.started >= self.from).collect();
                let waits: Vec<f64> = later.iter().filter_map(|contact| contact.first_response_seconds).collect();
                let answered = later.iter().filter(|contact| contact.replies > 0).count();
                let replies: u64 = later.iter().map(|contact| contact.replies).sum();
                if vendor == Vendor::Khoros {
                    let figures = vec![number(closed), number(replies), number(answered), wait(&waits)];
                    wanted.insert(key(&[&"khoros", &agent.name()]), figures);
                } else {
                    // Lynn knows agents by their address, to which Khoros gives a name. Sessions of more than a day ago
                    // are closed.
                    let figures = vec![number(contacts.len()), NULL, number(contacts.len()), wait(&waits)];
                    wanted.insert(key(&[&"lynn", &agent.name()]), figures);
                }
            }
        }
        let mut waits: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for reply in self.company.replies(self.from, self.to) {
            waits.entry(reply.agent.name()).or_default().push(reply.wait_seconds);
        }
        for (name, waits) in waits {
            let replies = number(waits.len());
            wanted.insert(key(&[&"lexer", &name]), vec![replies, replies, NULL, wait(&waits)]);
        }
        for (email, count) in self.company.chat_counts(self.from, self.to) {
            let agents = self.company.agents();
            let agent = agents.iter().find(|identity| identity.agent.email == email).unwrap().agent;
            let sessions = number(count.contacts);
            wanted.insert(key(&[&"jaicp", &agent.name()]), vec![sessions, number(count.replies), sessions, NULL]);
        }
        same("agents", &found, &wanted)
    }

    /// 5: per week.
    async fn nps(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "05").await;
        let found = table(&rows, &["week"], &["responses", "response_rate_percent", "nps", "median_wait_minutes"]);
        let answers = self.company.nps_by_week(self.from, self.to, self.zone);
        let mut waits: BTreeMap<NaiveDate, Vec<f64>> = BTreeMap::new();
        for reply in self.company.replies(self.from, self.to) {
            waits.entry(self.week(reply.asked)).or_default().push(reply.wait_seconds);
        }
        let mut wanted = Figures::new();
        let mut week = self.week(self.from);
        // The vendor also reports the days since, on which nothing happened.
        while week <= self.week(Utc::now()) {
            let nps = answers.get(&week).copied().unwrap_or_default();
            let received = number(nps.received);
            let wait = waits.get(&week).map_or(NULL, |waits| percentile(waits.clone(), 0.5) / 60.0);
            // One of three surveys is answered.
            let (rate, nps) = match nps.received {
                0 => (NULL, NULL),
                _ => (100.0 / 3.0, 100.0 * (number(nps.promoters) - number(nps.detractors)) / received),
            };
            wanted.insert(week.to_string(), vec![received, rate, nps, wait]);
            week += TimeDelta::weeks(1);
        }
        same("NPS", &found, &wanted)
    }

    /// 6: per week.
    async fn containment(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "06").await;
        let rows: Vec<_> = rows.into_iter().filter(|row| day(row, "week") >= self.week(self.from)).collect();
        let found = table(&rows, &["week", "source"], &["sessions", "contained", "percent"]);
        let mut wanted = Figures::new();
        for vendor in [Vendor::Jaicp, Vendor::Lynn] {
            for contact in self.contacts(vendor) {
                let figures = wanted.entry(key(&[&self.week(contact.started), &source(vendor)]));
                let figures = figures.or_insert_with(|| vec![0.0; 3]);
                figures[0] += 1.0;
                figures[1] += f64::from(u8::from(!contact.reached_agent));
            }
        }
        for figures in wanted.values_mut() {
            figures[2] = 100.0 * figures[1] / figures[0];
        }
        same("containment", &found, &wanted)
    }

    /// 7: per intent.
    async fn intents(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "07").await;
        let found = table(&rows, &["source", "intent"], &["sessions", "sessions_that_ended_here"]);
        let mut wanted = Figures::new();
        for vendor in [Vendor::Jaicp, Vendor::Lynn] {
            for (intent, count) in self.company.intent_counts(vendor, self.from, self.to) {
                let path = if vendor == Vendor::Jaicp { "/Care/" } else { "" };
                let name = format!("{} {path}{intent}", source(vendor));
                wanted.insert(name, vec![number(count.sessions), number(count.last)]);
            }
        }
        same("intents", &found, &wanted)
    }

    /// 8: by score.
    async fn surveys(&self, session: &mut PgConnection) -> Verdict {
        let name = |source: &str, score: f64| format!("{source} {score:.4}");
        let mut found = Figures::new();
        for row in question(session, "08").await {
            let score = name(&text(&row, "source"), figure(&row, "score_0_1"));
            found.entry(score).or_insert_with(|| vec![0.0])[0] += figure(&row, "responses");
        }
        let scores = [Vendor::Lexer, Vendor::Lynn].into_iter().flat_map(|vendor| {
            let scores = self.company.survey_scores(vendor, self.from, self.to).into_iter();
            scores.map(move |score| name(source(vendor), score))
        });
        same("surveys", &found, &counted(scores))
    }

    /// 9: Lynn's by campaign. What `tidegate push` sent is tested with that command. JAICP's tasks have an id and no
    /// name, so their number is compared: the company makes one call for each, and the customer always says something.
    async fn campaigns(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "09").await;
        let (lynn, jaicp): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| text(row, "source") == "lynn");
        let mut found = table(&lynn, &["campaign_id", "name"], &["blacklisted", "sent"]);
        let sum = |column: &str| jaicp.iter().map(|row| figure(row, column)).sum();
        let calls = vec![number(jaicp.len()), sum("sent"), sum("answered"), sum("failed"), sum("unknown")];
        found.insert("calls".to_owned(), calls);
        let mut wanted: Figures = Figures::new();
        for campaign in self.company.campaign_counts() {
            wanted.insert(key(&[&campaign.id, &campaign.name]), vec![number(campaign.blacklisted), 0.0]);
        }
        let calls = number(self.company.calls_made(self.from, self.to).len());
        wanted.insert("calls".to_owned(), vec![calls, calls, calls, 0.0, 0.0]);
        same("campaigns", &found, &wanted)
    }

    /// 10: by state.
    async fn backlog(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "10").await;
        let is_case = |row: &Map<String, Value>| !text(row, "state").starts_with("inbox");
        let rows: Vec<_> = rows.into_iter().filter(is_case).collect();
        let found = table(&rows, &["source", "state"], &["open", "average_age_days", "oldest_days"]);
        let now = Utc::now();
        let mut wanted = Figures::new();
        for vendor in [Vendor::Khoros, Vendor::Lexer] {
            let mut ages: BTreeMap<String, Vec<f64>> = BTreeMap::new();
            for contact in self.contacts(vendor) {
                if !contact.state.eq_ignore_ascii_case("closed") {
                    let age = (now - contact.started).as_seconds_f64() / 86_400.0;
                    ages.entry(key(&[&source(vendor), &contact.state.to_lowercase()])).or_default().push(age);
                }
            }
            for (state, count) in self.company.backlog(vendor, self.from, self.to) {
                let ages = &ages[&key(&[&source(vendor), &state.to_lowercase()])];
                assert_eq!(ages.len() as u64, count);
            }
            for (key, ages) in ages {
                let oldest = ages.iter().copied().fold(0.0, f64::max);
                wanted.insert(key, vec![number(ages.len()), mean(&ages), oldest]);
            }
        }
        same("backlog", &found, &wanted)
    }

    /// 11: every table of the demo is complete, and no total of a vendor differs.
    async fn trust(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "11").await;
        for row in &rows {
            let is_read = text(row, "yesterday") == "complete" || row["yesterday"].is_null();
            let until: DateTime<Utc> = text(row, "complete_until").parse().map_err(|_| format!("{row:?}"))?;
            let is_whole = row["has_gap"] == false && row["held"] != true && row["last_error"].is_null();
            let differences = figure(row, "differences");
            let is_right = differences.is_nan() || differences == 0.0;
            if !(is_read && until > self.to && is_whole && is_right) {
                return Err(format!("{row:?}"));
            }
        }
        let counts = counted(rows.iter().map(|row| text(row, "source")));
        let wanted: Figures = [("jaicp", 13.0), ("khoros", 6.0), ("lexer", 17.0), ("lynn", 11.0)]
            .map(|(name, count)| (name.to_owned(), vec![count]))
            .into();
        same("tables", &counts, &wanted)
    }

    /// 12: agents and customers of several systems. Analysts see no names, so customers are compared by the number of
    /// them in each set of systems.
    async fn identities(&self, session: &mut PgConnection) -> Verdict {
        let rows = question(session, "12_same_agent").await;
        let found = counted(rows.iter().map(|row| text(row, "systems")));
        let at_work = |vendor: Vendor| -> BTreeSet<&str> {
            let contacts = self.contacts(vendor);
            contacts.iter().filter_map(|contact| Some(contact.agent?.email)).collect()
        };
        let (lynn, jaicp) = (at_work(Vendor::Lynn), self.company.chat_counts(self.from, self.to));
        // Lists name everybody; JAICP and Lynn only those who did something.
        let is_named = |vendor: &Vendor, email: &str| match vendor {
            Vendor::Lynn => lynn.contains(email),
            Vendor::Jaicp => jaicp.contains_key(email),
            _ => true,
        };
        let systems = self.company.agents().into_iter().filter_map(|identity| {
            let known = identity.ids.keys().filter(|vendor| is_named(vendor, identity.agent.email));
            let known: BTreeSet<&str> = known.map(|vendor| source(*vendor)).collect();
            (known.len() > 1).then(|| known.into_iter().collect::<Vec<_>>().join(", "))
        });
        same("agents in several systems", &found, &counted(systems))?;

        let rows = question(session, "12_same_customer").await;
        let found = counted(rows.iter().map(|row| text(row, "systems")));
        let mut customers: BTreeMap<u64, BTreeSet<&str>> = BTreeMap::new();
        for vendor in [Vendor::Khoros, Vendor::Lexer, Vendor::Jaicp] {
            let mut numbers = self.company.customers(vendor, self.from, self.to);
            if vendor == Vendor::Lexer {
                numbers.extend(self.closed_later(vendor).iter().map(|contact| contact.customer.number));
            }
            for number in numbers {
                customers.entry(number).or_default().insert(source(vendor));
            }
        }
        let several = customers.into_values().filter(|systems| systems.len() > 1);
        let systems = several.map(|systems| systems.into_iter().collect::<Vec<_>>().join(", "));
        same("customers in several systems", &found, &counted(systems))
    }
}

/// Faults in the tables, each with the question whose result it must change.
const FAULTS: &[(u8, &str)] = &[
    (
        1,
        "delete from khoros.conversation where conversation_id = (select max(conversation_id) from khoros.conversation)",
    ),
    (1, "update jaicp.sessions set channel_type = 'viber' where channel_type = 'vk'"),
    (1, "update lynn.navigation_marks set session = session || 'x' where mark_name = 'END_SESSION'"),
    (1, "delete from lexer.case_details where case_id = (select max(case_id) from lexer.case_details)"),
    (2, "delete from khoros.response"),
    (2, "update lexer.case_details set closed_utc = null, resolution_time_sec = null"),
    (2, "update jaicp.messages set is_livechat = true"),
    (2, "update lynn.current_interactions set first_response_service_level_sec = 1 + first_response_service_level_sec"),
    (3, "update lynn.current_interactions set compliance = 99"),
    (3, "update lexer.mention_sla_export set within_customer_sla = not within_customer_sla"),
    (
        3,
        "delete from lexer.user_summary;
        update lexer.mention_sla_export set agent_reponse_date_utc = null, agent_response = '' where state = 'closed'",
    ),
    (3, "update lexer.mention_sla_export set agent_response = 'x' where state = 'new'"),
    (4, "update khoros.response set agent_display_id = '14'"),
    (4, "delete from lexer.user_summary where user_id = '41'"),
    (4, "update jaicp.messages set text_answer = ''"),
    (4, "delete from lynn.current_interactions where agent = 'ana.reis@example.com'"),
    (5, "update lexer.nps_summary set total_promoters = 0"),
    (5, "update lexer.mention_sla_export set customer_wait_time_min = 7"),
    (6, "update jaicp.sessions set is_livechat = true"),
    (6, "delete from lynn.current_interactions"),
    (7, "update jaicp.messages set nlp_info_nlp_class = '/Care/other'"),
    (7, "delete from lynn.navigation_marks where mark_name = 'END_SESSION'"),
    (8, "update lynn.survey_result set value = 'NO' where value = 'YES'"),
    (8, "update lexer.nps_submissions set score = '3'"),
    (9, "delete from lynn.dnd_contacts"),
    (9, "update jaicp.messages set is_call_incoming = true"),
    (10, "update khoros.conversation set status = 'Closed'"),
    (10, "update lexer.case_details set closed_utc = opened_utc"),
    (11, "update tidegate.stream set last_error = 'x' where stream = 'author'"),
    (11, "delete from jaicp.messages where question_id = (select max(question_id) from jaicp.messages)"),
    (11, "delete from tidegate.slice where stream = 'menu_detail'"),
    (12, "update lexer.users set email = 'x' || email"),
    (12, "update jaicp.clients set username = null"),
    (13, "update khoros.\"user\" set team_name = null"),
    (13, "update lexer.user_volume set count = count + 1"),
    (13, "update lynn.show_dialogs set author = 'ShopSupport' where \"from\" = 'agent'"),
    (13, "update lynn.show_dialogs set \"from\" = 'agent', author = 'ana.reis@example.com' where \"from\" = 'bot'"),
    (13, "update khoros.author set network = 'viber'"),
    (13, "update lexer.mention_sla_export set source_type = 'viber'"),
    (13, "update jaicp.clients set channel_type = 'viber'"),
];

impl Truth<'_> {
    async fn verdict(&self, number: u8, session: &mut PgConnection) -> Verdict {
        match number {
            1 => self.conversations(session).await,
            2 => self.response_and_resolution(session).await,
            3 => self.service_level(session).await,
            4 => self.agents(session).await,
            5 => self.nps(session).await,
            6 => self.containment(session).await,
            7 => self.intents(session).await,
            8 => self.surveys(session).await,
            9 => self.campaigns(session).await,
            10 => self.backlog(session).await,
            11 => self.trust(session).await,
            12 => self.identities(session).await,
            _ => {
                self.conversations_in_other_ways(session).await?;
                self.other_relations(session).await?;
                self.agents_of_dialogs(session).await?;
                self.channels_of_customers(session).await
            }
        }
    }
}

async fn execute(session: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(session)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_the_answers_to_the_twelve_questions_are_those_of_the_company() {
    let warehouse = Warehouse::new().await;
    let control = warehouse.world.control();
    let mut truth = Truth { company: control.company(), from: warehouse.from, to: warehouse.to, zone: Tz::UTC };
    let session = &mut warehouse.world.database.connect().await;
    execute(session, "set role tidegate_analyst").await;
    let mut verdicts = Vec::new();
    for number in 1..=13 {
        verdicts.push(truth.verdict(number, session).await);
    }
    // The comparisons notice when something is wrong.
    for (number, fault) in FAULTS {
        execute(session, &format!("begin; set local role none; {fault}; set local role tidegate_analyst")).await;
        if truth.verdict(*number, session).await.is_ok() {
            verdicts.push(Err(format!("question {number} does not show: {fault}")));
        }
        execute(session, "rollback").await;
    }
    // The days of another zone.
    let settings = Settings { timezone: Tz::America__Santiago, ..Settings::default() };
    Views::default().refresh(&warehouse.world.database.pool(), &settings).await;
    truth.zone = settings.timezone;
    verdicts.push(truth.conversations(session).await);
    let faults: Vec<String> = verdicts.into_iter().filter_map(Result::err).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}
