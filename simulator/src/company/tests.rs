//! Rows of different exports, reports and vendors fit together, and the answers fit the rows.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike as _, NaiveDateTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use serde_json::{Map, Value};

use super::people::AGENTS;
use super::*;
use crate::{Control, Options, Simulator, TruthHandle, Vendor, start};

type Row = Map<String, Value>;

/// A Friday in winter, when the company's zone is UTC.
fn at(day: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 3, day, 0, 0, 0).unwrap()
}

const END: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;

async fn served(volume: Volume) -> (Simulator, Control) {
    let simulator = start(Options { volume, ..Options::default() }).await.unwrap();
    let control = simulator.control();
    (simulator, control)
}

fn rows(data: &TruthHandle, report: &str, from: u32, to: u32) -> Vec<Row> {
    let rows = data.rows(report, at(from), at(to)).unwrap();
    assert!(!rows.is_empty(), "{report}");
    rows
}

#[track_caller]
fn text<'a>(row: &'a Row, field: &str) -> &'a str {
    row.get(field).and_then(Value::as_str).unwrap_or_else(|| panic!("{field} of {row:?}"))
}

fn texts(rows: &[Row], field: &str) -> BTreeSet<String> {
    rows.iter().map(|row| text(row, field).to_owned()).collect()
}

/// ISO 8601, or Lexer's format.
#[track_caller]
fn time(row: &Row, field: &str) -> DateTime<Utc> {
    let text = text(row, field);
    let lexers = || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").unwrap().and_utc();
    text.parse().unwrap_or_else(|_| lexers())
}

/// Asserts that every value of a field is one of the others.
#[track_caller]
fn assert_joins(rows: &[Row], field: &str, others: &BTreeSet<String>) {
    let lost: Vec<&Row> = rows.iter().filter(|row| !others.contains(text(row, field))).collect();
    assert!(lost.is_empty(), "{} of {} rows do not join: {:?}", lost.len(), rows.len(), lost[0]);
}

/// The coefficient of correlation of pairs.
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = pairs.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
    let together = mean(&|pair| (pair.0 - x) * (pair.1 - y));
    together / (mean(&|pair| (pair.0 - x).powi(2)) * mean(&|pair| (pair.1 - y).powi(2))).sqrt()
}

