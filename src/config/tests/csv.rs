//! The format of CSV files, identical for every vendor that delivers them.

use std::collections::BTreeMap;

use super::super::Config;
use super::load_texts;
use crate::connector::{CsvForm, jaicp, khoros, lexer};
use crate::decode::text::Charset;
use crate::settings::Faults;

/// A connection of each such vendor, and the keys around its `csv`.
const VENDORS: &[&str] = &[
    "vendor: khoros_care\n    company_key: acme-t1\n    username: u@example.com\n    password: hunter2-hunter2\n    report_format: csv",
    "vendor: lexer_activity\n    api_token: 1d8a6c7e-30f5-4b92-8e41-6f2b9a07c553",
    "vendor: jaicp_reporter\n    token: ab12cd34:hunter2",
];

fn with(vendor: &str, csv: &str) -> Result<Config, Faults> {
    let text = format!("connections:\n  acme:\n    {vendor}\n    csv: {csv}\n");
    load_texts(&[("tidegate.yaml", &text)], &BTreeMap::new())
}

fn form(vendor: &str, csv: &str) -> CsvForm {
    let config = with(vendor, csv).unwrap();
    let settings = &config.connections["acme"].settings;
    let forms = [
        settings.downcast::<khoros::Settings>().map(|settings| settings.csv),
        settings.downcast::<lexer::Settings>().map(|settings| settings.csv),
        settings.downcast::<jaicp::Settings>().map(|settings| settings.csv),
    ];
    forms.into_iter().flatten().next().unwrap()
}

#[test]
fn every_setting_is_read() {
    for vendor in VENDORS {
        assert_eq!(form(vendor, "{}"), CsvForm::default());
        let own = form(vendor, "{ delimiter: \";\", quote: \"'\", charset: Latin1 }");
        assert_eq!((own.delimiter, own.quote), (Some(b';'), b'\''));
        assert_eq!(own.charset, Charset::named("windows-1252"));
        let own = form(vendor, "{ delimiter: \"\\t\" }");
        assert_eq!((own.delimiter, own.quote, own.charset), (Some(b'\t'), b'"', None));
    }
}

#[test]
fn p9_wrong_settings_are_refused_with_what_to_write() {
    let one = "is not a single ASCII character that separates or surrounds fields";
    for (csv, key, said) in [
        ("{ delimiter: \";;\" }", "csv.delimiter", one),
        ("{ delimiter: \"é\" }", "csv.delimiter", one),
        ("{ delimiter: a }", "csv.delimiter", one),
        ("{ delimiter: \"\\n\" }", "csv.delimiter", one),
        ("{ quote: \"\" }", "csv.quote", "csv.quote"),
        ("{ quote: 1 }", "csv.quote", one),
        ("{ delimiter: \"'\", quote: \"'\" }", "csv", "are the same character; change one of them"),
        ("{ delimiter: '\"' }", "csv", "are the same character; change one of them"),
        ("{ charset: klingon }", "csv.charset", "is not a charset that is known; write for instance `utf-8`"),
        ("{ charset: iso-2022-kr }", "csv.charset", "is not a charset that is known"),
        ("{ delimeter: \",\" }", "delimeter", "delimiter"),
        ("[a]", "csv", "csv"),
    ] {
        for vendor in VENDORS {
            let faults = with(vendor, csv).unwrap_err().to_string();
            assert!(faults.contains(key) && faults.contains(said), "{csv}: {faults}");
        }
    }
    let json = VENDORS[0].replace("\n    report_format: csv", "");
    let faults = with(&json, "{ charset: latin1 }").unwrap_err().to_string();
    assert!(faults.contains("has no effect on JSON files; remove it, or write `report_format: csv`"), "{faults}");
    let faults = with("vendor: lynn_reporting", "{}").unwrap_err().to_string();
    assert!(faults.contains("csv"), "{faults}");
}
