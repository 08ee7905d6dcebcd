//! Rows of a small complete body: a list whose format its vendor does not document.
//!
//! It may be a bare array, a single row, or an object that wraps the array. Anything else is refused, because a wrong
//! guess would lose rows silently.

use super::object::Members;
use super::raw::{Fault, Raw};
use super::{DecodeError, raw};

/// A list in one response does not have more rows than this.
const ROWS_MAX: usize = 1_000_000;

/// What an object in place of the array may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lone {
    /// A single row, which has this member (`facts/lexer.md §2`).
    Row { key: &'static str },
    /// A wrapper: one array of objects, and otherwise only scalar members (`facts/lynn.md §6`).
    Wrapper,
}

/// The rows of `body`, each as raw text.
pub fn read(body: &[u8], lone: Lone) -> Result<Vec<Raw<'_>>, DecodeError> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    match body.trim_ascii_start().first() {
        None => Err(DecodeError::Empty),
        Some(b'[') => rows(body),
        Some(b'{') => {
            let members = Members::read(body).map_err(|fault| told(fault, "an object with too many members"))?;
            match lone {
                Lone::Row { key } if members.get(key).is_some() => Ok(vec![single(body)?]),
                Lone::Row { .. } => Err(DecodeError::Shape("an object without a row's key")),
                Lone::Wrapper => unwrap(members.iter()),
            }
        }
        Some(b'<') => Err(DecodeError::NotJson("HTML or XML")),
        Some(b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I') => match single(body) {
            Ok(_) => Err(DecodeError::Shape("a single value")),
            Err(_) => Err(DecodeError::NotJson("text")),
        },
        Some(_) => Err(DecodeError::NotJson("text")),
    }
}

/// The rows of an object that wraps one array, as in [`read`]; the caller has removed members known to be something
/// else.
pub fn unwrap<'n, 'a: 'n>(
    members: impl Iterator<Item = (&'n str, Raw<'a>)> + Clone,
) -> Result<Vec<Raw<'a>>, DecodeError> {
    let begins = |raw: Raw<'_>, with: char| raw.get().starts_with(with);
    if members.clone().any(|(_, raw)| begins(raw, '{')) {
        return Err(DecodeError::Shape("an object with objects in it"));
    }
    let mut arrays = members.map(|(_, raw)| raw).filter(|raw| begins(*raw, '['));
    match (arrays.next(), arrays.next()) {
        (None, _) => Err(DecodeError::Shape("an object without an array")),
        (_, Some(_)) => Err(DecodeError::Shape("an object with several arrays")),
        (Some(array), None) => {
            let rows = rows(array.get().as_bytes())?;
            let are_objects = rows.iter().all(|row| begins(*row, '{'));
            are_objects
                .then_some(rows)
                .ok_or(DecodeError::Shape("an object around an array whose elements are not objects"))
        }
    }
}

/// The elements of a value that should be an array.
pub fn elements(value: Raw<'_>) -> Result<Vec<Raw<'_>>, DecodeError> {
    if value.get().starts_with('[') { rows(value.get().as_bytes()) } else { Err(DecodeError::Shape("no array")) }
}

fn rows(array: &[u8]) -> Result<Vec<Raw<'_>>, DecodeError> {
    raw::elements(array, ROWS_MAX).map_err(|fault| told(fault, "an array of more than 1,000,000 rows"))
}

fn single(body: &[u8]) -> Result<Raw<'_>, DecodeError> {
    raw::value(body).map_err(|fault| told(fault, "unreadable"))
}

