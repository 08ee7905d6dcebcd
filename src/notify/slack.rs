//! Messages for incoming webhooks of Slack, Mattermost and Rocket.Chat: a digest of problems, or of runs and actions.
//!
//! Slack shows the blocks, the others show `text`, so both say the same.

use std::fmt::Write as _;

use serde_json::{Value, json};
use url::Url;

use super::sentence;
use crate::store::activity::Activity;
use crate::store::problem::Problem;
use crate::text;

/// Problems that one message names.
const NAMED_MAX: usize = 10;
/// What chats make a link of, in lower case; besides `](`.
const LINKS: [&str; 5] = ["://", "www.", "mailto:", "tel:", "xmpp:"];
/// Slack refuses blocks of more than 3,000 characters.
const BLOCK_CHARACTERS_MAX: usize = 2_900;

/// A message about these problems.
pub(super) fn digest(title: &str, base: Option<&Url>, problems: &[Problem]) -> Value {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    // What is wrong goes before what is over, and what is new before reminders.
    sorted.sort_by_key(|problem| (problem.closed_at.is_some(), problem.is_known, rank(&problem.kind), problem.id));
    let mut lines = vec![format!("*{}*: {}", escape(title), counts(problems))];
    lines.extend(sorted.iter().take(NAMED_MAX).map(|problem| line(problem, base)));
    lines.extend(rest(sorted.len().saturating_sub(NAMED_MAX), base));
    message(&lines)
}

/// A message about runs that finished and about actions.
pub(super) fn activity(title: &str, base: Option<&Url>, activity: &Activity) -> Value {
    let mut counts = Vec::new();
    let (runs, actions) = (activity.runs_total(), activity.actions_total);
    if runs > 0 {
        let states: Vec<String> = activity.states.iter().map(|(state, runs)| format!("{runs} {state}")).collect();
        let noun = if runs == 1 { "run" } else { "runs" };
        counts.push(format!("{runs} {noun} finished ({})", states.join(", ")));
    }
    if actions > 0 {
        counts.push(format!("{actions} {}", if actions == 1 { "action" } else { "actions" }));
    }
    let mut named = Vec::new();
    let room = NAMED_MAX - activity.runs.len().min(NAMED_MAX / 2);
    for action in activity.actions.iter().take(room) {
        named.push(cut(&format!("• {}", escape(&sentence::of_action(action)))));
    }
    for run in activity.runs.iter().take(NAMED_MAX - named.len()) {
        let sign = if run.state == "succeeded" { "✓" } else { "✕" };
        let mut line = cut(&format!("{sign} {}", escape(&sentence::of_run(run))));
        if let Some(url) = sentence::link_to_run(base, run.id) {
            let _ = write!(line, " {}", linked(&url, "open"));
        }
        named.push(line);
    }
    let total = usize::try_from(runs.saturating_add(actions)).unwrap_or(usize::MAX);
    let mut lines = vec![format!("*{}*: {}", escape(title), escape(&counts.join(", ")))];
    let more = total.saturating_sub(named.len());
    lines.extend(named);
    lines.extend(rest(more, base));
    message(&lines)
}

/// A line for what is not named.
fn rest(more: usize, base: Option<&Url>) -> Option<String> {
    if more == 0 {
        return None;
    }
    let mut line = format!("and {more} more");
    if let Some(url) = base {
        let _ = write!(line, ": {}", linked(&sentence::overview(url), "open"));
    }
    Some(line)
}

/// A message that tests a target.
pub(super) fn test(title: &str) -> Value {
    message(&[format!("*{}*: this is a test of notifications. It does not report a problem.", escape(title))])
}

fn message(lines: &[String]) -> Value {
    // `verbatim`: Slack makes no links of its own.
    let block =
        |line: &String| json!({ "type": "section", "text": { "type": "mrkdwn", "text": line, "verbatim": true } });
    let blocks: Vec<Value> = lines.iter().map(block).collect();
    json!({ "text": lines.join("\n"), "blocks": blocks })
}

fn counts(problems: &[Problem]) -> String {
    let number = |is_counted: &dyn Fn(&Problem) -> bool| problems.iter().filter(|problem| is_counted(problem)).count();
    let new = number(&|problem| problem.closed_at.is_none() && !problem.is_known);
    let still = number(&|problem| problem.closed_at.is_none() && problem.is_known);
    let over = number(&|problem| problem.closed_at.is_some());
    let mut parts = Vec::new();
    match new {
        0 => {}
        1 => parts.push("1 problem".to_owned()),
        new => parts.push(format!("{new} problems")),
    }
    if still > 0 {
        parts.push(format!("{still} still open"));
    }
    if over > 0 {
        parts.push(format!("{over} over"));
    }
    parts.join(", ")
}

