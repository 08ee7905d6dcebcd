//! Where the database is: a URL, parts, or nothing for the embedded Postgres.

use super::*;

fn target(yaml: &str, env: &[(&str, &str)]) -> Result<DatabaseTarget, String> {
    let env = super::env(env);
    load_texts(&[("tidegate.yaml", yaml)], &env)
        .map(|config| config.database.target)
        .map_err(|faults| faults.to_string())
}

#[test]
fn parts_are_equivalent_to_a_url() {
    let folder = tempfile::tempdir().unwrap();
    let (password, ca) = (folder.path().join("password"), folder.path().join("ca.pem"));
    std::fs::write(&password, "p@ss/w#rd?x\n").unwrap();
    std::fs::write(&ca, "").unwrap();
    let yaml = format!(
        "database:\n  host: \"[::1]\"\n  port: 6432\n  name: warehouse\n  user: tidegate\n  password: ${{file:{}}}\n  \
         sslmode: verify-full\n  sslrootcert: {}\n",
        password.display(),
        ca.display(),
    );
    let DatabaseTarget::Parts(parts) = target(&yaml, &[]).unwrap() else { panic!("no parts") };
    assert_eq!((parts.host.as_str(), parts.port), ("::1", 6432));
    assert_eq!((parts.name.as_str(), parts.user.as_str()), ("warehouse", "tidegate"));
    assert_eq!(parts.password.as_ref().map(Secret::expose), Some("p@ss/w#rd?x"));
    assert_eq!((parts.ssl_mode, parts.ssl_root_cert.as_ref()), (SslMode::VerifyFull, Some(&ca)));
    assert!(!format!("{parts:?}").contains("p@ss"));
}

#[test]
fn host_name_and_user_are_enough_and_may_come_from_the_environment() {
    let env = [
        ("TIDEGATE__DATABASE__HOST", "postgres"),
        ("TIDEGATE__DATABASE__NAME", "tidegate"),
        ("TIDEGATE__DATABASE__USER", "tidegate"),
    ];
    let DatabaseTarget::Parts(parts) = target("database: { max_connections: 4 }\n", &env).unwrap() else {
        panic!("no parts")
    };
    assert_eq!((parts.host.as_str(), parts.port, parts.ssl_mode), ("postgres", 5432, SslMode::Prefer));
    assert!(parts.password.is_none() && parts.ssl_root_cert.is_none());
}

#[test]
fn only_an_absent_database_section_means_the_embedded_one() {
    assert!(target("# Nothing is set.\n", &[]).unwrap().is_embedded());
    assert!(target("database: { max_connections: 4 }\n", &[]).unwrap().is_embedded());
    let url = [("DATABASE_URL", "postgres://u:p@h/d")];
    assert!(!target("database: { url: \"${DATABASE_URL}\" }\n", &url).unwrap().is_embedded());
}

#[test]
fn p9_citus_needs_a_server() {
    let distribution = |yaml: &str| {
        load_texts(&[("tidegate.yaml", yaml)], &env(&[]))
            .map(|config| config.database.distribution)
            .map_err(|faults| faults.to_string())
    };
    assert_eq!(distribution("# Nothing is set.\n"), Ok(Distribution::None));
    assert_eq!(distribution("database: { distribute: none }\n"), Ok(Distribution::None));
    assert_eq!(distribution("database: { url: \"postgres://u@h/d\", distribute: citus }\n"), Ok(Distribution::Citus));
    assert_eq!(distribution("database: { host: h, name: d, user: u, distribute: citus }\n"), Ok(Distribution::Citus));
    let refused = distribution("database: { distribute: citus }\n").unwrap_err();
    assert!(refused.contains("database.distribute: needs a server with Citus"), "{refused}");
    let refused = distribution("database: { url: \"postgres://u@h/d\", distribute: hash }\n").unwrap_err();
    assert!(refused.contains("database.distribute") && refused.contains("none, citus"), "{refused}");
}

#[test]
fn p7_nothing_of_a_url_that_is_refused_is_shown() {
    for url in [
        "postgres://u:hunter2@ss/w#rd?x@secret.example/db",
        "postgres://u:hunter2/x@secret.example/db",
        "postgres://secret.example:hunter2/db",
        "postgres://u:p@secret.example/db?hunter2=hunter2",
        "postgres://u:p@secret.example/db?sslmode=hunter2",
        "postgres://u:p@secret.example/db?sslrootcert=/hunter2",
        "secret.example hunter2",
    ] {
        for (yaml, env) in [
            (format!("database: {{ url: \"{url}\" }}\n"), Vec::new()),
            ("database: { url: \"${URL}\" }\n".to_owned(), vec![("URL", url)]),
            (String::new(), vec![("TIDEGATE__DATABASE__URL", url)]),
        ] {
            let faults = target(&yaml, &env).unwrap_err();
            assert!(!faults.contains("hunter2") && !faults.contains("secret.example"), "{url}: {faults}");
        }
    }
}
