//! A Lynn Outbound connection and a job that sends: samples, defaults, and refused settings (promise 9).

use reqwest::Method;

use super::*;
use crate::connector::lynn_outbound::{Settings, TaskWords};

const MINIMAL: &str = "\
connections:
  acme-outbound:
    vendor: lynn_outbound
    tenant: 4411
    access_token: ${LYNN_ACCESS_TOKEN}
    access_token_secret: ${LYNN_ACCESS_TOKEN_SECRET}
    enabled_streams: [campaigns, contacts]
jobs:
  outbound-daily:
    connection: acme-outbound
    streams: [campaigns, contacts]
  renewals:
    connection: acme-outbound
    push:
      query: \"select 1 as id, 2 as phone;\"
      campaign_id: \"101\"
      template_id: 00000000-0000-0000-0000-000000000000
      columns: { Phone: phone }
      key: [id]
";
const SAMPLE: &str = include_str!("../../../config/jobs/lynn_outbound.yaml");

fn load(text: &str) -> Result<Config, Faults> {
    load_texts(&[("lynn_outbound.yaml", text)], &credentials())
}

fn outbound(config: &Config) -> &Settings {
    config.connections["acme-outbound"].settings.downcast().unwrap()
}

#[test]
fn p9_the_sample_is_the_defaults_and_names_every_key() {
    let minimal = load(MINIMAL).unwrap();
    let uncommented: String = SAMPLE
        .lines()
        .map(|line| {
            let indent = line.len() - line.trim_start().len();
            let body = line.trim_start().strip_prefix("# ").filter(|text| {
                let key = text.trim_start().split(':').next().unwrap_or_default();
                text.contains(':') && !key.contains(' ') && !key.contains(char::is_uppercase) && indent >= 4
            });
            body.filter(|body| !body.starts_with("contact_id_field"))
                .map_or_else(|| line.to_owned(), |body| format!("{}{body}", " ".repeat(indent)))
                + "\n"
        })
        .collect();
    for text in [SAMPLE, &uncommented] {
        let sample = load(text).unwrap();
        assert_eq!(format!("{:#?}", sample.connections), format!("{:#?}", minimal.connections));
        let (push, plain) = (&sample.jobs["renewals"], &minimal.jobs["renewals"]);
        let (ours, theirs) = (push.push.as_ref().unwrap(), plain.push.as_ref().unwrap());
        assert_eq!((ours.type_of_data, ours.batch_size, push.priority), (theirs.type_of_data, theirs.batch_size, 0));
    }
    assert!(uncommented.contains("\n      get_task_status: /api/"), "{uncommented}");
    let sections = ["retry", "polling", "paths", "methods", "task_words"];
    let push = keys_of::<raw::Push>().iter().map(ToString::to_string);
    for key in connection_keys("lynn_outbound", &sections).into_iter().chain(push) {
        assert!(SAMPLE.contains(&format!("{key}:")), "{key}");
    }
}

#[test]
fn the_defaults_that_its_schema_states_are_the_real_ones() {
    let schema = json_schema();
    let (head, jobs) = MINIMAL.split_once("jobs:\n").unwrap();
    let mut text = head.replace("    enabled_streams: [campaigns, contacts]\n", "");
    let outbound = &schema["properties"]["connections"]["additionalProperties"]["allOf"][1]["then"];
    write_defaults(outbound, 4, &mut text);
    let text = format!("{text}jobs:\n{jobs}").replace("enabled_streams: []", "enabled_streams: [campaigns, contacts]");
    assert!(text.contains("task_words:\n      done: [\"done\""), "{text}");
    let stated = load(&text).unwrap();
    assert_eq!(format!("{stated:#?}"), format!("{:#?}", load(MINIMAL).unwrap()));
    let push = &schema["properties"]["jobs"]["additionalProperties"]["properties"]["push"]["properties"];
    assert_eq!((&push["batch_size"]["default"], &push["type_of_data"]["default"]), (&100.into(), &0.into()));
}

#[test]
fn its_settings_are_read() {
    let keys = [
        "paths: { get_contacts: \"/v2/GetContactsByTenant/{tenant}?all=1\", get_dnd_contacts: /x/getdndcontact }",
        "methods: { get_contacts: POST, add_campaign_data: PUT }",
        "task_words: { done: [Procesado, 7], failed: [\"-1\"] }",
        "contact_id_field: ContactNo",
        "product: premium",
        "subscription_key: k3y",
        "polling: { initial: 1s, deadline: 2h }",
    ];
    let config = load(&MINIMAL.replace("jobs:", &format!("    {}\njobs:", keys.join("\n    ")))).unwrap();
    let settings = outbound(&config);
    assert_eq!(settings.get_contacts.method, Method::POST);
    assert_eq!(settings.get_contacts.path, "/v2/GetContactsByTenant/{tenant}?all=1");
    assert_eq!((&settings.get_campaigns.method, &settings.add_campaign_data.method), (&Method::GET, &Method::PUT));
    assert_eq!(
        settings.task_words,
        TaskWords { done: vec!["procesado".into(), "7".into()], failed: vec!["-1".into()] }
    );
    assert_eq!(settings.contact_id_field.as_deref(), Some("ContactNo"));
    assert_eq!(config.connections["acme-outbound"].limits[3].amount, 997_200_000);
    let push = config.jobs["renewals"].push.as_ref().unwrap();
    assert_eq!((push.query.as_str(), push.batch_size), ("select 1 as id, 2 as phone", 100));
    assert!(config.jobs["renewals"].streams.is_empty() && config.jobs["renewals"].schedule.is_none());
}

