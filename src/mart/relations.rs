//! The views, each with its template.

/// A view of the schema `mart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relation {
    pub name: &'static str,
    pub template: &'static str,
    /// Columns with contact data: the name, and the expression that `tidegate_analyst` sees instead.
    pub contacts: &'static [(&'static str, &'static str)],
    /// Whether `mart.materialize` stores its rows. Relations that are small or cheap are always computed.
    pub stored: bool,
}

/// A view whose rows are personal data as a whole: `tidegate_analyst` may not read it.
pub const TEXTS: &str = "messages_text";

macro_rules! view {
    ($name:literal) => {
        Relation { name: $name, template: include_str!(concat!("views/", $name, ".sql")), contacts: &[], stored: false }
    };
}

/// Every view that the program makes. A view stands below those that it reads.
pub const RELATIONS: &[Relation] = &[
    view!("channels"),
    view!("calendar"),
    view!("conversations")
        .stored()
        .hides(&[("conversation_id", "case when source <> 'jaicp' then conversation_id end")]),
    view!("messages").stored(),
    view!("messages_text"),
    view!("agents").stored().hides(&[
        ("agent_id", "case when not tidegate.is_contact(agent_id) then agent_id end"),
        ("name", "case when not tidegate.is_contact(split_part(name, '@', 1)) then split_part(name, '@', 1) end"),
        ("email", "null"),
    ]),
    view!("customers").stored().hides(&[("handle", "null"), ("name", "null")]),
    view!("agent_days").stored(),
    view!("bot_turns").stored(),
    view!("backlog_days").stored(),
    view!("service_levels").stored(),
    view!("survey_responses")
        .stored()
        .hides(&[("answer", "case when score_0_1 is not null then answer end"), ("comment", "null")]),
    view!("nps_days"),
    view!("campaigns"),
    view!("campaign_pushes"),
    view!("reconciliation"),
];

impl Relation {
    const fn stored(self) -> Self {
        Self { stored: true, ..self }
    }

    const fn hides(self, contacts: &'static [(&'static str, &'static str)]) -> Self {
        Self { contacts, ..self }
    }

    /// The statement that selects the rows, and the comments. A test holds that every template has both parts.
    pub(super) fn parts(&self) -> (&'static str, &'static str) {
        let body = self.template.strip_prefix(&*format!("create or replace view mart.{} as\n", self.name));
        body.unwrap_or(self.template).split_once(";\n\n").unwrap_or((self.template, ""))
    }

    /// The names of the columns, in their order: that of the comments.
    pub fn columns(&self) -> Vec<&'static str> {
        let mark = format!("comment on column mart.{}.", self.name);
        let names = self.parts().1.split(&*mark).skip(1);
        names.filter_map(|rest| rest.split_whitespace().next()).collect()
    }

    pub fn named(name: &str) -> Option<&'static Self> {
        RELATIONS.iter().find(|relation| relation.name == name)
    }

    /// Whether the view reads that relation of the mart.
    fn reads(&self, name: &str) -> bool {
        self.template.match_indices(&format!("mart.{name}")).any(|(at, found)| {
            let before = self.template[..at].trim_end();
            let after = self.template[at + found.len()..].chars().next();
            (before.ends_with("from") || before.ends_with("join"))
                && after.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        })
    }

    /// This view and all views that read it, directly or through others, in the order of [`RELATIONS`].
    pub fn with_readers(&self) -> Vec<&'static Self> {
        let mut set: Vec<&'static Self> = Vec::new();
        for relation in RELATIONS {
            if relation.name == self.name || set.iter().any(|read| relation.reads(read.name)) {
                set.push(relation);
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of the output columns of the outermost select.
    fn selected(relation: &Relation) -> Vec<String> {
        let body = relation.template.split("comment on view").next().unwrap();
        // The last select that begins a line without indentation, or the first of two that a union joins.
        let start = body.find("\nselect").unwrap();
        let end = body[start..].find("\nfrom").unwrap() + start;
        let mut depth = 0;
        let mut list = vec![String::new()];
        for c in body[start + 7..end].chars() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                ',' if depth == 0 => {
                    list.push(String::new());
                    continue;
                }
                _ => {}
            }
            list.last_mut().unwrap().push(c);
        }
        let name = |text: &String| {
            let text = text.trim();
            match text.rsplit_once(" as ") {
                Some((_, name)) => name.trim().to_owned(),
                None => text.split("::").next().unwrap().rsplit('.').next().unwrap().to_owned(),
            }
        };
        list.iter().map(name).collect()
    }

    #[test]
    fn p11_every_column_of_every_view_has_a_comment_and_is_cast() {
        for relation in RELATIONS {
            assert_eq!(relation.columns(), selected(relation), "{}", relation.name);
            assert!(relation.contacts.iter().all(|(name, _)| relation.columns().contains(name)), "{}", relation.name);
            assert!(
                relation.template.contains(&format!("comment on view mart.{} is", relation.name)),
                "{}",
                relation.name
            );
            assert!(relation.template.starts_with(&format!("create or replace view mart.{} as\n", relation.name)));
        }
    }

    #[test]
    fn p11_every_view_begins_with_source_and_connection_and_has_a_day_or_a_time_and_names_its_key() {
        for relation in RELATIONS.iter().filter(|relation| !matches!(relation.name, "channels" | "calendar")) {
            let columns: BTreeSet<&str> = relation.columns().into_iter().collect();
            let is_list = matches!(relation.name, "agents" | "customers" | "campaigns" | "messages_text");
            assert!(columns.contains("source") && columns.contains("connection"), "{}", relation.name);
            assert!(is_list || columns.contains("day"), "{}", relation.name);
            let meaning = relation.template.split("comment on view").nth(1).unwrap().split(';').next().unwrap();
            assert!(meaning.contains("ey: ") || meaning.contains("same key"), "{meaning}");
        }
    }

    #[test]
    fn a_view_stands_below_those_that_it_reads() {
        for (number, relation) in RELATIONS.iter().enumerate() {
            for later in &RELATIONS[number..] {
                assert!(!relation.reads(later.name), "{} reads {}", relation.name, later.name);
            }
        }
        let names =
            |name| Relation::named(name).unwrap().with_readers().iter().map(|reader| reader.name).collect::<Vec<_>>();
        assert_eq!(names("conversations"), ["conversations", "agent_days", "backlog_days", "service_levels"]);
        assert_eq!(names("messages"), ["messages", "agent_days", "service_levels"]);
    }
}
