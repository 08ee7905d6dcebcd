//! The content of Lexer's lists and files, made from the company's cases. The reports' figures are counted from the
//! files' rows, so that they agree with each other and with every edit.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::company::Company;
pub(super) use super::super::company::lexer::CLASSIFICATIONS;
use super::super::company::lexer::{AGENT_DUE_SECS, CLOSED_WITHIN_SECS, Case, DUE_SECS, Mention, TENTH_SECS, case_id};
use super::super::company::people::{AGENTS as PEOPLE, Agent, Customer};
use super::super::truth::{Record, Row, Source, TICKS_PER_SECOND, Ticks, seconds_text};

/// The files by number.
const FILES: &[&str] = &["mention_sla_export", "case_details", "nps_submissions"];
pub(super) const MENTIONS: usize = 0;
pub(super) const CASES: usize = 1;
pub(super) const SUBMISSIONS: usize = 2;

/// Maximum seconds from opening a case to closing it.
pub(super) const CASE_SECS_MAX: u64 = CLOSED_WITHIN_SECS;
/// Separator of classifications in one cell; it is not documented.
pub(super) const SEPARATOR: &str = "; ";

/// The agents that Lexer knows, with their ids.
pub(super) fn agents() -> impl Iterator<Item = (i64, &'static Agent)> {
    PEOPLE.iter().filter_map(|agent| Some((agent.lexer_id?, agent)))
}

/// A form: id, name, whether it is archived, whether it is an NPS survey.
pub(super) const FORMS: &[(i64, &str, bool, bool)] = &[
    (501, "CSAT after chat", false, false),
    (502, "NPS Survey", false, true),
    (503, "NPS Survey 2023", true, true),
    (504, "Call me back", true, false),
];

pub(super) fn names() -> Vec<Vec<String>> {
    FILES.iter().map(|&name| vec![name.to_owned()]).collect()
}

/// The columns of a file, in order: for `mention_sla_export` those of the draft (`facts/lexer.md §6.2`), for the
/// others likely ones.
pub(super) fn columns(file: usize) -> &'static [&'static str] {
    match file {
        MENTIONS => &[
            "Account Name",
            "Source Type",
            "Agent First Name",
            "Agent Last Name",
            "Last Action Date (UTC)",
            "Customer Wait Time (min)",
            "In Queue (min)",
            "Agent Response Time (min)",
            "Within Customer SLA",
            "Within Agent SLA",
            "State",
            "Customer Publish Date (UTC)",
            "Customer Username",
            "Customer Fullname",
            "Customer Message",
            "Agent Reponse Date (UTC)",
            "Agent Response",
            "Classifications",
            "Agent Notes",
            "Customer Note",
        ],
        CASES => &[
            "Case ID",
            "Opened (UTC)",
            "Closed (UTC)",
            "First Reply Time (sec)",
            "Resolution Time (sec)",
            "Agents",
            "Interactions",
            "Classifications",
            "Customer Username",
        ],
        _ => &["Form ID", "Form", "Submitted At (UTC)", "Score", "Comment", "Agent", "Customer Username"],
    }
}

/// Lexer's files as functions of file, day and position.
pub(super) struct Rows(pub Arc<Company>);

impl Source for Rows {
    fn seed(&self) -> u64 {
        self.0.seed
    }

    fn rows_on(&self, report: usize, day: i32) -> u64 {
        self.0.inbox.rows_on(FILES[report], day)
    }

    fn moment(&self, report: usize, day: i32, position: u64) -> Option<Ticks> {
        self.0.inbox.day(day).timelines.get(FILES[report])?.at(position)
    }

    fn write(&self, row: Row, record: &mut Record) {
        let row = self.0.known(row);
        let day = self.0.inbox.day(row.day);
        let timeline = day.timelines.get(FILES[row.report]);
        let Some(spot) = timeline.and_then(|timeline| timeline.spot(row.position)) else { return };
        let case = &day.cases[spot.event.of];
        let customer = Customer::of(self.0.seed, case.customer);
        let scene = Scene { row, case, customer, copy: spot.copy };
        match row.report {
            MENTIONS => scene.mention(spot.event.rank, record),
            CASES => scene.case(record),
            _ => scene.submission(record),
        }
    }
}

struct Scene<'a> {
    row: Row,
    case: &'a Case,
    customer: Customer,
    copy: u64,
}

/// `yyyy-MM-dd HH:mm:ss`
fn moment(at: Ticks) -> String {
    seconds_text(at).replace('T', " ").replace('Z', "")
}

/// Seconds as minutes with tenths.
fn minutes(secs: u64) -> String {
    let tenths = secs / TENTH_SECS;
    format!("{}.{}", tenths / 10, tenths % 10)
}