#[test]
fn one_account_used_by_both_connectors_shares_one_ledger() {
    let reporting = minimal_with(&[]).unwrap();
    let (reporting, outbound) =
        (&reporting.connections["acme-lynn"], &load(MINIMAL).unwrap().connections["acme-outbound"]);
    assert_eq!(reporting.settings.credential(), outbound.settings.credential());
    assert_eq!(reporting.base_url, outbound.base_url);
    let limits = |connection: &Connection| format!("{:?}", connection.limits);
    assert_eq!(limits(reporting), limits(outbound));
}

#[test]
fn p9_what_is_wrong_is_refused_with_its_remedy() {
    let connection = "    enabled_streams: [campaigns, contacts]\n";
    let push = "      key: [id]\n";
    let mut text = String::new();
    for (title, old, new) in [
        ("a stream that is not enabled", "enabled_streams: [campaigns, contacts]", "enabled_streams: [contacts]"),
        ("no stream enabled", connection, ""),
        (
            "all streams, but none enabled",
            "enabled_streams: [campaigns, contacts]\njobs:\n  outbound-daily:\n    connection: acme-outbound\n    streams: [campaigns, contacts]",
            "product: basic\njobs:\n  outbound-daily:\n    connection: acme-outbound\n    streams: \"*\"",
        ),
        ("all streams, which are off by default", "    streams: [campaigns, contacts]\n", "    streams: \"*\"\n"),
        ("an unknown stream enabled", "[campaigns, contacts]\njobs", "[campaigns, contacts, campaign, ~]\njobs"),
        (
            "a path that leads to a writing method",
            connection,
            "    enabled_streams: [campaigns, contacts]\n    paths: { get_contacts: \"/api/LynnService/DeleteContact/{tenant}\", \
             get_campaigns: \"/api/GetCampaigns/StartCampaignExecution/{tenant}\", create_token: /api/SetDnDContactByCampaign, \
             add_campaign_data: \"/api/LynnService/UploadCampaignDataByTenant/{tenant}\", get_dnd_contacts: \"/x/GetDnDContact/{id}\", \
             get_task_status: /x/GetTaskStatus }\n",
        ),
        (
            "a writing verb for a reading call",
            connection,
            "    enabled_streams: [campaigns, contacts]\n    methods: { get_contacts: PUT, add_campaign_data: GET }\n",
        ),
        (
            "task words that contradict",
            connection,
            "    enabled_streams: [campaigns, contacts]\n    task_words: { done: [OK, \"\", ~], failed: [ok] }\n    contact_id_field: \" \"\n",
        ),
        (
            "a push without its parts",
            "      query: \"select 1 as id, 2 as phone;\"\n      campaign_id: \"101\"\n      template_id: 00000000-0000-0000-0000-000000000000\n      columns: { Phone: phone }\n      key: [id]\n",
            "      batch_size: 50\n",
        ),
        (
            "a push whose parts are wrong",
            "query: \"select 1 as id, 2 as phone;\"\n      campaign_id: \"101\"\n      template_id: 00000000-0000-0000-0000-000000000000\n      columns: { Phone: phone }\n      key: [id]",
            "query: \" ; \"\n      campaign_id: \" 101\"\n      template_id: 12\n      columns: { \" \": phone, Name: \"\" }\n      key: [id, ~, id]\n      batch_size: 0\n      type_of_data: x\n      sheet: 1",
        ),
        (
            "a push on a schedule",
            push,
            "      key: [id]\n    schedule: \"@hourly\"\n    streams: [contacts]\n    start: 2026-01-01\n    paused: true\n    lookback: 1d\n",
        ),
        ("an unknown key of the connection", "tenant: 4411", "tenant: 4411\n    enabled_stream: [contacts]"),
    ] {
        assert!(MINIMAL.contains(old), "{title}");
        let faults = match load(&MINIMAL.replacen(old, new, 1)) {
            Ok(_) => "(taken)".to_owned(),
            Err(faults) => faults.to_string(),
        };
        writeln!(text, "## {title}\n{faults}\n").unwrap();
    }
    let reference = MINIMAL.replace("campaign_id: \"101\"", "campaign_id: ${CAMPAIGN:-}");
    writeln!(text, "## a campaign that a reference leaves empty\n{}\n", load(&reference).unwrap_err()).unwrap();
    let reporting = super::MINIMAL.replace(
        "    streams: \"*\"\n    start: 2026-01-01\n",
        "    push: { query: select 1, campaign_id: a, template_id: 00000000-0000-0000-0000-000000000000, columns: {A: a}, key: [a] }\n",
    );
    writeln!(text, "## a push to a connection that cannot take it\n{}\n", load(&reporting).unwrap_err()).unwrap();
    insta::assert_snapshot!(text);
}