#[tokio::test]
async fn khoros_exports_join_and_their_times_agree() {
    for volume in [Volume::Around(850), Volume::Exactly(60), Volume::Exactly(4_321)] {
        let (_simulator, control) = served(volume).await;
        let data = control.khoros().data();
        let conversations = rows(&data, "conversation", 4, 7);
        let by_id: BTreeMap<&str, &Row> = conversations.iter().map(|row| (text(row, "CONVERSATION_ID"), row)).collect();
        assert_eq!(by_id.len(), conversations.len(), "{volume:?}");
        let ids = texts(&conversations, "CONVERSATION_ID");
        let responses = rows(&data, "response", 4, 7);
        let posts = rows(&data, "incoming_post", 4, 7);
        for rows in [&responses, &posts, &rows(&data, "combined", 4, 7), &rows(&data, "raw_expert_help", 4, 7)] {
            assert_joins(rows, "CONVERSATION_ID", &ids);
        }
        // Closed on the day after.
        let ids_before = texts(&rows(&data, "conversation", 3, 7), "CONVERSATION_ID");
        let actions = rows(&data, "conversation_actions", 4, 7);
        assert_joins(&actions, "CONVERSATION_ID", &ids_before);
        assert_joins(&rows(&data, "conversation_history_action", 4, 7), "CONVERSATION_ID", &ids_before);
        let response_ids = texts(&responses, "RESPONSE_ID");
        assert_eq!(response_ids.len(), responses.len(), "{volume:?}");
        assert_joins(&rows(&data, "response_approval", 4, 7), "RESPONSE_ID", &response_ids);
        let authors = rows(&data, "author", 4, 7);
        let author_ids = texts(&authors, "AUTHOR_UUID");
        assert_joins(&posts, "AUTHOR_UUID", &author_ids);
        let users = data.rows("user", DateTime::UNIX_EPOCH, at(1)).unwrap();
        let agents = texts(&users, "AGENT_ID");
        assert_joins(&responses, "AGENT_DISPLAY_ID", &agents);
        assert_joins(&actions, "AGENT_DISPLAY_ID", &agents);
        assert_joins(&rows(&data, "raw_agent_states", 4, 7), "agent_id", &agents);
        assert_joins(&rows(&data, "raw_agent_states", 4, 7), "agent_email", &texts(&users, "AGENT_EMAIL"));
        assert_joins(&rows(&data, "team_performance", 4, 7), "AGENT_DISPLAY_ID", &agents);
        let teams = data.rows("teams", DateTime::UNIX_EPOCH, at(1)).unwrap();
        assert_joins(&users, "TEAM_NAME", &texts(&teams, "name"));

        // Copies of a row differ by less than a second.
        let slack = TimeDelta::seconds(i64::from(volume == Volume::Exactly(4_321)));
        for (rows, field) in [(&responses, "RESPONSE_TIME"), (&posts, "POST_TIME")] {
            for row in rows {
                let conversation = by_id[text(row, "CONVERSATION_ID")];
                assert!(time(row, field) + slack >= time(conversation, "CREATED_TIME"), "{row:?}");
                if let "Closed" = text(conversation, "STATUS") {
                    assert!(time(row, field) <= time(conversation, "CLOSED_TIME") + slack, "{conversation:?} {row:?}");
                }
            }
        }
        for row in &responses {
            assert_eq!(
                text(row, "AGENT_DISPLAY_ID"),
                text(by_id[text(row, "CONVERSATION_ID")], "ASSIGNED_AGENT_DISPLAY_ID")
            );
        }
        let mut messages: BTreeMap<&str, u32> = BTreeMap::new();
        for row in responses.iter().chain(&posts) {
            *messages.entry(text(row, "CONVERSATION_ID")).or_default() += 1;
        }
        for (id, conversation) in &by_id {
            assert_eq!(text(conversation, "MESSAGE_COUNT"), messages[id].to_string(), "{conversation:?}");
        }
    }
}

#[tokio::test]
async fn khoros_totals_are_those_of_its_rows_and_of_the_company() {
    let (_simulator, control) = served(Volume::Around(850)).await;
    let (data, company) = (control.khoros().data(), control.company());
    let responses = rows(&data, "response", 4, 9);
    for export in ["team_performance", "team_performance_interval"] {
        let total: usize =
            rows(&data, export, 4, 9).iter().map(|row| text(row, "RESPONSES").parse::<usize>().unwrap()).sum();
        assert_eq!(total, responses.len(), "{export}");
    }
    let conversations = rows(&data, "conversation", 4, 9);
    let contacts = company.contacts(Vendor::Khoros, at(4), at(9), END);
    let served: Vec<&str> = conversations.iter().map(|row| text(row, "CONVERSATION_ID")).collect();
    assert_eq!(served, contacts.iter().map(|contact| &*contact.id).collect::<Vec<_>>());
    let mut first: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for row in &responses {
        let at = first.entry(text(row, "CONVERSATION_ID")).or_insert(END);
        *at = (*at).min(time(row, "RESPONSE_TIME"));
    }
    for (row, contact) in conversations.iter().zip(&contacts) {
        let created = time(row, "CREATED_TIME");
        let response = first.get(&*contact.id).map(|at| (*at - created).as_seconds_f64());
        assert_eq!(response, contact.first_response_seconds, "{row:?}");
        let closed = (text(row, "STATUS") == "Closed").then(|| (time(row, "CLOSED_TIME") - created).as_seconds_f64());
        assert_eq!(closed, contact.resolution_seconds, "{row:?}");
        assert_eq!(text(row, "STATUS"), contact.state);
    }
    let counts = company.agent_counts(Vendor::Khoros, at(4), at(9));
    assert_eq!(counts.values().map(|count| count.replies).sum::<u64>(), responses.len() as u64);
    let per_day = company.per_day_and_channel(Vendor::Khoros, at(4), at(9), chrono_tz::UTC);
    assert_eq!(per_day.values().sum::<u64>(), conversations.len() as u64);
}