/// Converts a parse fault. `excess` describes the body if it is JSON with too many values.
fn told(fault: Fault, excess: &'static str) -> DecodeError {
    match fault {
        Fault::Cut => DecodeError::Cut,
        Fault::Other => DecodeError::Shape(excess),
        Fault::Malformed { offset } => DecodeError::Malformed { offset: offset as u64, what: "the list is not JSON" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Lone = Lone::Row { key: "id" };

    fn texts(body: &str, lone: Lone) -> Result<Vec<&str>, DecodeError> {
        read(body.as_bytes(), lone).map(|rows| rows.into_iter().map(Raw::get).collect())
    }

    #[test]
    fn the_elements_of_a_bare_array_are_the_rows() {
        for lone in [ROW, Lone::Wrapper] {
            assert_eq!(texts("\u{feff} [ {\"id\": 1.50} ,2]\n", lone).unwrap(), [r#"{"id": 1.50}"#, "2"]);
            assert!(texts("[]", lone).unwrap().is_empty());
        }
    }

    #[test]
    fn an_object_is_one_row_or_a_wrapper_depending_on_the_vendor() {
        let row = r#"{"id":7,"groups":[{"a":1},{"a":2}]}"#;
        assert_eq!(texts(&format!(" {row}\n"), ROW).unwrap(), [row]);
        let wrapper = r#"{"total":2,"next":null,"name":"x","contacts":[{"a":1}, {"a":[2]}],"ok":true}"#;
        assert_eq!(texts(wrapper, Lone::Wrapper).unwrap(), [r#"{"a":1}"#, r#"{"a":[2]}"#]);
        assert!(texts(r#"{"contacts":[]}"#, Lone::Wrapper).unwrap().is_empty());
    }

    #[test]
    fn p5_a_row_with_nan_is_a_row() {
        for (body, lone) in [
            (r#"[{"id":NaN},2]"#, ROW),
            (r#"{"total":-Infinity,"contacts":[{"id":NaN}, {"id":1}]}"#, Lone::Wrapper),
            (r#" {"id":1,"x":[Infinity]} "#, ROW),
        ] {
            let rows = read(body.as_bytes(), lone).unwrap();
            assert!(!rows[0].is_json() && body.contains(rows[0].get()), "{body}");
            assert!(rows.iter().skip(1).all(|row| row.is_json()));
        }
        assert_eq!(texts("[{\"id\":NaN}", ROW).unwrap_err(), DecodeError::Cut);
        assert_eq!(texts("NaN", ROW).unwrap_err(), DecodeError::Shape("a single value"));
        assert_eq!(texts("Nothing", ROW).unwrap_err(), DecodeError::NotJson("text"));
    }

    #[test]
    fn p5_an_unknown_shape_is_an_error_and_not_an_empty_list() {
        for (body, lone, shape) in [
            (r#"{"users":[{"id":1}]}"#, ROW, "an object without a row's key"),
            (r#"{"id":null}"#, ROW, "an object without a row's key"),
            (r#"{"contacts":null}"#, Lone::Wrapper, "an object without an array"),
            ("{}", Lone::Wrapper, "an object without an array"),
            (r#"{"a":[],"b":[]}"#, Lone::Wrapper, "an object with several arrays"),
            (r#"{"a":[],"b":{}}"#, Lone::Wrapper, "an object with objects in it"),
            (r#"{"errors":["x"]}"#, Lone::Wrapper, "an object around an array whose elements are not objects"),
            ("null", ROW, "a single value"),
            (r#""x""#, Lone::Wrapper, "a single value"),
        ] {
            assert_eq!(texts(body, lone).unwrap_err(), DecodeError::Shape(shape), "{body}");
        }
    }

    #[test]
    fn a_body_that_is_not_json_is_named_in_the_error() {
        assert_eq!(texts(" \n", ROW).unwrap_err(), DecodeError::Empty);
        assert_eq!(texts("<html>", ROW).unwrap_err(), DecodeError::NotJson("HTML or XML"));
        assert_eq!(texts("no such tenant", ROW).unwrap_err(), DecodeError::NotJson("text"));
        assert_eq!(texts("Gone", ROW).unwrap_err(), DecodeError::NotJson("text"));
        for cut in [r#"[{"id":1}"#, r#"[{"id":1"#, r#"{"id":1"#, "["] {
            assert_eq!(texts(cut, ROW).unwrap_err(), DecodeError::Cut, "{cut}");
        }
        let malformed = |offset| DecodeError::Malformed { offset, what: "the list is not JSON" };
        assert_eq!(texts("[\n1,\nx]", ROW).unwrap_err(), malformed(5));
        assert_eq!(texts("[]x", ROW).unwrap_err(), malformed(2));
    }

    #[test]
    fn p6_rows_are_bounded() {
        let body = format!("[{}0]", "0,".repeat(ROWS_MAX));
        assert!(elements(raw::value(body.as_bytes()).unwrap()).is_err());
        assert_eq!(texts(&body, ROW).unwrap_err(), DecodeError::Shape("an array of more than 1,000,000 rows"));
    }
}