impl Scene<'_> {
    /// This many seconds after the row's own time.
    fn later(&self, secs: u64) -> Ticks {
        self.row.at + i64::try_from(secs).unwrap_or_default() * TICKS_PER_SECOND
    }

    /// The seconds since the row's own time.
    fn age(&self) -> u64 {
        u64::try_from(self.row.now.saturating_sub(self.row.at) / TICKS_PER_SECOND).unwrap_or_default()
    }

    fn classifications(&self) -> String {
        let names: Vec<&str> = self.case.classifications.iter().map(|&number| CLASSIFICATIONS[number].1).collect();
        names.join(SEPARATOR)
    }

    /// What the vendor knows of a message by now: its state, and whether it was answered.
    fn progress(&self, mention: &Mention) -> (&'static str, bool) {
        if self.later(mention.wait()) <= self.row.now {
            (mention.state, mention.is_answered())
        } else if self.later(mention.queue) <= self.row.now {
            ("in_progress", false)
        } else {
            ("new", false)
        }
    }

    fn mention(&self, rank: usize, record: &mut Record) {
        let (case, mention) = (self.case, &self.case.mentions[rank]);
        let agent = &PEOPLE[case.agent];
        let (state, is_answered) = self.progress(mention);
        let answered = |text: String| if is_answered { text } else { String::new() };
        let touched = if self.later(mention.wait()) <= self.row.now { mention.wait() } else { 0 };
        // The flags of a message without a reply are those of its wait so far.
        let waited = mention.wait().min(self.age());
        let flag = |secs: u64, due: u64| if secs <= due { "true" } else { "false" };
        record
            .text("Account Name", &case.texts.company)
            .text("Source Type", case.channel)
            .text("Agent First Name", agent.first)
            .text("Agent Last Name", agent.last)
            .text("Last Action Date (UTC)", &moment(self.later(touched)))
            .text("Customer Wait Time (min)", &answered(minutes(mention.wait())))
            .text("In Queue (min)", &minutes(mention.queue))
            .text("Agent Response Time (min)", &answered(minutes(mention.action)))
            .text("Within Customer SLA", flag(waited, DUE_SECS))
            .text("Within Agent SLA", flag(waited.saturating_sub(mention.queue), AGENT_DUE_SECS))
            .text("State", state)
            .text("Customer Publish Date (UTC)", &moment(self.row.at))
            .text("Customer Username", &self.customer.handle)
            .text("Customer Fullname", &self.customer.name())
            .text("Customer Message", &case.texts.messages[rank % case.texts.messages.len()].text)
            .text("Agent Reponse Date (UTC)", &answered(moment(self.later(mention.wait()))))
            .text("Agent Response", &answered(format!("=HYPERLINK(\"x\"), \n{}", case.texts.resolution.text)))
            .text("Classifications", &self.classifications())
            .text("Agent Notes", if case.number % 5 == 0 { "called back" } else { "" })
            .text("Customer Note", "");
    }

    fn case(&self, record: &mut Record) {
        let case = self.case;
        let known = |secs: u64| self.later(secs) <= self.row.now;
        let so_far = case.mentions.iter().filter(|mention| known(mention.sent)).count();
        let is_closed = known(case.closed);
        let closed = |text: String| if is_closed { text } else { String::new() };
        let first_reply = case.first_reply().filter(|&secs| known(secs));
        record
            .text("Case ID", &case_id(case.day, case.number, self.copy))
            .text("Opened (UTC)", &moment(self.row.at))
            .text("Closed (UTC)", &closed(moment(self.later(case.closed))))
            .text("First Reply Time (sec)", &first_reply.map(|secs| secs.to_string()).unwrap_or_default())
            .text("Resolution Time (sec)", &closed(case.closed.to_string()))
            .text("Agents", "1")
            .text("Interactions", &so_far.to_string())
            .text("Classifications", &self.classifications())
            .text("Customer Username", &self.customer.handle);
    }

    fn submission(&self, record: &mut Record) {
        let Some(survey) = self.case.survey else { return };
        let wanted = if survey.is_archived_form { 503 } else { 502 };
        let name = FORMS.iter().find(|form| form.0 == wanted).map_or("", |form| form.1);
        let comment = if self.case.number.is_multiple_of(3) { "" } else { self.case.texts.messages[0].text.as_str() };
        record
            .text("Form ID", &wanted.to_string())
            .text("Form", name)
            .text("Submitted At (UTC)", &moment(self.row.at))
            .text("Score", &survey.score.to_string())
            .text("Comment", comment)
            .text("Agent", &PEOPLE[self.case.agent].name())
            .text("Customer Username", &self.customer.handle);
    }
}

/// `facts/lexer.md §2`
pub(super) fn list(name: &str) -> Vec<Value> {
    match name {
        "users" => agents()
            .enumerate()
            .map(|(number, (id, agent))| {
                json!({
                    "id": id, "email": agent.email, "first_name": agent.first, "last_name": agent.last, "timezone": "Europe/Lisbon",
                    "gmtoffset": if number == 2 { 9.5 } else { 1.0 }, "sign_in_count": 17 * number,
                    "last_sign_in_at": (number > 0).then_some("2024-02-29T23:59:58Z"), "archived": number == 3,
                    "groups": &[301, 302, 377][..number.min(3)],
                })
            })
            .collect(),
        "groups" => {
            let groups = [(301, "Soporte, LatAm", ""), (302, "Billing", "refunds \"only\""), (377, "夜勤", "nights")];
            groups.map(|(id, name, comment)| json!({ "id": id, "name": name, "comment": comment })).to_vec()
        }
        _ => FORMS
            .iter()
            .map(|(id, name, archived, nps)| {
                json!({
                    "id": id, "name": name, "title": format!("{name}!"), "archived": archived,
                    "created_at": "2022-11-01T00:00:00Z", "groups": [301], "nps": nps,
                    "form_url": format!("https://forms.example.com/f/{id}?a=1"),
                })
            })
            .collect(),
    }
}