fn line(problem: &Problem, base: Option<&Url>) -> String {
    let sign = if problem.closed_at.is_some() { "✓" } else { "✕" };
    let mut line = cut(&format!("{sign} {}", escape(&sentence::sentence(problem))));
    if let Some(url) = sentence::link(base, problem) {
        let _ = write!(line, " {}", linked(&url, "open"));
    }
    line
}

/// A link. What the chat would read as its end is escaped in the URL.
fn linked(url: &str, label: &str) -> String {
    let url = url.replace('|', "%7C").replace('<', "%3C").replace('>', "%3E");
    format!("<{}|{label}>", url.replace('&', "&amp;"))
}

/// The text without anything that could mislead: tags of Slack, and mentions and links of all three, which an invisible
/// character breaks. `*` and backticks still change how text looks.
fn escape(text: &str) -> String {
    let text = unlinked(&text::plain(text)).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('@', "@\u{200b}").replace("](", "]\u{200b}(")
}

/// The text with broken addresses, which people can read and chats make no link of. The points are broken too, since a
/// chat may recognise the name of the host alone.
fn unlinked(text: &str) -> String {
    let break_up = |word: &str| {
        let lower = word.to_ascii_lowercase();
        if LINKS.iter().any(|link| lower.contains(link)) {
            word.replace(':', "\u{200b}:\u{200b}").replace('.', "\u{200b}.")
        } else {
            word.to_owned()
        }
    };
    text.split_inclusive(char::is_whitespace).map(break_up).collect()
}

/// The text, cut to the length of a block, without half an escape at its end.
fn cut(text: &str) -> String {
    if text.chars().count() <= BLOCK_CHARACTERS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(BLOCK_CHARACTERS_MAX).collect();
    if let Some(at) = short.rfind('&').filter(|at| !short[*at..].contains(';')) {
        short.truncate(at);
    }
    short.push('…');
    short
}