#[tokio::test]
async fn lexer_files_fit_together() {
    let (_simulator, control) = served(Volume::Around(850)).await;
    let (data, company) = (control.lexer().data(), control.company());
    let (mentions, cases) = (rows(&data, "mention_sla_export", 4, 9), rows(&data, "case_details", 4, 9));
    let submissions = rows(&data, "nps_submissions", 4, 9);
    let customers = texts(&cases, "Customer Username");
    assert_joins(&mentions, "Customer Username", &customers);
    assert_joins(&submissions, "Customer Username", &customers);
    let users = control.lexer().list("users");
    for row in &mentions {
        let (first, last) = (text(row, "Agent First Name"), text(row, "Agent Last Name"));
        assert!(users.iter().any(|user| user["first_name"] == first && user["last_name"] == last), "{row:?}");
        let wait = text(row, "Customer Wait Time (min)");
        if wait.is_empty() {
            continue;
        }
        let tenths = TimeDelta::seconds(wait.replace('.', "").parse::<i64>().unwrap() * 6);
        let published = time(row, "Customer Publish Date (UTC)");
        assert_eq!(time(row, "Agent Reponse Date (UTC)"), published + tenths, "{row:?}");
        assert_eq!(text(row, "Within Customer SLA") == "true", tenths <= TimeDelta::hours(2), "{row:?}");
    }
    let contacts = company.contacts(Vendor::Lexer, at(4), at(9), END);
    assert_eq!(contacts.len(), cases.len());
    for (row, contact) in cases.iter().zip(&contacts) {
        let reply = contact.first_response_seconds.map(|secs| secs.to_string()).unwrap_or_default();
        assert_eq!((text(row, "Case ID"), text(row, "First Reply Time (sec)")), (&*contact.id, &*reply));
        let resolution = (time(row, "Closed (UTC)") - time(row, "Opened (UTC)")).as_seconds_f64();
        assert_eq!(
            (Some(resolution), text(row, "Resolution Time (sec)")),
            (contact.resolution_seconds, &*resolution.to_string())
        );
    }
    let is_answered = |row: &&Row| !text(row, "Agent Response").is_empty();
    let handled = mentions.iter().filter(is_answered).count() as u64;
    let is_late = |row: &&Row| text(row, "Within Customer SLA") == "false";
    let broken = mentions.iter().filter(is_answered).filter(is_late).count() as u64;
    let unanswered = mentions.len() as u64 - handled;
    assert_eq!(company.sla(Vendor::Lexer, at(4), at(9)), Sla { handled, broken, unanswered });
    assert!(broken * 50 > handled && broken * 4 < handled, "{broken} of {handled}");
    assert!(unanswered * 5 > handled, "{unanswered} besides {handled}");
    let answers = company.nps_answers(at(4), at(9));
    assert_eq!(answers.len(), submissions.len());
    let weeks = company.nps_by_week(at(4), at(9), chrono_tz::UTC);
    let promoters = submissions.iter().filter(|row| ["9", "10"].contains(&text(row, "Score"))).count() as u64;
    assert_eq!(weeks.values().map(|week| week.promoters).sum::<u64>(), promoters);
}

