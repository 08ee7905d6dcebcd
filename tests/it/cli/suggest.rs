//! `tidegate streams --discovered --suggest` derives types from the stored values.

use sqlx::Executor;

use super::shell::Shell;
use crate::support::TestDatabase;

const TABLE: &str = r"
alter table lynn.survey_result add column wait text, add column rate text, add column share text, add column closed_at text,
    add column flag text, add column note text, add column empty text, add column amount bigint, add column amount_text text,
    add column price bigint, add column price_numeric numeric, add column since timestamptz;
insert into tidegate.table_column (table_schema, table_name, column_name, field, variant, kind, added_at)
select 'lynn', 'survey_result', name, field, variant, kind, now() + place * interval '1 second'
from (values
    (1, 'wait', 'Wait (min)', '', 'text'), (2, 'rate', 'rate', '', 'text'), (3, 'share', 'share', '', 'text'),
    (4, 'closed_at', 'closedAt', '', 'text'), (5, 'flag', 'flag', '', 'text'), (6, 'note', 'note', '', 'text'),
    (7, 'empty', 'empty', '', 'text'), (8, 'amount', 'amount', '', 'bigint'), (9, 'amount_text', 'amount', 'text', 'text'),
    (10, 'price', 'price', '', 'bigint'), (11, 'price_numeric', 'price', 'numeric', 'numeric'),
    (12, 'since', 'null', '', 'timestamptz')
) as noted (place, name, field, variant, kind);
insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, wait, rate, share, closed_at, flag, note, amount_text)
select 'acme', now(), gen_random_uuid(), 1, now(), wait, rate, share, closed_at, flag, note, amount
from (values
    ('1', '1.5', '0.1234567890123456789', '2026-01-01T00:00:00Z', 'true', '1', '12'),
    ('-20', '2e3', '1', '', 'false', 'x', '13'),
    ('', '7', '2', '2026-01-02 03:04:05+01:00', '', '', null)
) as vendor (wait, rate, share, closed_at, flag, note, amount);
";

#[tokio::test]
async fn types_are_suggested_as_a_block_that_a_job_accepts() {
    let database = TestDatabase::create().await;
    database.pool().execute(TABLE).await.unwrap();
    let shell = Shell::on(&database);
    let block = shell.run(&["streams", "--discovered", "--suggest"]).await.expect(0).stdout;
    let expected = "\
streams:
  - name: survey_result    # lynn.survey_result
    types:
      \"Wait (min)\": bigint    # wait is text now; drop the column, and it is created again
      rate: double    # rate is text now; drop the column, and it is created again
      share: numeric    # share is text now; drop the column, and it is created again
      closedAt: timestamptz    # closed_at is text now; drop the column, and it is created again
      flag: boolean    # flag is text now; drop the column, and it is created again
      note: text
      empty: text
      amount: bigint    # then amount gets the values that go to amount_text now
      price: numeric    # price_numeric has the values that do not fit price; drop both to get one column
      \"null\": timestamptz
";
    assert_eq!(block, expected);
    let listed = shell.run(&["streams", "lynn_reporting", "--discovered"]).await.expect(0).stdout;
    assert!(listed.contains("for values that do not fit the field's column"), "{listed}");
    let json = shell.run(&["streams", "--discovered", "--suggest", "--json"]).await.expect(0).json();
    assert_eq!(
        (&json["streams"][0]["suggested"][1]["type"], &json["streams"][0]["discovered"][8]["variant"]),
        (&"double".into(), &"text".into())
    );
}

#[tokio::test]
async fn a_dropped_column_does_not_prevent_suggestions_for_the_others() {
    let database = TestDatabase::create().await;
    database.pool().execute(TABLE).await.unwrap();
    database.pool().execute("alter table lynn.survey_result drop column rate, drop column amount_text").await.unwrap();
    let block = Shell::on(&database).run(&["streams", "--discovered", "--suggest"]).await.expect(0).stdout;
    for line in [
        "\"Wait (min)\": bigint    # wait is text now; drop the column, and it is created again\n",
        "rate: text    # the column was dropped, so its values are not known\n",
        "flag: boolean    # flag is text now; drop the column, and it is created again\n",
        "amount: bigint\n",
    ] {
        assert!(block.contains(line), "{line}{block}");
    }
}

#[tokio::test]
async fn without_new_columns_nothing_is_suggested() {
    let database = TestDatabase::create().await;
    let shell = Shell::on(&database);
    let block = shell.run(&["streams", "--discovered", "--suggest"]).await.expect(0).stdout;
    assert_eq!(block, "no column was created for new fields yet\n");
    shell.run(&["streams", "--suggest"]).await.expect(2);
}
