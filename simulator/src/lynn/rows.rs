//! The content of Lynn's reports, made from real conversations: the documented row of Navigation marks
//! (`facts/lynn.md §4.1`), and plausible rows for the seven reports whose columns are not documented (`§4.2`).

use std::fmt::Write as _;

use super::super::conversations::{Conversation, Message, choose, pick, word};
use super::super::truth::{Dice, Record, Row, Source, Volume, date_text, moment_text, seconds_text};

/// One report: `facts/lynn.md §4`.
pub(super) struct Report {
    pub name: String,
    pub id: String,
    pub title: String,
    /// Rows per thousand navigation marks.
    share: u64,
    write: fn(&mut Scene, &mut Record),
}

type Standard = (&'static str, &'static str, &'static str, u64, fn(&mut Scene, &mut Record));

const STANDARD: &[Standard] = &[
    ("show_dialogs", "B0A26DFF-173F-4138-AB46-61273E52538A", "Show Dialogs", 300, dialog),
    ("menu_detail", "542B8262-14EB-4FEF-9873-93EC8B439FB7", "Menu Detail", 400, menu),
    ("show_error", "192D8D34-2BE0-477D-94EE-C5B3198B15D5", "Show Error", 50, error),
    ("detail_performance", "CB7D310E-BF08-46ED-A5E9-24C744344018", "Detail Performance", 600, performance),
    ("productivity_detail", "34175227-42BE-4A59-8B95-6F2EE6C14849", "Productivity Detail", 30, productivity),
    ("survey_result", "9C294B80-CCFF-44F7-B9D4-5909058D2513", "Survey result", 80, survey),
    ("current_interactions", "615DAD60-6EA5-4E19-AC37-5253170B86C0", "Current Interactions", 150, interaction),
    ("navigation_marks", "A45EC705-6A38-426A-8D1F-9CAE4D311497", "Navigation marks", 1000, mark),
];

/// Navigation marks is the last one.
const MARKS: usize = STANDARD.len() - 1;

const MARKS_PER_SESSION: u64 = 4;

/// The eight reports, then the tenant's own ones, whose rows resemble survey results.
pub(super) fn reports<'a>(extra: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Report> {
    let report = |name: &str, id: &str, title: &str, share, write| Report {
        name: name.to_owned(),
        id: id.to_owned(),
        title: title.to_owned(),
        share,
        write,
    };
    let standard = STANDARD.iter().map(|&(name, id, title, share, write)| report(name, id, title, share, write));
    standard.chain(extra.into_iter().map(|(name, id)| report(name, id, name, 80, survey))).collect()
}

/// Lynn's reports as functions of seed, report, day and position.
pub(super) struct Rows {
    pub reports: Vec<Report>,
    pub seed: u64,
    pub volume: Volume,
    pub tenant: i64,
}

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.volume.rows_on(self.seed, report, day, self.reports[report].share)
    }

    fn write(&self, row: Row, record: &mut Record) {
        let day = u64::from(row.day.cast_unsigned());
        let mut dice = Dice::new(self.seed, &[row.report as u64, day, row.position, 13]);
        // Sessions are those of the marks, so that the reports can be joined; a mark belongs to the session of its
        // neighbours.
        let sessions = self.rows_on(MARKS, row.day) / MARKS_PER_SESSION + 1;
        let session = if row.report == MARKS { row.position / MARKS_PER_SESSION } else { dice.below(sessions) };
        let mut session_dice = Dice::new(self.seed, &[day, session, 17]);
        let mut scene = Scene {
            row,
            tenant: self.tenant,
            session: session_dice.guid(),
            conversation: pick(session_dice.roll()),
            channel: *choose(session_dice.roll(), CHANNELS),
            agent: (!session_dice.once_in(3)).then(|| word(session_dice.roll(), AGENTS)),
            dice,
        };
        (self.reports[row.report].write)(&mut scene, record);
    }
}

