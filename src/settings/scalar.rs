//! The raw types of setting values, parsed from the text as written, quoted or not.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::units;
use crate::secret::Secret;

/// A value that is parsed from its text.
pub(crate) trait FromText: Sized {
    /// The error follows the value in a fault.
    fn read(text: &str) -> Result<Self, String>;
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a plain value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }
}

macro_rules! written {
    ($name:ident, $schema:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(PhantomData))
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integer(pub i64);

impl FromText for Integer {
    fn read(text: &str) -> Result<Self, String> {
        let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let problem = if all_digits {
            "is too large; write a smaller number"
        } else {
            "is not a whole number; write digits only"
        };
        text.parse().map(Self).map_err(|_| problem.to_owned())
    }
}

written!(Integer, json_schema!({ "type": "integer" }));

/// `true` or `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bool(pub bool);

impl FromText for Bool {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "true" | "True" | "TRUE" => Ok(Self(true)),
            "false" | "False" | "FALSE" => Ok(Self(false)),
            _ => Err("is neither `true` nor `false`; write one of them".to_owned()),
        }
    }
}

written!(Bool, json_schema!({ "type": "boolean" }));

/// A percentage from `0%` to `100%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u8);

impl FromText for Percent {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || "is not a share; write whole percent, `0%` to `100%`".to_owned();
        let digits = text.strip_suffix('%').map(str::trim_end).ok_or_else(wrong)?;
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|percent| is_number && *percent <= 100).map(Self).ok_or_else(wrong)
    }
}

written!(Percent, json_schema!({ "type": "string", "pattern": "^(100|[0-9]{1,2}) ?%$" }));

/// A duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationText(pub Duration);

impl FromText for DurationText {
    fn read(text: &str) -> Result<Self, String> {
        units::duration(text).map(Self)
    }
}

written!(DurationText, json_schema!({ "type": "string", "pattern": units::DURATION_PATTERN }));

/// How long something is kept: a duration, or `forever`, which is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep(pub Option<Duration>);

impl FromText for Keep {
    fn read(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self(None));
        }
        let span = units::duration(text).map_err(|problem| format!("{problem}; to keep all, write `forever`"))?;
        Ok(Self(Some(span)))
    }
}

written!(Keep, json_schema!({ "type": "string", "pattern": units::KEEP_PATTERN }));

/// A number of whole months; 0 is forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Months(pub u16);

impl FromText for Months {
    fn read(text: &str) -> Result<Self, String> {
        units::months(text).map(Self)
    }
}

written!(Months, json_schema!({ "type": ["integer", "string"], "pattern": units::MONTHS_PATTERN }));

/// An offset from UTC: milliseconds with a sign, or `+05:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset(pub i64);

impl FromText for Offset {
    fn read(text: &str) -> Result<Self, String> {
        const MINUTES_MAX: i64 = 18 * 60;
        let wrong =
            || format!("is not a distance from UTC; write for instance `-06:00`, or milliseconds: `{}`", -21_600_000);
        let (sign, digits) = match text.split_at_checked(1) {
            Some(("-", digits)) => (-1, digits),
            Some(("+", digits)) => (1, digits),
            _ => (1, text),
        };
        let number =
            |digits: &str| digits.parse::<i64>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let millis = match digits.split_once(':') {
            Some((hours, minutes)) if hours.len() == 2 && minutes.len() == 2 => {
                let minutes = number(minutes).filter(|minutes| *minutes < 60);
                number(hours).zip(minutes).map(|(hours, minutes)| (hours * 60 + minutes) * 60_000)
            }
            Some(_) => None,
            None => number(digits),
        };
        let fits = |millis: &i64| *millis <= MINUTES_MAX * 60_000;
        millis.filter(fits).map(|millis| Self(sign * millis)).ok_or_else(wrong)
    }
}

written!(
    Offset,
    json_schema!({ "type": ["integer", "string"], "pattern": "^[+-]([0-9]{2}:[0-9]{2}|[0-9]+)$|^[0-9]+$" })
);

/// A number of calls or a size in bytes, depending on the unit of the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount(pub String);

impl FromText for Amount {
    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

written!(
    Amount,
    json_schema!({
        "type": ["integer", "string"],
        "minimum": 1,
        "pattern": "^[0-9]+ ?(B|kB|KB|MB|GB|KiB|MiB|GiB)?$",
    })
);

/// A credential.
#[derive(Debug, Clone)]
pub struct Credential(pub Secret);

impl FromText for Credential {
    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(Secret::new(text)))
    }
}

written!(Credential, json_schema!({ "type": ["string", "number"] }));

/// A map whose entries are read individually elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Entries;

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Entries)
    }
}

impl JsonSchema for Entries {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Entries".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}
