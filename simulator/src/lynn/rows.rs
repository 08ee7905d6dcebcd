//! The content of Lynn's reports, made from the company's sessions: the documented row of Navigation marks
//! (`facts/lynn.md §4.1`), and plausible rows for the seven reports whose columns are not documented (`§4.2`).

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::company::Company;
use super::super::company::lynn::{Author, DUE_SECS, Day, Desk, Session};
use super::super::company::people::AGENTS;
use super::super::conversations::{Message, choose, word};
use super::super::truth::{Dice, Record, Row, Source, Ticks, date_text, moment_text, seconds_text};

/// One report: `facts/lynn.md §4`.
pub(super) struct Report {
    pub name: String,
    pub id: String,
    pub title: String,
    /// The report whose rows it has: itself, unless it is a tenant's own.
    rows_of: &'static str,
    write: fn(&mut Scene<'_>, &mut Record),
}

type Standard = (&'static str, &'static str, &'static str, fn(&mut Scene<'_>, &mut Record));

const STANDARD: &[Standard] = &[
    ("show_dialogs", "B0A26DFF-173F-4138-AB46-61273E52538A", "Show Dialogs", dialog),
    ("menu_detail", "542B8262-14EB-4FEF-9873-93EC8B439FB7", "Menu Detail", menu),
    ("show_error", "192D8D34-2BE0-477D-94EE-C5B3198B15D5", "Show Error", error),
    ("detail_performance", "CB7D310E-BF08-46ED-A5E9-24C744344018", "Detail Performance", performance),
    ("productivity_detail", "34175227-42BE-4A59-8B95-6F2EE6C14849", "Productivity Detail", productivity),
    ("survey_result", "9C294B80-CCFF-44F7-B9D4-5909058D2513", "Survey result", survey),
    ("current_interactions", "615DAD60-6EA5-4E19-AC37-5253170B86C0", "Current Interactions", interaction),
    ("navigation_marks", "A45EC705-6A38-426A-8D1F-9CAE4D311497", "Navigation marks", mark),
];

/// The eight reports, then the tenant's own ones, whose rows resemble survey results.
pub(super) fn reports<'a>(extra: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Report> {
    let report = |name: &str, id: &str, title: &str, rows_of, write| Report {
        name: name.to_owned(),
        id: id.to_owned(),
        title: title.to_owned(),
        rows_of,
        write,
    };
    let standard = STANDARD.iter().map(|&(name, id, title, write)| report(name, id, title, name, write));
    standard.chain(extra.into_iter().map(|(name, id)| report(name, id, name, "survey_result", survey))).collect()
}

/// Lynn's reports as functions of report, day and position.
pub(super) struct Rows {
    pub reports: Vec<Report>,
    pub company: Arc<Company>,
    pub tenant: i64,
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.company.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.company.bot.rows_on(self.reports[report].rows_of, day)
    }

    fn moment(&self, report: usize, day: i32, position: u64) -> Option<Ticks> {
        self.company.bot.day(day).timelines.get(self.reports[report].rows_of)?.at(position)
    }

    fn write(&self, row: Row, record: &mut Record) {
        let row = self.company.known(row);
        let report = &self.reports[row.report];
        let day = self.company.bot.day(row.day);
        let timeline = day.timelines.get(report.rows_of);
        let Some(spot) = timeline.and_then(|timeline| timeline.spot(row.position)) else { return };
        // Changes of flows have no session, so any one will do.
        let Some(session) = day.sessions.get(spot.event.of).or(day.sessions.first()) else { return };
        let number = [row.report as u64, u64::from(row.day.cast_unsigned()), row.position, 13];
        let mut scene = Scene {
            row,
            tenant: self.tenant,
            guid: session_id(self.company.seed, session, spot.copy),
            session,
            day: &day,
            of: spot.event.of,
            rank: spot.event.rank,
            shift: row.at - spot.event.at,
            dice: Dice::new(self.company.seed, &number),
        };
        (report.write)(&mut scene, record);
    }
}

/// A session's id; copies are other sessions.
fn session_id(seed: u64, session: &Session, copy: u64) -> String {
    if copy == 0 {
        return session.guid.clone();
    }
    Dice::new(seed, &[u64::from(session.day.cast_unsigned()), session.number as u64, copy, 18]).guid()
}

const SERVICES: &[&str] = &["GetCustomer", "CreateTicket", "NLU.Classify", "SendMessage", "Translate"];

/// The inputs of one row.
struct Scene<'a> {
    row: Row,
    tenant: i64,
    guid: String,
    session: &'a Session,
    day: &'a Day,
    /// The number of the fact that the row shows, and of the row among those of the fact.
    of: usize,
    rank: usize,
    /// How much later this row is than the fact that it shows.
    shift: Ticks,
    dice: Dice,
}