const CHANNELS: &[(&str, &str)] = &[("26", "WhatsApp"), ("21", "Web Chat"), ("3", "Twitter"), ("7", "Teléfono")];
const AGENTS: &[&str] = &["María Núñez", "O'Brien, Pat", "李小龍", "Zoë \"Z\" Müller", "agent.007@example.com"];
const INTENTS: &[&str] = &["greet", "billing_question", "cannot_sign_in", "cancel order", "speak_to_agent", "¿otro?"];
const SERVICES: &[&str] = &["GetCustomer", "CreateTicket", "NLU.Classify", "SendMessage", "Translate"];

/// The inputs of one row.
struct Scene {
    row: Row,
    tenant: i64,
    session: String,
    conversation: &'static Conversation,
    channel: (&'static str, &'static str),
    agent: Option<&'static str>,
    dice: Dice,
}

impl Scene {
    /// The date in milliseconds, as JavaScript prints it.
    fn date(&self) -> String {
        let mut text = moment_text(self.row.at);
        text.truncate(text.len() - 5);
        text.push('Z');
        text
    }

    fn intent(&mut self) -> &'static str {
        word(self.dice.roll(), INTENTS)
    }

    fn message(&mut self) -> &'static Message {
        choose(self.dice.roll(), &self.conversation.messages)
    }

    /// `hh:mm:ss`; hours may exceed 24.
    fn clock(&mut self, seconds_max: u64) -> String {
        let seconds = self.dice.below(seconds_max);
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    /// A number with this many decimal places.
    fn decimal(&mut self, below: u64) -> String {
        format!("{}.{:02}", self.dice.below(below), self.dice.below(100))
    }
}

fn mark(scene: &mut Scene, record: &mut Record) {
    const STEPS: [&str; 4] = ["START_SESSION", "INTENT", "MENU", "END_SESSION"];
    let step = scene.row.position % MARKS_PER_SESSION;
    let intent = scene.intent();
    let value = match step {
        0 => format!(" -> {}", scene.conversation.company),
        2 => format!(" -> {}", scene.message().text),
        _ => format!(" -> {intent}"),
    };
    record
        .text("timestamp", &moment_text(scene.row.at))
        .text("session", &scene.session)
        .text("division", "1")
        .text("channel_id", scene.channel.0)
        .text("reportEnvironment", "testing")
        .text("intent", intent)
        .text("markName", word(step, &STEPS))
        .text("markValue", &value);
}

fn dialog(scene: &mut Scene, record: &mut Record) {
    let number = scene.dice.below(scene.conversation.messages.len() as u64);
    let message = choose(number, &scene.conversation.messages);
    let mut attachments = String::from("[");
    if scene.dice.once_in(4) {
        let _ = write!(attachments, "\"https://example.com/a/{}.png\",{}", message.id, number);
    }
    attachments.push(']');
    record
        .text("date", &scene.date())
        .text("SessionId", &scene.session)
        .text("Channel", scene.channel.1)
        .raw("Tenant", scene.tenant)
        .text("dialogId", &message.id)
        .text("from", &message.from)
        .text("author", &message.author)
        .text("text", &message.text)
        .raw("messageNumber", number + 1)
        .raw("isLast", number + 1 == scene.conversation.messages.len() as u64)
        .raw("attachments", attachments);
    let sentiment = if scene.dice.once_in(3) { "null".to_owned() } else { scene.decimal(1) };
    record.raw("sentiment", sentiment);
}

fn menu(scene: &mut Scene, record: &mut Record) {
    let option = scene.dice.below(9) + 1;
    record
        .text("date", &scene.date())
        .text("SessionId", &scene.session)
        .text("channel_id", scene.channel.0)
        .text("Menu Name", &format!("Menú {}", scene.conversation.company))
        .text("Menu Option", scene.intent())
        .raw("optionNumber", option)
        .raw("valid", option != 9)
        .text("elapsed", &scene.clock(300));
}

fn error(scene: &mut Scene, record: &mut Record) {
    let message = scene.message();
    record
        .raw("Tenant ID", scene.tenant)
        .text("Channel", scene.channel.1)
        .text("Service", word(scene.dice.roll(), SERVICES))
        .text("Criteria", "handle")
        .text("Criteria Value", &message.author)
        .text("date", &scene.date())
        .raw("errorCode", 400 + scene.dice.below(200))
        .text("errorMessage", &format!("cannot handle \"{}\"\r\n\tat step {}", message.text, scene.dice.below(40)))
        .raw("retried", scene.dice.once_in(2));
    let session = (!scene.dice.once_in(5)).then_some(scene.session.as_str());
    record.text_or_null("SessionId", session);
}