/// The most urgent first.
fn rank(kind: &str) -> usize {
    let order =
        ["stalled", "failed", "config_refused", "held", "quota_refused", "push_unknown", "late", "gap", "rejects"];
    order.iter().position(|known| *known == kind).unwrap_or(order.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::activity::{Action, FinishedRun};

    #[test]
    fn a_digest_names_ten_problems_and_counts_the_others() {
        let base = Url::parse("https://ops.example").unwrap();
        let mut problems: Vec<Problem> =
            (0..47).map(|id| Problem { id, scope: format!("acme/s{id}"), ..sentence::example() }).collect();
        problems[3].closed_at = Some("2026-11-29T04:00:00Z".parse().unwrap());
        problems[4].is_known = true;
        let document = digest("prod", Some(&base), &problems);
        let text = document["text"].as_str().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 12);
        assert_eq!(lines[0], "*prod*: 45 problems, 1 still open, 1 over");
        assert!(lines[1].starts_with("✕ acme/s0 fails since 2026-11-29 03:15 UTC: "), "{text}");
        assert!(lines[1].ends_with(" <https://ops.example/streams/acme-lynn/survey_result|open>"), "{text}");
        assert_eq!(lines[11], "and 37 more: <https://ops.example/|open>");
        assert_eq!(document["blocks"].as_array().unwrap().len(), 12);
    }

    #[test]
    fn a_message_about_activity_names_ten_runs_and_actions_and_counts_the_others() {
        let base = Url::parse("https://ops.example").unwrap();
        let hostile = "<!channel> & @all\u{202e}";
        let at = "2026-11-29T03:15:00Z".parse().unwrap();
        let run = FinishedRun {
            id: 7,
            job: hostile.to_owned(),
            connection: "acme".to_owned(),
            kind: "schedule".to_owned(),
            state: "failed".to_owned(),
            started_at: None,
            finished_at: at,
            error: Some(hostile.to_owned()),
            hint: None,
        };
        let action = Action {
            at,
            actor: Some(hostile.to_owned()),
            connection: None,
            stream: None,
            job: None,
            run_id: None,
            summary: hostile.to_owned(),
        };
        let about = |runs: usize, actions: usize| {
            let activity = Activity {
                states: vec![("failed".to_owned(), runs.try_into().unwrap())],
                runs: vec![run.clone(); runs.min(100)],
                actions_total: actions.try_into().unwrap(),
                actions: vec![action.clone(); actions.min(100)],
            };
            let document = super::activity("prod", Some(&base), &activity);
            document["text"].as_str().unwrap().to_owned()
        };
        for (runs, actions, signs, last) in [
            (1, 0, (1, 0), "runs/7|open>"),
            (0, 3, (0, 3), ""),
            (10_000, 0, (10, 0), "and 9990 more: <https://ops.example/|open>"),
            (10_000, 400, (5, 5), "and 10390 more: <https://ops.example/|open>"),
            (2, 400, (2, 8), "and 392 more: <https://ops.example/|open>"),
        ] {
            let text = about(runs, actions);
            assert_eq!((text.matches('✕').count(), text.matches('•').count()), signs, "{text}");
            assert!(text.ends_with(last), "{text}");
            assert!(!text.contains("<!") && !text.contains('\u{202e}') && !text.contains("@all"), "{text}");
        }
        assert!(about(2, 1).starts_with("*prod*: 2 runs finished (2 failed), 1 action\n"), "{}", about(2, 1));
    }

    #[test]
    fn p7_hostile_names_in_slack_text_are_escaped() {
        let hostile = "<!channel> <https://evil.example|click> & @all\n✓ all is well\u{202e}";
        let mut problem = sentence::example();
        (problem.scope, problem.summary, problem.hint) =
            (hostile.to_owned(), hostile.to_owned(), Some(hostile.to_owned()));
        let document = digest(hostile, None, &[problem.clone()]);
        let text = document["text"].as_str().unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(
            !text.contains('<') && !text.contains('>') && !text.contains("@all") && !text.contains('\u{202e}'),
            "{text}"
        );
        problem.summary = "<".repeat(5_000);
        let long = digest("prod", None, &[problem]);
        let line = long["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(line.chars().count() < 3_000 && line.ends_with("&lt;…"), "{line}");
    }

    #[test]
    fn p7_an_address_in_foreign_text_is_no_link_and_ours_is_one() {
        let base = Url::parse("https://www.ops.example").unwrap();
        let mut problem = sentence::example();
        problem.summary =
            "see https://evil.example/p?a=1, HTTP://Evil.example, (www.evil.example) or WWW.evil.example \
                           or mailto:a@evil.example"
                .to_owned();
        problem.hint = Some("ftp://evil.example".to_owned());
        let document = digest("prod", Some(&base), &[problem.clone()]);
        let text = document["text"].as_str().unwrap();
        let (foreign, ours) = text.split_once('<').unwrap();
        assert_eq!(ours, "https://www.ops.example/streams/acme-lynn/survey_result|open>");
        let lower = foreign.to_lowercase();
        assert!(LINKS.iter().all(|link| !lower.contains(link)) && !lower.contains("evil.example"), "{foreign}");
        let readable = foreign.replace('\u{200b}', "");
        assert!(readable.contains(&problem.summary) && readable.contains("To do: ftp://evil.example"), "{readable}");
        assert_eq!(document["blocks"][1]["text"]["verbatim"], true);
        // What is no address can be copied.
        assert_eq!(escape("lynn.marks at 03:15: 1.5 MB"), "lynn.marks at 03:15: 1.5 MB");
    }

    proptest! {
        #[test]
        fn p7_no_text_becomes_a_link(
            parts in prop::collection::vec(
                prop_oneof![
                    "[ -~]{0,4}",
                    prop::sample::select(vec![
                        "http", "https", "HTTPS", ":", "//", "://", "www", "WWW", ".", "mailto", "tel", "xmpp", " ",
                        "\u{a0}", "\u{200b}", "\u{ad}", "\n", "evil.example", "&", "<", "@", "](",
                    ])
                    .prop_map(ToOwned::to_owned),
                ],
                0..12,
            )
        ) {
            let text = parts.concat();
            let shown = escape(&text);
            let lower = shown.to_lowercase();
            prop_assert!(LINKS.iter().all(|link| !lower.contains(link)), "{shown:?}");
            prop_assert!(!shown.contains("](") && !shown.contains('<'), "{shown:?}");
            let visible = shown.replace('\u{200b}', "");
            let readable = visible.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            prop_assert_eq!(readable, text::plain(&text));
        }
    }
}
