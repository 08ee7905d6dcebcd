//! What jobs and connections share, so that ten thousand jobs need little memory.

use super::*;

/// Two accounts, with two jobs each.
const TWO: &str = "\
connections:
  here:
    { vendor: lynn_reporting, tenant: 1, access_token: a, access_token_secret: b,
      reports: { Mine: 00000000-0000-0000-0000-000000000001 } }
  there:
    { vendor: lynn_reporting, tenant: 2, access_token: c, access_token_secret: d,
      reports: { Mine: 00000000-0000-0000-0000-000000000002 } }
jobs:
  here-plain: { connection: here, streams: [survey_result, mine], start: 2026-01-01 }
  there-plain: { connection: there, streams: [survey_result, mine], start: 2026-01-01 }
  here-keyed: { connection: here, streams: [{ name: show_error, key: [POST_ID] }], start: 2026-01-01 }
  there-keyed: { connection: there, streams: [{ name: show_error, key: [POST_ID] }], start: 2026-01-01 }
";

/// A stream that a job reads.
fn read<'c>(config: &'c Config, job: &str, stream: &str) -> &'c Arc<Stream> {
    &config.jobs[job].streams.iter().find(|entry| entry.stream.name == stream).unwrap().stream
}

/// A stream that a connection offers.
fn offered<'c>(config: &'c Config, connection: &str, stream: &str) -> &'c Arc<Stream> {
    config.connections[connection].streams.iter().find(|offered| offered.name == stream).unwrap()
}

#[test]
fn a_stream_is_in_memory_once_for_all_jobs_and_connections() {
    let config = load_texts(&[("tidegate.yaml", TWO)], &BTreeMap::new()).unwrap();
    let plain = read(&config, "here-plain", "survey_result");
    assert!(Arc::ptr_eq(plain, offered(&config, "here", "survey_result")));
    assert!(Arc::ptr_eq(plain, offered(&config, "there", "survey_result")));
    assert!(Arc::ptr_eq(plain, read(&config, "there-plain", "survey_result")));

    let mine = read(&config, "here-plain", "mine");
    assert!(Arc::ptr_eq(mine, offered(&config, "here", "mine")));
    assert!(!Arc::ptr_eq(mine, offered(&config, "there", "mine")), "it is another report");

    let keyed = read(&config, "here-keyed", "show_error");
    assert!(!Arc::ptr_eq(keyed, offered(&config, "here", "show_error")), "the job states its key");
    assert!(Arc::ptr_eq(keyed, read(&config, "there-keyed", "show_error")));
}

#[test]
fn a_configuration_that_is_loaded_again_shares_the_streams_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.yaml");
    std::fs::write(&path, TWO).unwrap();
    let before = Config::load(&path, &BTreeMap::new()).unwrap();
    std::fs::write(&path, TWO.replace("000000000002", "000000000003").replace("2026-01-01", "2026-02-01")).unwrap();
    let after = before.load_again(&path, &BTreeMap::new()).unwrap();
    for (job, stream) in [("here-plain", "survey_result"), ("here-plain", "mine"), ("there-keyed", "show_error")] {
        assert!(Arc::ptr_eq(read(&before, job, stream), read(&after, job, stream)), "{job} {stream}");
    }
    assert_ne!(before.jobs["here-plain"].start, after.jobs["here-plain"].start);
    assert_ne!(read(&before, "there-plain", "mine"), read(&after, "there-plain", "mine"));
}