fn performance(scene: &mut Scene, record: &mut Record) {
    let service = word(scene.dice.roll(), SERVICES);
    let status = *choose(scene.dice.roll(), &[200, 200, 200, 201, 404, 500]);
    let request = format!(
        r#"{{"method":"POST","path":"/{service}","size":{},"headers":{{"Accept":"application/json"}}}}"#,
        scene.dice.below(100_000)
    );
    record
        .text("date", &scene.date())
        .text("session", &scene.session)
        .text("serviceName", service)
        .raw("statusCode", status)
        .raw("success", status < 400)
        .raw("executionTime", scene.decimal(5000))
        .raw("bytesReceived", scene.dice.roll() >> 20)
        .raw("request", request)
        .raw("tags", r#"["nlu","v2"]"#);
}

fn productivity(scene: &mut Scene, record: &mut Record) {
    const ACTIONS: &[&str] = &["Create", "Update", "Publish", "Delete", "Rollback"];
    let version = scene.dice.below(40);
    record
        .text("date", &scene.date())
        .text("user", word(scene.dice.roll(), AGENTS))
        .text("action", word(scene.dice.roll(), ACTIONS))
        .raw(
            "flow",
            format!(r#"{{"id":{},"name":"{}","version":"1.{version}"}}"#, version * 7, scene.conversation.company),
        )
        .raw("approved", word(scene.dice.roll(), &["true", "false", "null"]))
        .text("effectiveDate", &date_text(scene.row.at))
        .text("comment", &scene.message().text);
}

fn survey(scene: &mut Scene, record: &mut Record) {
    const KINDS: &[(&str, &[&str])] = &[
        ("LIKE", &["YES", "NO"]),
        ("STARS", &["1", "2", "3", "4", "5", "6", "7", "8", "9"]),
        ("FACES", &["😀", "😐", "😡"]),
    ];
    let (kind, values) = *choose(scene.dice.roll(), KINDS);
    let comment = scene.dice.once_in(2).then(|| scene.message().text.as_str());
    record
        .text("date", &scene.date())
        .text("SessionId", &scene.session)
        .text("Channel", scene.channel.1)
        .text("surveyName", &format!("{} satisfaction", scene.conversation.company))
        .text("classification", kind)
        .text("value", word(scene.dice.roll(), values))
        .text_or_null("comment", comment)
        .text_or_null("Agent", scene.agent);
}

fn interaction(scene: &mut Scene, record: &mut Record) {
    let connected = scene.agent.map(|_| seconds_text(scene.row.at));
    let typifications = match scene.agent {
        Some(_) => format!(r#"[{{"code":{},"label":"{}"}}]"#, scene.dice.below(90), scene.intent()),
        None => "[]".to_owned(),
    };
    let late = i64::try_from(scene.dice.below(600)).unwrap_or_default() - 120;
    record
        .text("date", &scene.date())
        .text("SessionId", &scene.session)
        .text("Channel", scene.channel.1)
        .text_or_null("Agent connection date", connected.as_deref())
        .text("WorkGroup", &scene.conversation.company)
        .raw("Session service level [sec]", scene.dice.below(7200))
        .raw("Derivation service level [sec]", scene.dice.below(600))
        .raw("First response service level [sec]", scene.dice.below(900))
        .raw("Interaction service level [sec]", scene.decimal(3600))
        .raw("Compliance", scene.decimal(100))
        .text("ART", &scene.clock(30 * 3600))
        .raw("DPC [sec]", late)
        .text("Abandonment source", word(scene.dice.roll(), &["customer", "agent", ""]))
        .text_or_null("Agent", scene.agent)
        .text("duration", &scene.conversation.duration)
        .text("resolution", &scene.conversation.resolution.text)
        .text("resolutionUrl", &scene.conversation.resolution.url)
        .raw("typifications", typifications);
}
