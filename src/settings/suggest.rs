//! "Did you mean": the nearest known word, or all of them.

use std::fmt::Write as _;

use super::tree::shown;

/// Longer lists of known words are not shown.
const LISTED_MAX: usize = 24;

/// The known word that `word` most likely means.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = fold(word);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &fold(candidate)), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (wanted.chars().count() / 3).max(1)
                || strsim::jaro_winkler(&wanted, &fold(candidate)) >= 0.9
                || (wanted.len() >= 4 && fold(candidate).starts_with(&wanted))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// The end of a fault about an unknown word: `; did you mean …?`, otherwise `; known here: …`.
pub fn hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(candidate) = closest(word, known.iter().copied()) {
        return format!("; did you mean `{}`?", shown(candidate));
    }
    if known.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "; known here: {}",
        known.iter().take(LISTED_MAX).map(|word| shown(word)).collect::<Vec<_>>().join(", ")
    );
    if known.len() > LISTED_MAX {
        let _ = write!(text, " and {} more", known.len() - LISTED_MAX);
    }
    text
}

/// The nearest IANA zone, by its full name or by its city.
pub fn zone(word: &str) -> Option<&'static str> {
    let names = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let wanted = fold(&word.replace(' ', "_"));
    let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
    names()
        .find(|name| fold(name) == wanted)
        .or_else(|| names().find(|name| name.contains('/') && fold(city(name)) == fold(city_of(&wanted))))
        // A fixed offset (`GMT-03:00`) resembles names with another meaning.
        .or_else(|| closest(&wanted, names()).filter(|_| !word.contains(|c: char| c.is_ascii_digit())))
}

fn city_of(folded: &str) -> &str {
    folded.rsplit('/').next().unwrap_or(folded)
}

/// Most typing errors are in case, dashes and underscores.
pub fn fold(word: &str) -> String {
    word.to_lowercase().replace(['-', '.', ' '], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let known = ["schedule", "start", "streams", "slice"];
        assert_eq!(closest("schedul", known), Some("schedule"));
        assert_eq!(closest("Streams", known), Some("streams"));
        assert_eq!(closest("slcie", known), Some("slice"));
        assert_eq!(closest("banana", known), None);
    }

    #[test]
    fn p7_a_known_word_from_outside_cannot_control_a_terminal() {
        assert_eq!(hint("acme-lynn", ["acme\t-lynn"]), r"; did you mean `acme\t-lynn`?");
        assert_eq!(hint("x", ["a\n\u{202e}b"]), r"; known here: a\n\u{202e}b");
    }

    #[test]
    fn a_zone_is_found_by_its_city() {
        assert_eq!(zone("america/santiago"), Some("America/Santiago"));
        assert_eq!(zone("Santiago"), Some("America/Santiago"));
        assert_eq!(zone("Europe/Madird"), Some("Europe/Madrid"));
        assert_eq!(zone("New York"), Some("America/New_York"));
        assert_eq!(zone("Nowhere/Land"), None);
        assert_eq!(zone("GMT-03:00"), None);
    }
}
