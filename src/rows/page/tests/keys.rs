//! Which records are the same row: keys by content, by fields and by ids.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn keyed(key: RowKey) -> PageWriter {
    let columns = [
        Column::new("id", "id", ColumnType::Text, ""),
        Column::new("n", "n", ColumnType::Bigint, ""),
        Column::new("part", "part", ColumnType::Text, "").or_empty(),
    ];
    PageWriter::new(Layout::new(&columns, false), key, None)
}

#[test]
fn any_spelling_of_an_id_is_one_row() {
    let spellings = ["1001", "\"1001\"", "1001.0", "1.001e3", "\"\\u0031001\""];
    let records: Vec<String> = spellings.iter().map(|id| format!(r#"{{"id":{id}}}"#)).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    for key in [RowKey::Fields(vec!["id".to_owned()]), RowKey::AnyOf(vec!["id".to_owned()])] {
        let found = keys_of(&page(&mut keyed(key.clone()), &records));
        assert!(found.iter().all(|other| *other == found[0]), "{key:?} {found:?}");
        assert_ne!(keys_of(&page(&mut keyed(key), &[r#"{"id":"01001"}"#]))[0], found[0]);
    }
    let field = |path: &str, may_be_absent| KeyField { path: path.to_owned(), may_be_absent };
    let mut writer = keyed(RowKey::Columns(vec![field("id", false), field("part", true)]));
    let shown = rows(&page(&mut writer, &records));
    assert!(shown.iter().all(|row| row == &["1001", "\\N", "", "\\N"]), "{shown:?}");
}

#[test]
fn an_empty_id_does_not_identify_a_record() {
    let records = [r#"{"id":"","n":1}"#, r#"{"n":2}"#, r#"{"id":null,"n":3}"#];
    let found = keys_of(&page(&mut keyed(RowKey::AnyOf(vec!["id".to_owned()])), &records));
    assert!(found[0] != found[1] && found[1] != found[2], "their contents differ");
    let two = RowKey::AnyOf(vec!["id".to_owned(), "n".to_owned()]);
    let next = keys_of(&page(&mut keyed(two), &[r#"{"id":"","n":1}"#, r#"{"n":"1"}"#]));
    assert_eq!(next[0], next[1], "the next name is used");
    let field = KeyField { path: "id".to_owned(), may_be_absent: false };
    for key in [RowKey::Fields(vec!["id".to_owned()]), RowKey::Columns(vec![field])] {
        let chunks = page(&mut keyed(key), &records);
        let reasons: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.rejects).map(|reject| &*reject.reason).collect();
        assert_eq!(reasons, ["key field `id` is empty", "no key field `id`", "no key field `id`"]);
    }
    // The same if the field has no column.
    let mut writer = PageWriter::new(Layout::new(&[], true), RowKey::Fields(vec!["id".to_owned()]), None);
    assert_eq!(page(&mut writer, &[records[0]])[0].rejects[0].reason, "key field `id` is empty");
    let optional = KeyField { path: "part".to_owned(), may_be_absent: true };
    let chunks = page(&mut keyed(RowKey::Columns(vec![optional])), &[r#"{"part":""}"#, r#"{"part":null,"n":1}"#]);
    assert_eq!(rows(&chunks), [["\\N", "\\N", "", "\\N"], ["\\N", "1", "", "\\N"]]);
}

#[test]
fn equal_contents_have_one_key_in_any_spelling() {
    let one = keys_of(&page(&mut undocumented(), &[r#"{"a":"x/y","b":1.50,"c":[1, "é"]}"#]));
    let other = keys_of(&page(&mut undocumented(), &[r#"{"b":15e-1,"c":[1.0,"\u00e9"],"a":"x\/y"}"#]));
    assert_eq!(one, other);
    let texts = keys_of(&page(&mut undocumented(), &[r#"{"a":1}"#, r#"{"a":"1"}"#]));
    assert_ne!(texts[0], texts[1], "a number differs from its text");
}

#[test]
fn p4_the_key_does_not_depend_on_the_order_of_fields_and_duplicates_are_kept() {
    let mut writer = undocumented();
    let first = keys_of(&page(&mut writer, &[r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, r#"{"a":2,"b":1}"#]));
    assert_ne!(first[0], first[1], "identical records have different keys");
    let again =
        keys_of(&page(&mut undocumented(), &[r#"{"b":2,"a":1,"c":null}"#, r#"{"a":2,"b":1}"#, r#"{"a":1,"b":2}"#]));
    assert_eq!([&again[0], &again[2], &again[1]], [&first[0], &first[1], &first[2]]);
}

#[test]
fn p4_the_order_of_two_spellings_of_a_field_does_not_change_the_key() {
    let one = page(&mut documented(), &[r#"{"id":1,"ID":2,"iD":3}"#]);
    let other = page(&mut documented(), &[r#"{"iD":3,"ID":2,"id":1}"#]);
    assert_eq!(keys_of(&one), keys_of(&other));
    assert_eq!(rows(&one), [["1", "\\N", r#"{"ID":2,"iD":3}"#]]);
}

/// A record as its members, nested ones by their path, without nulls.
fn any_members() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop::sample::select(vec!["a", "b", "c", "d.x", "d.y", "d.z.w", "e", "id", "at"]);
    let value = prop::sample::select(vec!["1", "2", "\"x\"", "[1]", "true", "1.0", "\"2024-03-01T00:00:00Z\"", "{}"]);
    prop::collection::btree_map(name, value, 0..7)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The members as JSON in the given order, those of one object together, with null members in between if `nulls`.
fn json(members: &[(String, String)], nulls: bool) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for (path, value) in members {
        match path.split_once('.') {
            None => parts.push(format!("\"{path}\":{value}")),
            Some((object, _)) if done.contains(&object) => {}
            Some((object, _)) => {
                done.push(object);
                let inner: Vec<(String, String)> = members
                    .iter()
                    .filter_map(|(path, value)| {
                        let (outer, rest) = path.split_once('.')?;
                        (outer == object).then(|| (rest.to_owned(), value.clone()))
                    })
                    .collect();
                parts.push(format!("\"{object}\": {}", json(&inner, nulls)));
            }
        }
        if nulls {
            parts.push(format!("\"null{}\":null", parts.len()));
        }
    }
    format!("{{{}}}", parts.join(" , "))
}

proptest! {
    #[test]
    fn p4_a_key_depends_only_on_the_content_and_the_number_among_duplicates(
        records in prop::collection::vec(any_members().prop_filter("a field", |members| !members.is_empty()), 1..12),
        order in prop::collection::vec(any::<prop::sample::Index>(), 24),
        nulls in any::<bool>(),
        known in any_members(),
    ) {
        let plain: Vec<String> = records.iter().map(|members| json(members, false)).collect();
        let plain: Vec<&str> = plain.iter().map(String::as_str).collect();
        let first = keys_of(&page(&mut undocumented(), &plain));
        // Equal contents have an equal base, and each duplicate its own number. One number has two spellings.
        let content = |(name, value): &(String, String)| {
            (name.clone(), if value == "1.0" { "1".to_owned() } else { value.clone() })
        };
        let contents: Vec<Vec<_>> = records.iter().map(|members| members.iter().map(content).collect()).collect();
        let mut places: HashMap<&Vec<(String, String)>, u32> = HashMap::new();
        let mut bases: HashMap<String, &Vec<(String, String)>> = HashMap::new();
        let mut seen = std::collections::HashSet::new();
        for (members, key) in contents.iter().zip(&first) {
            let place = places.entry(members).or_insert(0);
            if *place == 0 {
                prop_assert!(bases.insert(key.clone(), members).is_none(), "two contents, one key");
            } else {
                let base = bases.iter().find(|(_, known)| *known == &members).unwrap().0;
                let base = u128::from_str_radix(base, 16).unwrap();
                prop_assert_eq!(key, &format!("{:032x}", KeyForm::Hash.row_key(base, *place)));
            }
            *place += 1;
            prop_assert!(seen.insert(key.clone()));
        }
        // The same records in another order, their members in another order and with nulls, read by a writer that has
        // read other records before.
        let mut shuffled: Vec<Vec<(String, String)>> = records.clone();
        for (at, index) in order.iter().enumerate().take(records.len()) {
            let other = index.index(records.len());
            shuffled.swap(at, other);
            let members = &mut shuffled[at];
            if !members.is_empty() {
                let middle = order[order.len() - 1 - at].index(members.len());
                members.rotate_left(middle);
            }
        }
        let shuffled: Vec<String> = shuffled.iter().map(|members| json(members, nulls)).collect();
        let shuffled: Vec<&str> = shuffled.iter().map(String::as_str).collect();
        for mut writer in [undocumented(), documented()] {
            page(&mut writer, &[&json(&known, false)]);
            let mut again = keys_of(&page(&mut writer, &shuffled));
            again.sort();
            let mut first = first.clone();
            first.sort();
            prop_assert_eq!(again, first);
        }
    }

    #[test]
    fn p4_a_record_in_a_shared_second_has_one_key_in_both_parts(
        cut in 1_i64..86_399, offset in -3_i64..4, millis in 0_i64..1_000,
    ) {
        let day = "2024-03-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let (middle, end) = (day + chrono::TimeDelta::seconds(cut), day + chrono::TimeDelta::days(1));
        let at = middle + chrono::TimeDelta::seconds(offset) + chrono::TimeDelta::milliseconds(millis);
        let record = format!(r#"{{"at":"{}","n":1}}"#, at.format("%Y-%m-%dT%H:%M:%S%.3fZ"));
        let told = |start, end| {
            let mut writer = undocumented();
            writer.begin(Some(RowWindow { start, end }));
            writer.record(record.as_bytes()).unwrap();
            writer.finish().unwrap()[0].shared.clone()
        };
        let (before, behind) = (told(day, middle), told(middle, end));
        // Computed in another way: does it lie in the second of the boundary?
        let shares = |boundary: DateTime<Utc>| at.timestamp() == boundary.timestamp();
        prop_assert_eq!(before.len() == 1, shares(day) || shares(middle));
        prop_assert_eq!(behind.len() == 1, shares(middle) || shares(end));
        if shares(middle) {
            prop_assert_eq!(before[0].base, behind[0].base);
            prop_assert_ne!(before[0].part_key, behind[0].part_key, "duplicates are counted for each part separately");
        }
    }
}
