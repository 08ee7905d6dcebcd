//! Tables that people alter: no stream stops permanently, nothing is lost, and the message names table and column.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Executor};
use tidegate::catalogue::Stream;
use tidegate::connector;
use tidegate::load::LoadError;
use tidegate::load::table::{Cause, Table};
use tidegate::store::distribution::Distribution;

use super::plant::{Plant, Reader, whole};

fn records(records: &[&str]) -> Vec<Vec<String>> {
    vec![records.iter().map(|&record| record.to_owned()).collect()]
}

async fn shown(plant: &Plant, number: i64) -> Vec<String> {
    let rows = plant.rows(whole(number)).await;
    rows.iter().map(|row| row.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")).collect()
}

async fn alter(plant: &Plant, statement: &str) {
    let statement = statement.replace("TABLE", &plant.table());
    plant.pool.execute(AssertSqlSafe(statement)).await.unwrap();
}

async fn open(plant: &Plant) -> Result<Table, LoadError> {
    let mut session = plant.pool.acquire().await.unwrap();
    let cause = Cause { run: 1, connection: "acme" };
    Table::open(&mut session, &plant.stream, &plant.types, Distribution::None, cause).await
}

async fn changes(plant: &Plant) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', change, table_name, column_name, new_type) from tidegate.schema_change order by id",
    )
    .fetch_all(&plant.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn p12_a_column_that_was_dropped_or_renamed_is_created_again() {
    let plant = Plant::new().await;
    let page = records(&[r#"{"a":1,"b":"x","c":true}"#, r#"{"a":2,"b":"y"}"#]);
    plant.read(whole(0), &page).await;
    alter(&plant, "alter table TABLE drop column a; alter table TABLE rename column b to better").await;
    // A reading of the same rows fills it, although none of them has changed.
    plant.read(whole(0), &page).await;
    assert_eq!(shown(&plant, 0).await, ["a=1 b=x better=x c=true", "a=2 b=y better=y"]);
    let comment: Option<String> = sqlx::query_scalar(
        "select col_description(attrelid, attnum) from pg_attribute
        where attrelid = 'lynn.survey_result'::regclass and attname = 'a'",
    )
    .fetch_one(&plant.pool)
    .await
    .unwrap();
    assert_eq!(comment.unwrap(), "Vendor field a; undocumented, found in the data");
    assert_eq!(changes(&plant).await[3..], ["add_column survey_result a bigint", "add_column survey_result b text"]);

    let plant = Plant::documented().await;
    let page = records(&[r#"{"session":"s","markName":"m"}"#]);
    plant.read(whole(0), &page).await;
    alter(&plant, "alter table TABLE drop column session; alter table TABLE rename column _extra to rest").await;
    plant.read(whole(0), &page).await;
    plant.read(whole(1), &records(&[r#"{"session":"t","new":1}"#])).await;
    assert_eq!(shown(&plant, 0).await, ["mark_name=m session=s"]);
    assert_eq!(shown(&plant, 1).await, [r#"_extra={"new":1} session=t"#]);
    alter(&plant, "alter table TABLE drop column rest").await;
    assert_same_as_migrated(&plant).await;
}

/// A large slice is compared with fingerprints, which must not leave out rows whose new column is empty.
#[tokio::test]
async fn p12_a_column_that_is_created_again_is_filled_in_a_slice_that_has_fingerprints() {
    let plant = Plant::new().await;
    let page: Vec<String> = (0..500).map(|n| format!(r#"{{"n":{n},"text":"t{n}"}}"#)).collect();
    let read = async || super::fingerprints::read(&plant, whole(0), std::slice::from_ref(&page), 1).await;
    read().await;
    assert!(plant.slice(whole(0)).await.position.fingerprinted);
    alter(&plant, "alter table TABLE drop column text").await;
    read().await;
    assert_eq!(plant.count("select count(distinct text) from lynn.survey_result").await, 500);
}

#[tokio::test]
async fn p12_a_table_that_was_dropped_is_created_again_with_all_its_columns() {
    for plant in [Plant::new().await, Plant::documented().await] {
        let page =
            records(&[r#"{"session":"s","markName":"7","count":1,"count2":1.5}"#, r#"{"session":"s","count":"x"}"#]);
        plant.read(whole(0), &page).await;
        let before = shown(&plant, 0).await;
        let columns = format!(
            "select count(*) from pg_attribute where attrelid = '{}'::regclass and attnum > 0 and not attisdropped",
            plant.table()
        );
        let count = plant.count(&columns).await;
        alter(&plant, "drop table TABLE").await;
        plant.read(whole(1), &page).await;
        assert_eq!(shown(&plant, 1).await, before);
        assert_eq!(plant.count(&columns).await, count);
        let complete = "select count(*) from tidegate.slice where finished_at is not null";
        assert_eq!(plant.count(complete).await, 1, "p11: the rows of the other slice are gone");
        // The next run reads the earlier rows again.
        assert_eq!(shown(&plant, 0).await, Vec::<String>::new());
        plant.read(whole(0), &page).await;
        assert_eq!(shown(&plant, 0).await, before);
        let readable =
            format!("select has_table_privilege('tidegate_reader', '{}', 'select')::int::bigint", plant.table());
        assert_eq!(plant.count(&readable).await, 1);
        assert!(changes(&plant).await.contains(&format!("add_table {}", plant.stream.name)));
    }
}

#[tokio::test]
async fn p12_a_renamed_table_is_kept_and_a_new_one_is_created() {
    for plant in [Plant::new().await, Plant::documented().await] {
        let page = records(&[r#"{"session":"s","markName":"7"}"#]);
        plant.read(whole(0), &page).await;
        alter(&plant, "alter table TABLE rename to theirs").await;
        for _ in 0..2 {
            plant.read(whole(0), &page).await;
            assert_eq!(shown(&plant, 0).await, ["mark_name=7 session=s"]);
        }
        assert_eq!(plant.count("select count(*) from lynn.theirs").await, 1);
    }
}

#[tokio::test]
async fn p12_a_reading_whose_table_was_dropped_starts_over() {
    let plant = Plant::new().await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    reader.page(&[r#"{"a":1}"#], Some("2")).await.unwrap();
    alter(&plant, "drop table TABLE").await;
    let reader = plant.resumed(&claim, whole(0)).await;
    assert_eq!((reader.reading.slice.position.run, &reader.reading.slice.position.cursor), (None, &None));
}

#[tokio::test]
async fn p12_a_dropped_child_table_is_created_again_and_altered_columns_of_one_are_not_filled() {
    let stream =
        connector::streams(connector::lexer::VENDOR).into_iter().find(|stream| stream.name == "users").unwrap();
    let plant = Plant::of(stream, false).await;
    let list = whole(0);
    let page = records(&[r#"{"id":1,"groups":[11.0,"1.2e1"]}"#, r#"{"id":2.0,"groups":[12]}"#]);
    plant.read(list, &page).await;
    let links = "select count(*) from lexer.user_groups where (user_id, group_id) in ((1, 11), (1, 12), (2, 12))";
    assert_eq!(plant.count(links).await, 3);
    alter(&plant, "drop table lexer.user_groups").await;
    plant.read(list, &page).await;
    assert_eq!(plant.count(links).await, 3);
    assert_eq!(changes(&plant).await, ["add_table user_groups"]);
    assert_same_as_migrated(&plant).await;
    alter(&plant, "drop table lexer.users").await;
    plant.read(list, &page).await;
    assert_eq!(plant.count("select count(*) from lexer.users where _deleted_at is null").await, 2);
    assert_same_as_migrated(&plant).await;

    alter(&plant, "alter table lexer.user_groups alter column group_id type text").await;
    let error = open(&plant).await.unwrap_err();
    let LoadError::Unfit { remedy, .. } = &error else { panic!("{error}") };
    assert!(
        error
            .to_string()
            .starts_with("table lexer.user_groups cannot be loaded: column \"group_id\" is text, but must be bigint;"),
        "{error}"
    );
    alter(&plant, remedy).await;
    plant.read(list, &page).await;
    assert_eq!(plant.count(links).await, 3);
}

#[tokio::test]
async fn p12_a_found_column_of_another_type_gets_values_that_fit_and_others_go_to_a_variant() {
    let plant = Plant::new().await;
    let page = records(&[
        r#"{"row":1,"n":1,"count":5,"short":"abc","at":"2024-03-01T11:00:00Z","list":[1],"flag":true}"#,
        r#"{"row":2,"n":2,"count":3000000000,"short":"much longer than that","at":"2024-03-02T11:00:00Z","list":[2]}"#,
    ]);
    plant.read(whole(0), &page).await;
    alter(
        &plant,
        "alter table TABLE alter column n type text, alter column short type varchar(10) using left(short, 10),
            alter column count type integer using least(count, 7), alter column at type date,
            alter column list type text[] using null, alter column flag type text",
    )
    .await;
    for _ in 0..2 {
        plant.read(whole(1), &page).await;
        assert_eq!(
            shown(&plant, 1).await,
            [
                "at_timestamptz=2024-03-01T11:00:00+00:00 count=5 flag=true list_jsonb=[1] n=1 row=1 short=abc",
                "at_timestamptz=2024-03-02T11:00:00+00:00 count_numeric=3000000000 list_jsonb=[2] n=2 row=2 \
                 short_text=much longer than that",
            ]
        );
    }
    assert_eq!(
        plant.column("n").await.as_deref().into_iter().chain(plant.column("at").await.as_deref()).collect::<Vec<_>>(),
        ["text", "date"],
        "a type that somebody chose stays"
    );
    // Values that do not fit the replacement have a variant too.
    plant.read(whole(2), &records(&[r#"{"at":"soon"}"#])).await;
    assert_eq!(shown(&plant, 2).await, ["at_timestamptz_text=soon"]);
    // If its type is changed back, the column is filled again.
    alter(&plant, "alter table TABLE alter column at type timestamptz").await;
    plant.read(whole(3), &records(&[r#"{"at":"2024-03-04T11:00:00Z"}"#])).await;
    assert_eq!(shown(&plant, 3).await, ["at=2024-03-04T11:00:00+00:00"]);
}

#[tokio::test]
async fn p12_a_documented_column_of_another_type_gets_values_that_fit_and_others_go_to_extra() {
    let plant = Plant::documented().await;
    let page = records(&[
        r#"{"timestamp":"2024-03-01T11:00:00Z","session":"12","division":"1234567890123","intent":"ok","markName":"5"}"#,
    ]);
    plant.read(whole(0), &page).await;
    alter(
        &plant,
        r#"alter table TABLE alter column session type bigint using session::bigint,
            alter column division type varchar(10) using left(division, 10), alter column intent type char(5),
            alter column mark_name type smallint using mark_name::smallint, alter column "timestamp" type date"#,
    )
    .await;
    for number in [1, 0, 1] {
        plant.read(whole(number), &page).await;
        let row = "_extra={\"division\":\"1234567890123\"} intent=ok    mark_name=5 session=12 \
                   timestamp_timestamptz=2024-03-01T11:00:00+00:00";
        let shown = shown(&plant, number).await;
        assert!(shown.len() == 1 && shown[0].replace("timestamp=2024-03-01 ", "") == row, "{shown:?}");
    }
    plant.read(whole(2), &records(&[r#"{"session":"a","intent":"longer","markName":"70000"}"#])).await;
    assert_eq!(shown(&plant, 2).await, [r#"_extra={"intent":"longer","markName":"70000","session":"a"}"#]);
}

#[tokio::test]
async fn p12_an_altered_key_is_refused_with_the_statement_that_repairs_it() {
    let plant = Plant::new().await;
    plant.read(whole(0), &records(&[r#"{"a":1}"#])).await;
    for (statement, what) in [
        ("alter table TABLE drop column _row_key", "column \"_row_key\" of its key is missing"),
        ("alter table TABLE alter column _run_id type text", "column \"_run_id\" is text, but must be bigint"),
        ("alter table TABLE alter column _extra type json", "column \"_extra\" is json, but must be jsonb"),
        (
            "alter table TABLE drop constraint survey_result_pkey",
            "no unique index has the columns of its key (\"_connection\", \"_window_start\", \"_row_key\")",
        ),
    ] {
        alter(&plant, statement).await;
        let error = open(&plant).await.unwrap_err();
        let LoadError::Unfit { table, what: found, remedy } = &error else { panic!("{error}") };
        assert_eq!((table.as_str(), found.as_str()), ("lynn.survey_result", what));
        alter(&plant, remedy).await;
        plant.read(whole(1), &records(&[r#"{"a":2}"#])).await;
        assert_eq!(shown(&plant, 1).await, ["a=2"], "{statement}");
    }
    assert_eq!(plant.count("select count(*) from lynn.survey_result_old").await, 1, "no row is dropped");
}

#[tokio::test]
async fn p12_a_dropped_schema_is_created_again_with_the_rights_of_readers() {
    let about_schema = "select concat_ws(' ', obj_description(oid, 'pg_namespace'),
            has_schema_privilege('tidegate_reader', oid, 'usage'),
            (select defaclacl::text from pg_default_acl where defaclnamespace = pg_namespace.oid))
        from pg_namespace where nspname = ";
    for connector in connector::ALL {
        let plant = Plant::of((connector.streams)().remove(0), false).await;
        let about = format!("{about_schema}'{}'", plant.stream.schema);
        let before: String = sqlx::query_scalar(AssertSqlSafe(about.clone())).fetch_one(&plant.pool).await.unwrap();
        alter(&plant, &format!("drop schema {} cascade", plant.stream.schema)).await;
        let (one, other) = tokio::join!(open(&plant), open(&plant));
        one.unwrap();
        other.unwrap();
        let after: String = sqlx::query_scalar(AssertSqlSafe(about)).fetch_one(&plant.pool).await.unwrap();
        assert_eq!(after, before);
        assert_same_as_migrated(&plant).await;
    }
}

#[tokio::test]
async fn p11_a_changed_column_type_is_recorded_once() {
    let plant = Plant::documented().await;
    let page = records(&[r#"{"session":"12","markName":"5"}"#]);
    plant.read(whole(0), &page).await;
    let noted = changes(&plant).await.len();
    let retype = "alter table TABLE alter column mark_name type smallint using mark_name::smallint";
    alter(&plant, retype).await;
    for _ in 0..2 {
        plant.read(whole(0), &page).await;
    }
    assert_eq!(changes(&plant).await[noted..], ["retype_column navigation_marks mark_name smallint"]);
    alter(&plant, "alter table TABLE alter column mark_name type integer").await;
    plant.read(whole(0), &page).await;
    assert_eq!(changes(&plant).await[noted + 1..], ["retype_column navigation_marks mark_name integer"]);

    // A column that Tidegate widened itself is not reported.
    let plant = Plant::new().await;
    plant.read(whole(0), &records(&[r#"{"a":1}"#, r#"{"a":1.5e300}"#])).await;
    plant.read(whole(1), &records(&[r#"{"a":2}"#])).await;
    let all = changes(&plant).await;
    assert!(!all.iter().any(|change| change.starts_with("retype")), "{all:?}");
}

#[tokio::test]
async fn p12_a_column_that_does_not_allow_null_is_named() {
    for (statement, column) in [
        ("alter table TABLE add column theirs int not null", "theirs"),
        ("alter table TABLE alter column session set not null", "session"),
    ] {
        let plant = Plant::documented().await;
        alter(&plant, statement).await;
        let claim = plant.claim().await;
        let mut reader = plant.reader(&claim, whole(0)).await;
        let error = reader.page(&[r#"{"markName":"m"}"#], None).await.unwrap_err().about("lynn.other");
        assert_eq!(
            error.to_string(),
            format!(
                "column {column} of table lynn.navigation_marks does not allow null, has no default, and the record has no value for it"
            )
        );
    }
}

#[tokio::test]
async fn p12_a_name_of_another_object_is_refused() {
    let plant = Plant::new().await;
    alter(&plant, "alter table TABLE rename to kept; create view TABLE as select * from lynn.kept").await;
    let error = open(&plant).await.unwrap_err();
    assert_eq!(error.to_string(), "lynn.survey_result is a view, but must be a table: rename it or drop it");
    alter(&plant, "drop view TABLE; create type TABLE as enum ('a')").await;
    let error = open(&plant).await.unwrap_err();
    assert!(
        matches!(&error, LoadError::NotATable { table, what: "a type" } if table == "lynn.survey_result"),
        "{error}"
    );
    alter(&plant, "drop type TABLE; alter table lynn.kept rename to survey_result").await;
    open(&plant).await.unwrap();
}

/// Loads a page of two rows after something happened to the table under the task.
async fn after(plant: &Plant, reader: &mut Reader<'_>, statement: &str) -> Result<(), LoadError> {
    alter(plant, statement).await;
    let page = [r#"{"a":1,"b":"x","c":2.5}"#, r#"{"a":3,"b":"y","c":4}"#];
    reader.page(&page, None).await.map(|_| ()).map_err(|error| error.about("lynn.survey_result"))
}

#[tokio::test]
async fn p12_a_table_that_changes_in_the_middle_of_a_task_is_opened_again() {
    for (statement, harmless) in [
        ("alter table TABLE drop column a", false),
        ("alter table TABLE rename column b to d", false),
        // All types have eight bytes, so that binary values of one would be accepted as another.
        ("alter table TABLE alter column a type double precision", false),
        ("alter table TABLE alter column c type bigint", false),
        ("alter table TABLE alter column a type timestamptz using to_timestamp(a)", false),
        ("alter table TABLE alter column a type text", false),
        ("alter table TABLE alter column b type varchar(1)", true),
        ("drop table TABLE", false),
        ("alter table TABLE add column theirs int", true),
        ("alter table TABLE alter column a type numeric", true),
    ] {
        let plant = Plant::new().await;
        plant.read(whole(0), &records(&[r#"{"a":0,"b":"","c":0.5}"#, r#"{"b":"z"}"#])).await;
        let claim = plant.claim().await;
        let mut reader = plant.reader(&claim, whole(1)).await;
        let outcome = after(&plant, &mut reader, statement).await;
        if !harmless || outcome.is_err() {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, LoadError::Altered { table, .. } if table == "lynn.survey_result"),
                "{statement}: {error}"
            );
            let mut reader = plant.reader(&claim, whole(1)).await;
            reader.page(&[r#"{"a":1,"b":"x","c":2.5}"#, r#"{"a":3,"b":"y","c":4}"#], None).await.unwrap();
        }
        let rows = plant.rows(whole(1)).await;
        assert_eq!(rows.len(), 2, "{statement}");
        for (row, [a, b, c]) in rows.iter().zip([["1", "x", "2.5"], ["3", "y", "4"]]) {
            let holds = |name: &str, value: &str| {
                let same = |found: &String| {
                    found == value || found.parse::<f64>().ok().is_some_and(|found| value.parse() == Ok(found))
                };
                row.iter().any(|(column, found)| column.starts_with(name) && same(found))
            };
            let time = row.get("a").is_some_and(|at| at.contains('T'));
            assert!((holds("a", a) || time) && holds("b", b) && holds("c", c), "{statement}: {row:?}");
        }
    }
}

/// All properties of a table.
async fn picture(plant: &Plant, schema: &str, name: &str) -> BTreeMap<String, Vec<String>> {
    let parts = [
        (
            "columns",
            "select concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
                case when attname = '_row_key' then '' else col_description(attrelid, attnum) end)
            from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
            where attrelid = to_regclass(format('%I.%I', $1, $2)) and attnum > 0 and not attisdropped order by attname",
        ),
        (
            "constraints",
            "select conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
            where conrelid = to_regclass(format('%I.%I', $1, $2)) order by 1",
        ),
        ("comment", "select obj_description(to_regclass(format('%I.%I', $1, $2)))"),
        (
            "reader",
            "select privilege_type::text from information_schema.role_table_grants
            where grantee = 'tidegate_reader' and table_schema = $1 and table_name = $2",
        ),
    ];
    let mut picture = BTreeMap::new();
    for (part, sql) in parts {
        let found: Vec<String> = sqlx::query_scalar(sql).bind(schema).bind(name).fetch_all(&plant.pool).await.unwrap();
        picture.insert(part.to_owned(), found);
    }
    picture
}

/// Compares the tables of a stream with those that the migrations create in a new database.
async fn assert_same_as_migrated(plant: &Plant) {
    let fresh = Plant::of(plant.stream.clone(), false).await;
    let children = plant.stream.children.iter().map(|child| &*child.name);
    for name in [&*plant.stream.name].into_iter().chain(children) {
        let found = picture(plant, plant.stream.schema, name).await;
        assert_eq!(found, picture(&fresh, plant.stream.schema, name).await, "{name}");
    }
}

#[tokio::test]
async fn p12_every_table_is_created_again_as_its_migration_created_it() {
    let streams: Vec<Stream> = connector::all_streams();
    let mut plant = Plant::new().await;
    for stream in streams {
        plant.stream = stream;
        let names: Vec<String> = [&plant.stream.name]
            .into_iter()
            .chain(plant.stream.children.iter().map(|child| &child.name))
            .map(ToString::to_string)
            .collect();
        let schema = plant.stream.schema;
        let mut before = Vec::new();
        for name in &names {
            before.push(picture(&plant, schema, name).await);
            plant.pool.execute(AssertSqlSafe(format!("drop table {schema}.\"{name}\""))).await.unwrap();
        }
        open(&plant).await.unwrap();
        for (name, before) in names.iter().zip(before) {
            assert_eq!(picture(&plant, schema, name).await, before, "{schema}.{name}");
            let order = format!(
                "select string_agg(attname, ' ' order by attnum) from pg_attribute
                where attrelid = '{schema}.\"{name}\"'::regclass and attnum > 0"
            );
            let order: String = sqlx::query_scalar(AssertSqlSafe(order)).fetch_one(&plant.pool).await.unwrap();
            assert!(order.starts_with("_connection"), "{order}");
        }
    }
}

#[tokio::test]
async fn p12_a_constraint_index_or_trigger_that_rejects_a_row_is_named() {
    let check = "alter table TABLE add constraint short check (length(session) < 3)";
    let trigger = "create function public.no() returns trigger language plpgsql as
        $$ begin raise exception 'no'; end $$;
        create trigger no before insert on TABLE for each row execute function public.no()";
    for (rule, code, statement) in [
        ("constraint short", "23514", check),
        ("constraint one", "23505", "create unique index one on TABLE (session)"),
        ("a trigger", "P0001", trigger),
    ] {
        let plant = Plant::documented().await;
        alter(&plant, statement).await;
        let claim = plant.claim().await;
        let mut reader = plant.reader(&claim, whole(0)).await;
        let page = [r#"{"session":"long"}"#, r#"{"session":"long","markName":"m"}"#];
        let error = reader.page(&page, None).await.unwrap_err().about("lynn.navigation_marks");
        let expected = format!("{rule} of table lynn.navigation_marks rejected a row (SQLSTATE {code})");
        assert_eq!(error.to_string(), expected);
    }
}