#[tokio::test]
async fn lynn_reports_join_by_session() {
    let (_simulator, control) = served(Volume::Around(850)).await;
    let (data, company) = (control.data(Vendor::Lynn), control.company());
    let marks = rows(&data, "navigation_marks", 4, 9);
    let sessions = texts(&marks, "session");
    for report in ["show_dialogs", "menu_detail", "survey_result", "current_interactions"] {
        assert_joins(&rows(&data, report, 4, 9), "SessionId", &sessions);
    }
    assert_joins(&rows(&data, "detail_performance", 4, 9), "session", &sessions);
    let began: BTreeMap<&str, DateTime<Utc>> =
        marks.iter().rev().map(|row| (text(row, "session"), time(row, "timestamp"))).collect();
    let interactions = rows(&data, "current_interactions", 4, 9);
    for row in &interactions {
        let (date, connected) = (time(row, "date"), time(row, "Agent connection date"));
        let waited = TimeDelta::seconds(row["Derivation service level [sec]"].as_i64().unwrap());
        assert_eq!((date + waited).timestamp(), connected.timestamp(), "{row:?}");
        assert!(date >= began[text(row, "SessionId")] - TimeDelta::milliseconds(1), "{row:?}");
        let seconds = |field: &str| row[field].as_i64().unwrap();
        assert!(seconds("First response service level [sec]") >= waited.num_seconds(), "{row:?}");
        assert!(seconds("Session service level [sec]") >= seconds("First response service level [sec]"), "{row:?}");
        assert!(AGENTS.iter().any(|agent| agent.email == text(row, "Agent")));
    }
    let desks: BTreeMap<&str, &str> =
        interactions.iter().map(|row| (text(row, "SessionId"), text(row, "Agent"))).collect();
    let dialogs = rows(&data, "show_dialogs", 4, 9);
    let mut written: BTreeMap<&str, u64> = BTreeMap::new();
    for row in dialogs.iter().filter(|row| text(row, "from") == "agent") {
        assert_eq!(Some(&text(row, "author")), desks.get(text(row, "SessionId")), "{row:?}");
        *written.entry(text(row, "author")).or_default() += 1;
    }
    assert!(!written.is_empty());
    assert_eq!(written, company.dialog_counts(at(4), at(9)));
    assert_eq!(texts(&dialogs, "from"), ["agent", "bot", "client"].map(ToOwned::to_owned).into());
    let (all, reached) = company.containment(Vendor::Lynn, at(4), at(9));
    assert_eq!((all, reached), (sessions.len() as u64, interactions.len() as u64));
    assert!(reached * 5 > all && reached * 5 < all * 4, "{reached} of {all}");
    let sla = company.sla(Vendor::Lynn, at(4), at(9));
    let broken = interactions.iter().filter(|row| row["Compliance"].as_f64().unwrap() < 100.0).count() as u64;
    assert_eq!(sla, Sla { handled: reached, broken, unanswered: 0 });
    let mut intents: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &marks {
        *intents.entry(text(row, "intent")).or_default() += 1;
    }
    assert_eq!(intents, company.intents(Vendor::Lynn, at(4), at(9)));
    let ended = marks.iter().filter(|row| text(row, "markName") == "END_SESSION").count() as u64;
    assert!(ended < all && ended * 2 > all, "some leave early: {ended} of {all}");
    let scores = company.survey_scores(Vendor::Lynn, at(4), at(9));
    assert_eq!(scores.len(), rows(&data, "survey_result", 4, 9).len());
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
}

#[tokio::test]
async fn campaigns_contacts_and_blacklists_join() {
    let (_simulator, control) = served(Volume::Around(850)).await;
    let (from, to) = crate::lynn::outbound::listed();
    let list = |name: &str| control.data(Vendor::LynnOutbound).rows(name, from, to).unwrap();
    let (campaigns, contacts, dnd) = (list("campaigns"), list("contacts"), list("dnd_contacts"));
    assert_joins(&dnd, "contactId", &texts(&contacts, "id"));
    for count in control.company().campaign_counts() {
        assert!(campaigns.iter().any(|row| row["campaignId"] == count.id && row["name"] == count.name));
        let listed = dnd.iter().filter(|row| row["campaignId"] == count.id).count() as u64;
        assert_eq!(listed, count.blacklisted);
    }
    let blacklisted = texts(&dnd, "contactId");
    assert!(contacts.iter().all(|row| (row["dnd"] == true) == blacklisted.contains(text(row, "id"))));
}

