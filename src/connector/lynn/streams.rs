//! Lynn Reporting's eight reports (`facts/lynn.md §4`), and the reports that a tenant may add.

use std::borrow::Cow;

use crate::catalogue::{Column, ColumnType, Key, Mode, Stream, Text, Vendor, Windows, column_name, times};

pub const VENDOR: Vendor = Vendor::new("lynn_reporting");

/// The only documented row (`facts/lynn.md §4.1`).
const NAVIGATION_MARKS: &[Column] = &[
    Column::new(
        "timestamp",
        "timestamp",
        ColumnType::Timestamptz,
        "When the mark was set; fractions past microseconds are cut",
    ),
    Column::new("session", "session", ColumnType::Text, "Session id (GUID); joins the reports of one conversation"),
    Column::new(
        "division",
        "division",
        ColumnType::Text,
        "Division id; results are limited to the credential's divisions",
    ),
    Column::new("channel_id", "channel_id", ColumnType::Text, "Channel id, digits as text"),
    Column::new(
        "reportEnvironment",
        "report_environment",
        ColumnType::Text,
        "Environment the row comes from, e.g. testing",
    ),
    Column::new("intent", "intent", ColumnType::Text, "Intent at the mark"),
    Column::new("markName", "mark_name", ColumnType::Text, "Name of the mark, e.g. END_SESSION"),
    Column::new("markValue", "mark_value", ColumnType::Text, "Value of the mark, kept untrimmed"),
];

/// name, report id, meaning (`facts/lynn.md §4`).
const REPORTS: &[(&str, &str, &str)] = &[
    ("show_dialogs", "B0A26DFF-173F-4138-AB46-61273E52538A", "Table of available dialogs"),
    ("menu_detail", "542B8262-14EB-4FEF-9873-93EC8B439FB7", "Detail of chosen menu options"),
    ("show_error", "192D8D34-2BE0-477D-94EE-C5B3198B15D5", "Errors tied to an action"),
    ("detail_performance", "CB7D310E-BF08-46ED-A5E9-24C744344018", "Service execution information"),
    ("productivity_detail", "34175227-42BE-4A59-8B95-6F2EE6C14849", "Audit of actions applied to a tenant's flow"),
    ("survey_result", "9C294B80-CCFF-44F7-B9D4-5909058D2513", "Survey result detail"),
    (
        "current_interactions",
        "615DAD60-6EA5-4E19-AC37-5253170B86C0",
        "Agent desk (Kyubo) indicators, typifications included",
    ),
    ("navigation_marks", "A45EC705-6A38-426A-8D1F-9CAE4D311497", "Navigation mark indicator"),
];

/// The eight reports of `facts/lynn.md §4`.
pub(in crate::connector) fn streams() -> Vec<Stream> {
    REPORTS.iter().map(|&(name, id, meaning)| report(name, id, meaning)).collect()
}

/// A tenant's own report: a stream whose columns are created from its data.
pub fn extra_report(name: &str, report_id: &str) -> Stream {
    let table = column_name(name);
    let mut stream = report("", "", "");
    stream.meaning = format!("Report {report_id} of the tenant, named {name} in the configuration").into();
    stream.name = table.into();
    stream.vendor_id = report_id.to_owned().into();
    stream
}

fn report(name: &'static str, id: &'static str, meaning: &'static str) -> Stream {
    let documented = name == "navigation_marks";
    Stream {
        vendor: VENDOR,
        name: name.into(),
        schema: "lynn",
        vendor_id: id.into(),
        meaning: meaning.into(),
        mode: Mode::ReplaceWindow,
        key: Key::RowHash,
        columns: if documented { NAVIGATION_MARKS.into() } else { Cow::Borrowed(&[]) },
        documented,
        time_field: documented.then_some(Text::Borrowed("timestamp")),
        // The filter of every report is that of its times. A report that calls them otherwise loses nothing but order.
        row_time: Some(Text::Borrowed("timestamp")),
        business_time: match name {
            "current_interactions" => times::LYNN_INTERACTION,
            "show_dialogs" => times::LYNN_MESSAGE,
            "survey_result" => times::LYNN_ANSWER,
            _ => times::LYNN_EVENT,
        },
        off_by_default: false,
        children: Cow::Borrowed(&[]),
        windows: Windows { days: 1, days_max: 366, shared_second: true },
        id_label: Some("report "),
        exported: false,
    }
}
