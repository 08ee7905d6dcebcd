//! `mart`: the views for analysts.

use super::*;

fn with_mart(mart: &str) -> Result<Config, Faults> {
    load_texts(&[("config/jobs/lynn.yaml", &format!("{MINIMAL}\nmart:\n{mart}\n"))], &credentials())
}

#[test]
fn fields_channels_and_the_zone_are_taken_as_written() {
    let settings = with_mart(
        "  timezone: America/Santiago\n  fields: { khoros.conversation: { started_at: \"My Start\" } }\n  channels: { lynn: { \"26\": whatsapp, Chat: web } }",
    )
    .unwrap()
    .mart;
    assert_eq!(settings.timezone, chrono_tz::America::Santiago);
    let columns: Vec<_> =
        settings.columns.iter().map(|((table, field), column)| format!("{table} {field} {column}")).collect();
    assert_eq!(columns, ["khoros.conversation started_at My Start"]);
    let channels: Vec<_> =
        settings.channels.iter().map(|((vendor, raw), name)| format!("{vendor} {raw} {name}")).collect();
    assert_eq!(channels, ["lynn 26 whatsapp", "lynn chat web"]);
    assert_eq!(with_mart("  fields: {}").unwrap().mart, crate::mart::Settings::default());
}

#[test]
fn p9_unknown_tables_fields_vendors_and_zones_are_refused_with_a_suggestion() {
    for (mart, fault) in [
        (
            "  timezone: Santiago",
            "mart.timezone: `Santiago` is not an IANA time zone; did you mean `America/Santiago`?",
        ),
        (
            "  fields: { khoros.conversations: { started_at: a } }",
            "is not a table whose fields are looked for; did you mean `khoros.conversation`?",
        ),
        (
            "  fields: { khoros.conversation: { start_at: a } }",
            "start_at: is not a field of khoros.conversation; did you mean `started_at`?",
        ),
        ("  fields: { khoros.conversation: { started_at: ~ } }", "missing; write the name of a column"),
        ("  fields: { khoros.conversation: { started_at: \"\" } }", "an empty value is not the name of a column"),
        ("  channels: { lyn: { a: b } }", "mart.channels.lyn: is not a vendor of the mart; did you mean `lynn`?"),
        ("  channels: { lynn: { a: ~ } }", "missing; write the name of a channel, for instance `whatsapp`"),
        ("  field: {}", "did you mean `fields`?"),
    ] {
        let faults = with_mart(mart).unwrap_err().to_string();
        assert!(faults.contains(fault), "{faults}");
        assert!(
            faults.starts_with("config/jobs/lynn.yaml:") || faults.contains("\nconfig/jobs/lynn.yaml:"),
            "{faults}"
        );
    }
}