#[tokio::test]
async fn jaicp_lists_and_statistics_fit_together() {
    let (_simulator, control) = served(Volume::Around(850)).await;
    let (jaicp, company) = (control.jaicp(), control.company());
    let (messages, clients) = (rows(&jaicp.data(), "messages", 4, 9), rows(&jaicp.data(), "clients", 3, 9));
    let ids = texts(&clients, "id");
    assert_eq!(ids.len(), clients.len(), "a client is listed once");
    for row in &messages {
        assert!(ids.contains(row["client"]["id"].as_str().unwrap()), "{row:?}");
        assert!(time(row, "timestamp") >= time(row, "sessionStartTime"), "{row:?}");
        assert_eq!(row["isLivechat"] == true, row.contains_key("operatorInfo"), "{row:?}");
    }
    let started = |row: &Row| (at(4)..at(9)).contains(&time(row, "startTime"));
    let sessions: Vec<Row> = jaicp.sessions(at(4), at(10)).into_iter().filter(started).collect();
    let with_agent = sessions.iter().filter(|row| row["isLivechat"] == true).count() as u64;
    assert_eq!(company.containment(Vendor::Jaicp, at(4), at(9)), (sessions.len() as u64, with_agent));
    let counted = |metric: &str| jaicp.series(metric, at(4), at(9)).values().flat_map(BTreeMap::values).sum::<u64>();
    assert_eq!((counted("sessions"), counted("switched_sessions")), (sessions.len() as u64, with_agent));
    assert_eq!(counted("messages"), messages.len() as u64);
    let contacts = company.contacts(Vendor::Jaicp, at(4), at(9), END);
    for contact in contacts {
        let client = contact.customer.jaicp_id();
        let session = sessions.iter().find(|row| row["client"]["id"] == client).unwrap();
        assert_eq!(session["client"]["username"], contact.customer.handle);
        assert!(text(session, "sessionId").ends_with(&format!("-{}", contact.id)), "{session:?}");
        assert_eq!(time(session, "startTime").timestamp_millis(), contact.started.timestamp_millis());
    }
}

#[test]
fn weeks_have_weekdays_and_hours() {
    let company = Company::new(1, Volume::Around(850));
    let contacts: Vec<Contact> = [Vendor::Khoros, Vendor::Lexer, Vendor::Lynn, Vendor::Jaicp]
        .into_iter()
        .flat_map(|vendor| company.contacts(vendor, at(4), at(4) + TimeDelta::weeks(6), END))
        .collect();
    let (mut days, mut hours) = ([0_u32; 7], [0_u32; 24]);
    for contact in &contacts {
        let local = contact.started.with_timezone(&calendar::ZONE);
        days[local.weekday().num_days_from_monday() as usize] += 1;
        hours[local.hour() as usize] += 1;
    }
    assert!(days[0] > days[1] && days[1] > days[4] && days[4] > 3 * days[6] / 2, "{days:?}");
    assert!(hours[10] > 8 * hours[3] && hours[3] > 0, "{hours:?}");
}

#[test]
fn who_waits_longer_is_less_satisfied() {
    let company = Company::new(1, Volume::Around(850));
    let answers = company.nps_answers(at(4), at(4) + TimeDelta::weeks(6));
    let number = |number: u64| f64::from(u32::try_from(number).unwrap());
    let pairs: Vec<(f64, f64)> =
        answers.iter().filter_map(|(_, score, wait)| Some((number(*score), number((*wait)?)))).collect();
    assert!(pairs.len() > 1000 && correlation(&pairs) < -0.3, "{} of {}", correlation(&pairs), pairs.len());
    let scores: BTreeSet<u64> = answers.iter().map(|(_, score, _)| *score).collect();
    assert!(scores.len() > 8, "{scores:?}");
}

#[tokio::test]
async fn agents_and_customers_appear_in_several_systems() {
    let (_simulator, control) = served(Volume::Around(850)).await;
    let (from, to) = (at(4), at(4) + TimeDelta::weeks(2));
    let of = |data: TruthHandle, report: &str, field: &str| -> BTreeSet<String> {
        let rows = data.rows(report, from, to).unwrap();
        rows.iter().filter_map(|row| row.get(field)?.as_str().map(ToOwned::to_owned)).collect()
    };
    let khoros = of(control.khoros().data(), "raw_agent_states", "agent_email");
    let lynn = of(control.data(Vendor::Lynn), "current_interactions", "Agent");
    let lexer: BTreeSet<String> =
        control.lexer().list("users").iter().map(|user| user["email"].as_str().unwrap().to_owned()).collect();
    assert!(khoros.iter().filter(|email| lexer.contains(*email) && lynn.contains(*email)).count() >= 3);
    let company = control.company();
    assert!(company.agents().iter().filter(|identity| identity.ids.len() >= 3).count() >= 4);

    let authors = of(control.khoros().data(), "author", "AUTHOR_NAME");
    let writers = of(control.lexer().data(), "mention_sla_export", "Customer Username");
    let clients = of(control.jaicp().data(), "clients", "username");
    assert!(authors.intersection(&writers).count() > 10 && authors.intersection(&clients).count() > 10);
    let contacts = company.customers(Vendor::LynnOutbound, from, to);
    assert!(contacts.intersection(&company.customers(Vendor::Khoros, from, to)).count() > 10);
}