impl Scene<'_> {
    /// The date in milliseconds, as JavaScript prints it.
    fn date(&self) -> String {
        let mut text = moment_text(self.row.at);
        text.truncate(text.len() - 5);
        text.push('Z');
        text
    }

    fn intent(&self) -> &'static str {
        let intents = &self.session.intents;
        intents.get(self.rank).or(intents.last()).copied().unwrap_or("greet")
    }

    fn message(&mut self) -> &'static Message {
        choose(self.dice.roll(), &self.session.texts.messages)
    }

    /// A time of the session as this row shows it, if it has come.
    fn at(&self, secs: u64) -> Option<Ticks> {
        Some(self.session.at(secs) + self.shift).filter(|&at| at <= self.row.now)
    }

    /// The agent's address, once the agent is connected.
    fn agent(&self) -> Option<&'static str> {
        let desk = self.session.desk.filter(|desk| self.at(desk.connected).is_some())?;
        Some(AGENTS[desk.agent].email)
    }

    /// A number with two decimal places.
    fn decimal(&mut self, below: u64) -> String {
        format!("{}.{:02}", self.dice.below(below), self.dice.below(100))
    }
}

/// `hh:mm:ss`; hours may exceed 24.
fn clock(secs: u64) -> String {
    format!("{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

fn mark(scene: &mut Scene<'_>, record: &mut Record) {
    let (session, intent) = (scene.session, scene.intent());
    let is_last = scene.rank > 0 && scene.rank + 1 == session.marks.len();
    let name = match scene.rank {
        0 => "START_SESSION",
        _ if is_last && session.is_ended => "END_SESSION",
        1 => "INTENT",
        _ => "MENU",
    };
    let value = match name {
        "START_SESSION" => format!(" -> {}", session.texts.company),
        "MENU" => format!(" -> {}", session.customers_words(scene.rank)),
        _ => format!(" -> {intent}"),
    };
    record
        .text("timestamp", &moment_text(scene.row.at))
        .text("session", &scene.guid)
        .text("division", "1")
        .text("channel_id", session.channel.0)
        .text("reportEnvironment", "testing")
        .text("intent", intent)
        .text("markName", name)
        .text("markValue", &value);
}

fn dialog(scene: &mut Scene<'_>, record: &mut Record) {
    let messages = &scene.session.texts.messages;
    let number = scene.rank % messages.len();
    let message = &messages[number];
    // The texts come from other companies. Their agents are the bot or the agents of this one.
    let (from, author) = match scene.session.author(scene.rank, scene.row.at - scene.shift) {
        Author::Customer => (message.from.as_str(), message.author.as_str()),
        Author::Bot => ("bot", "Lynn"),
        Author::Agent(agent) => ("agent", AGENTS[agent].email),
    };
    let mut attachments = String::from("[");
    if scene.dice.once_in(4) {
        let _ = write!(attachments, "\"https://example.com/a/{}.png\",{}", message.id, number);
    }
    attachments.push(']');
    record
        .text("date", &scene.date())
        .text("SessionId", &scene.guid)
        .text("Channel", scene.session.channel.1)
        .raw("Tenant", scene.tenant)
        .text("dialogId", &message.id)
        .text("from", from)
        .text("author", author)
        .text("text", &message.text)
        .raw("messageNumber", number + 1)
        .raw("isLast", number + 1 == messages.len())
        .raw("attachments", attachments);
    let sentiment = if scene.dice.once_in(3) { "null".to_owned() } else { scene.decimal(1) };
    record.raw("sentiment", sentiment);
}

fn menu(scene: &mut Scene<'_>, record: &mut Record) {
    let option = scene.dice.below(9) + 1;
    record
        .text("date", &scene.date())
        .text("SessionId", &scene.guid)
        .text("channel_id", scene.session.channel.0)
        .text("Menu Name", &format!("Menú {}", scene.session.texts.company))
        .text("Menu Option", scene.intent())
        .raw("optionNumber", option)
        .raw("valid", option != 9)
        .text("elapsed", &clock(scene.dice.below(300)));
}

fn error(scene: &mut Scene<'_>, record: &mut Record) {
    let message = scene.message();
    record
        .raw("Tenant ID", scene.tenant)
        .text("Channel", scene.session.channel.1)
        .text("Service", word(scene.dice.roll(), SERVICES))
        .text("Criteria", "handle")
        .text("Criteria Value", &message.author)
        .text("date", &scene.date())
        .raw("errorCode", 400 + scene.dice.below(200))
        .text("errorMessage", &format!("cannot handle \"{}\"\r\n\tat step {}", message.text, scene.dice.below(40)))
        .raw("retried", scene.dice.once_in(2));
    let session = (!scene.dice.once_in(5)).then_some(scene.guid.as_str());
    record.text_or_null("SessionId", session);
}

fn performance(scene: &mut Scene<'_>, record: &mut Record) {
    let service = word(scene.dice.roll(), SERVICES);
    let status = *choose(scene.dice.roll(), &[200, 200, 200, 201, 404, 500]);
    let request = format!(
        r#"{{"method":"POST","path":"/{service}","size":{},"headers":{{"Accept":"application/json"}}}}"#,
        scene.dice.below(100_000)
    );
    record
        .text("date", &scene.date())
        .text("session", &scene.guid)
        .text("serviceName", service)
        .raw("statusCode", status)
        .raw("success", status < 400)
        .raw("executionTime", scene.decimal(5000))
        .raw("bytesReceived", scene.dice.roll() >> 20)
        .raw("request", request)
        .raw("tags", r#"["nlu","v2"]"#);
}

fn productivity(scene: &mut Scene<'_>, record: &mut Record) {
    const ACTIONS: &[&str] = &["Create", "Update", "Publish", "Delete", "Rollback"];
    let version = scene.dice.below(40);
    let user = scene.day.changes.get(scene.of).map(|&(_, agent)| AGENTS[agent].name()).unwrap_or_default();
    record
        .text("date", &scene.date())
        .text("user", &user)
        .text("action", word(scene.dice.roll(), ACTIONS))
        .raw(
            "flow",
            format!(r#"{{"id":{},"name":"{}","version":"1.{version}"}}"#, version * 7, scene.session.texts.company),
        )
        .raw("approved", word(scene.dice.roll(), &["true", "false", "null"]))
        .text("effectiveDate", &date_text(scene.row.at))
        .text("comment", &scene.message().text);
}

fn survey(scene: &mut Scene<'_>, record: &mut Record) {
    let comment = scene.dice.once_in(2).then(|| scene.message().text.as_str());
    let (kind, value) = scene.session.survey.map_or(("LIKE", "YES"), |survey| (survey.kind, survey.value));
    record
        .text("date", &scene.date())
        .text("SessionId", &scene.guid)
        .text("Channel", scene.session.channel.1)
        .text("surveyName", &format!("{} satisfaction", scene.session.texts.company))
        .text("classification", kind)
        .text("value", value)
        .text_or_null("comment", comment)
        .text_or_null("Agent", scene.agent());
}

/// A session at the desk of the agents. Figures of what has not happened yet are null.
fn interaction(scene: &mut Scene<'_>, record: &mut Record) {
    let (session, agent, guid) = (scene.session, scene.agent(), scene.guid.clone());
    let desk = session.desk.unwrap_or(Desk {
        agent: 0,
        derived: session.ended,
        connected: session.ended,
        replied: session.ended,
        is_abandoned: false,
    });
    let connected = agent.and_then(|_| scene.at(desk.connected)).map(seconds_text);
    let secs = |until: u64, from: u64| match scene.at(until) {
        Some(_) if session.desk.is_some() => until.saturating_sub(from).to_string(),
        _ => "null".to_owned(),
    };
    // As the source of the texts prints durations.
    let duration = scene.at(session.ended).map(|_| clock(session.ended.saturating_sub(desk.derived)) + ".0");
    let typifications = match agent {
        Some(_) => format!(r#"[{{"code":{},"label":"{}"}}]"#, session.number % 90, scene.intent()),
        None => "[]".to_owned(),
    };
    let promised = i64::try_from(DUE_SECS / 3).unwrap_or_default();
    let delay = i64::try_from(desk.wait()).unwrap_or_default() - promised;
    let compliance = if desk.is_in_time() { 100 } else { 100 * DUE_SECS / (desk.replied - desk.derived).max(1) };
    let abandoned = match desk.is_abandoned {
        true if session.number % 4 == 0 => Some("agent"),
        true => Some("customer"),
        false => None,
    };
    record
        .text("date", &scene.date())
        .text("SessionId", &guid)
        .text("Channel", session.channel.1)
        .text_or_null("Agent connection date", connected.as_deref())
        .text("WorkGroup", &session.texts.company)
        .raw("Session service level [sec]", secs(session.ended, desk.derived))
        .raw("Derivation service level [sec]", secs(desk.connected, desk.derived))
        .raw("First response service level [sec]", secs(desk.replied, desk.derived))
        .raw("Interaction service level [sec]", format!("{}.0", session.ended.saturating_sub(desk.connected)))
        .raw("Compliance", format!("{compliance}.0"))
        .text("ART", &clock(session.ended.saturating_sub(desk.replied)))
        .raw("DPC [sec]", delay)
        .text_or_null("Abandonment source", abandoned)
        .text_or_null("Agent", agent)
        .text_or_null("duration", duration.as_deref())
        .text("resolution", &session.texts.resolution.text)
        .text("resolutionUrl", &session.texts.resolution.url)
        .raw("typifications", typifications);
}