#[tokio::test]
async fn the_same_seed_tells_the_same_story_in_any_order() {
    let (_one, one) = served(Volume::Around(850)).await;
    let (_other, other) = served(Volume::Around(850)).await;
    let everything = |control: &Control, backwards: bool| {
        let mut days: Vec<u32> = (4..9).collect();
        if backwards {
            days.reverse();
        }
        let mut read = BTreeMap::new();
        for day in days {
            for (vendor, report) in [
                (Vendor::Khoros, "conversation_actions"),
                (Vendor::Lexer, "mention_sla_export"),
                (Vendor::Lynn, "current_interactions"),
                (Vendor::Jaicp, "messages"),
            ] {
                read.insert((day, report), control.data(vendor).text(report, at(day), at(day + 1)).unwrap());
            }
        }
        read
    };
    assert_eq!(everything(&one, false), everything(&other, true));
}

#[tokio::test]
async fn nothing_is_known_before_it_happens() {
    let (_simulator, control) = served(Volume::Around(850)).await;
    let noon = at(5) + TimeDelta::hours(12);
    for vendor in Vendor::ALL {
        control.data(vendor).freeze(noon);
    }
    let data = control.khoros().data();
    let conversations = rows(&data, "conversation", 4, 7);
    assert!(conversations.iter().all(|row| time(row, "CREATED_TIME") <= noon));
    let closed = |row: &&Row| !text(row, "CLOSED_TIME").is_empty();
    assert!(conversations.iter().filter(closed).all(|row| time(row, "CLOSED_TIME") <= noon));
    let open = conversations.iter().filter(|row| !closed(row)).count() as u64;
    let backlog = control.company().backlog(Vendor::Khoros, at(4), noon);
    assert_eq!(backlog.values().sum::<u64>(), open, "{backlog:?}");
    assert!(open > 10 && backlog.len() == 2, "{backlog:?}");
    let mentions = rows(&control.lexer().data(), "mention_sla_export", 4, 7);
    let answered = mentions.iter().filter(|row| !text(row, "Agent Response").is_empty());
    assert!(answered.clone().all(|row| time(row, "Agent Reponse Date (UTC)") <= noon));
    assert!(answered.count() > 100);
    for row in mentions.iter().filter(|row| text(row, "Agent Response").is_empty()) {
        let is_young = noon - time(row, "Customer Publish Date (UTC)") <= TimeDelta::hours(2);
        assert!(!is_young || text(row, "Within Customer SLA") == "true", "not late yet: {row:?}");
    }
    let cases = rows(&control.lexer().data(), "case_details", 4, 7);
    let open = cases.iter().filter(|row| text(row, "Closed (UTC)").is_empty()).count() as u64;
    assert_eq!(control.company().backlog(Vendor::Lexer, at(4), noon).get("open").copied(), Some(open));
}

#[tokio::test]
async fn rows_of_an_exact_volume_are_final() {
    let (_simulator, control) = served(Volume::Exactly(40)).await;
    let noon = at(5) + TimeDelta::hours(12);
    let read = || control.khoros().data().text("conversation", at(4), noon).unwrap();
    let before = read();
    control.khoros().data().freeze(noon);
    assert_eq!(read(), before);
}

#[test]
fn a_day_of_any_size_is_made_of_copies() {
    for rows in [0, 1, 3, 1_999, 2_001, 10_000, 12_345] {
        let company = Company::new(1, Volume::Exactly(rows));
        for report in ["navigation_marks", "survey_result"] {
            let day = company.bot.day(19_000);
            let timeline = &day.timelines[report];
            assert_eq!((timeline.len(), company.bot.rows_on(report, 19_000)), (rows, rows), "{report}");
            let times: Vec<_> = (0..rows).map(|position| timeline.at(position).unwrap()).collect();
            assert!(times.is_sorted(), "{rows}");
            let spots: BTreeSet<_> = (0..rows)
                .map(|position| timeline.spot(position).unwrap())
                .map(|spot| (spot.event.of, spot.event.rank, spot.copy))
                .collect();
            assert_eq!(spots.len() as u64, rows);
        }
    }
}
