//! Secrets are removed from texts in every spelling, and the rest of the text is kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::super::basic;
use super::*;

#[test]
fn p7_secrets_and_tokens_are_removed_and_long_text_is_shortened() {
    let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("a"), Secret::new("q\"uote\\d")]);
    assert_eq!(redactor.clean("bad\nsecret s3cret-value, again: 's3cret-value'"), "bad secret ***, again: '***'");
    assert_eq!(redactor.clean("S3CRET-Value and é S3cret-value"), "*** and é ***");
    assert_eq!(redactor.clean(r#"{"raw":"q\"uote\\d"} q"uote\d"#), r#"{"raw":"***"} ***"#);
    let token = format!("{}.{}.{}", "e".repeat(30), "f".repeat(30), "g".repeat(30));
    assert_eq!(redactor.clean(&format!("token {token} expired")), "token *** expired");
    let inside = format!(r#"{{"url":"https://x/?t={token}","why":"expired"}}"#);
    assert_eq!(redactor.clean(&inside), r#"{"url":"https://x/?***","why":"expired"}"#);
    assert_eq!(redactor.and(&Secret::new("opaque")).clean("an opaque one"), "an *** one");
    assert_eq!(redactor.clean(&"x".repeat(5000)).chars().count(), TEXT_CHARS_MAX + 1);
}

#[test]
fn p7_a_secret_that_contains_another_is_removed_completely() {
    let redactor = Redactor::new(vec![Secret::new("acme"), Secret::new("acme-t0ken")]);
    assert_eq!(redactor.clean("acme-t0ken of acme"), "*** of ***");
    assert_eq!(redactor.and(&Secret::new("x-acme-t0ken-y")).clean("x-acme-t0ken-y"), "***");
}

#[test]
fn p7_terminal_controls_are_dropped_and_do_not_hide_a_secret() {
    let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("tab\tbed")]);
    assert_eq!(redactor.clean("a\u{1b}[31mred\u{7}\r\nlevel=ERROR \u{202e}x\u{9b}2J"), "a[31mred level=ERROR x2J");
    for hidden in ["s3c\u{1}ret-value", "s3cret\u{202e}-value", "\u{feff}s\u{0}3cret-val\u{7f}ue", "tab\t\u{2066}bed"] {
        assert_eq!(redactor.clean(hidden), "***", "{hidden:?}");
    }
    assert_eq!(redactor.clean("tab\tbed"), "***");
    let token = format!("{}.{}\u{1}{}.{}", "e".repeat(30), "f".repeat(9), "f".repeat(9), "g".repeat(30));
    assert_eq!(redactor.clean(&token), "***");
}

#[test]
fn p7_secrets_are_found_in_all_spellings_of_urls_and_headers() {
    let redactor = Redactor::new(vec![Secret::new("abcd1234:0f/9+=é x"), basic("api-user", &Secret::new("p?a>s~s"))]);
    for spelt in [
        "abcd1234:0f/9+=é x",
        "abcd1234%3A0f%2F9%2B%3D%C3%A9%20x",
        "abcd1234%3a0f%2f9%2b%3d%c3%a9+x",
        "%41bcd1234:0F/9%2B=%C3%a9%20X",
        r"abcd1234:0f/9+=é x",
    ] {
        assert_eq!(redactor.clean(&format!("no /p/{spelt}/sessions, really")), "no /p/***/sessions, really", "{spelt}");
    }
    for header in ["YXBpLXVzZXI6cD9hPnN+cw==", "YXBpLXVzZXI6cD9hPnN-cw", "YXBpLXVzZXI6cD9hPnN%2Bcw%3D%3D"] {
        let cleaned = redactor.clean(&format!("Authorization: Basic {header}"));
        assert!(cleaned.starts_with("Authorization: Basic ***") && cleaned.len() < 32, "{cleaned}");
    }
    assert_eq!(redactor.clean("100% of 5%, %zz, %4, abcd1234%3"), "100% of 5%, %zz, %4, abcd1234%3");
}

#[test]
fn p7_invisible_characters_do_not_hide_a_secret() {
    let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("with\u{200b}joiner")]);
    for c in ('\u{200b}'..='\u{200f}')
        .chain('\u{202a}'..='\u{202e}')
        .chain('\u{2060}'..='\u{2064}')
        .chain('\u{2066}'..='\u{2069}')
        .chain(['\u{ad}', '\u{34f}', '\u{61c}', '\u{180e}', '\u{fe0f}', '\u{feff}', '\u{e0041}', '\u{1}'])
    {
        let between = |text: &str| {
            let letters: Vec<String> = text.chars().map(String::from).collect();
            letters.join(&format!("{c}{c}"))
        };
        assert_eq!(redactor.clean(&format!("key {} is bad", between("s3cret-value"))), "key *** is bad", "{c:?}");
        assert_eq!(redactor.clean(&between("czNjcmV0LXZhbHVl")), "***", "{c:?}");
        assert_eq!(redactor.clean(&between("%733cret%2Dvalue")), "***", "{c:?}");
        assert_eq!(redactor.clean(&between("withjoiner")), "***", "{c:?}");
    }
    assert_eq!(redactor.without_secrets("a\u{200b}b s3cret\u{200b}-value\n"), "a\u{200b}b ***\n");
    assert_eq!(redactor.without_secrets("a\u{fffd}b s3c\u{fffd}\u{fffd}ret-value"), "a\u{fffd}b ***");
}

#[test]
fn p7_secrets_are_found_in_base64_at_each_alignment_and_in_hexadecimal() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    for secret in ["s3cret-value", "p?a>s~s", "ab~?", "é>>>???é", "0123456789012345678901234567890123456789"] {
        let redactor = Redactor::new(vec![Secret::new(secret)]);
        for before in ["", "u", "us", "use", "api-user:", "{\"password\":\""] {
            for after in ["", "\"", "\"}", ", and more"] {
                let text = format!("{before}{secret}{after}");
                for encoded in [
                    STANDARD.encode(&text),
                    STANDARD_NO_PAD.encode(&text),
                    URL_SAFE.encode(&text),
                    URL_SAFE_NO_PAD.encode(&text),
                ] {
                    let shown = redactor.clean(&format!("Basic {encoded} refused"));
                    assert!(shown.contains("***"), "{text}: {encoded}: {shown}");
                    let left = shown.split(' ').nth(1).unwrap();
                    // The rest of the encoded text contains only what surrounded the secret.
                    let around = (before.len() + after.len()) * 4 / 3 + 3;
                    assert!(left.len() <= around + 3, "{text}: {encoded}: {shown}");
                }
            }
        }
        assert_eq!(redactor.clean(&format!("x{}y", hex::encode(secret))), "x***y");
        assert_eq!(redactor.clean(&hex::encode_upper(format!("u:{secret}"))), "753A***");
    }
    let redactor = Redactor::new(vec![Secret::new("s3cret-value")]);
    assert_eq!(redactor.clean("dTpzM2Ny\r\nZXQtdmFsdWU="), "dT***");
    assert_eq!(redactor.clean("dTpzM2NyZXQtdmFsdWU%3D"), "dT***%3D");
    assert_eq!(redactor.clean("the word user stays, so does abcd"), "the word user stays, so does abcd");
    assert_eq!(Redactor::new(vec![Secret::new("abc")]).clean("abc YWJj 616263"), "abc YWJj 616263");
}

#[test]
fn p7_a_secret_that_is_broken_by_lines_blanks_or_colours_is_found() {
    let redactor = Redactor::new(vec![Secret::new("s3cret-value"), Secret::new("them")]);
    for broken in [
        "s3cret\n-value",
        "s3c\r\n   ret-val\tue",
        "s3cret -\u{b} value",
        "s 3 c r e t - v a l u e",
        r"s3cret\n-val\r\nue",
        "s3c\u{1b}[1;31mret\u{1b}[0m\u{1b}[K-value",
        "s3c\u{9b}31mret-value",
        "s3c\u{fffd}[31mret-value",
        r"s3c\u001b[31mret\u001B[0m-value",
        r"s3c\x1b[31mret-value",
        "s3c\u{1b}[31m\nret-value",
        "czNjcmV0\r\nLXZh\n  bHVl",
        "czNj\u{1b}[31mcmV0LXZhbHVl",
        "th\nem",
        "th\u{1b}[31mem",
        "s3c\u{1b}(Bret\u{1b}7-val\u{1b}=ue",
        "s3c\u{1b}]0;the title\u{7}ret-value",
        "s3c\u{1b}]8;;https://x.example/a?b\u{1b}\\ret\u{9d}8;;\u{9c}-value",
        "s3c\u{90}q\u{9c}ret-value",
        r"s3c\u009b31mret\033[0m-val\e[1;31mue",
        r"s3c\u{1b}[31mret^[[0m-val\x9b0mue",
        r"s3c\u001b]0;title\u0007ret\x1b]0;title\a-value",
        r"s3c\tret\v-value",
        "s3cret<br>-val<br />ue",
        "s3c</b>ret<span style='color: red'>-value",
        "s3cret=\r\n-val=\nue",
        "s3cret=2Dvalue",
        "s3cret\" +\n    \"-value",
        "s3cret' . '-val' 'ue",
        r#"s3cret\" +\n \"-value"#,
        "s3cret\\\n-value",
        "s3cr-et-v-alue",
        "S3CR ET-V - ALUE",
    ] {
        assert_eq!(redactor.clean(&format!("key {broken} is bad")), "key *** is bad", "{broken:?}");
        assert_eq!(redactor.without_secrets(&format!("({broken})")), "(***)", "{broken:?}");
    }
    assert_eq!(redactor.without_secrets("\u{1b}[s3cret-value"), "\u{1b}[***");
    assert_eq!(redactor.without_secrets("\u{1b}[31ms3cret-value\u{1b}[0m"), "\u{1b}[31m***\u{1b}[0m");
    for other in ["the map, s3cret, val ue", "th-em [\"th\", \"em\"]", "a <b> c </b> \u{1b}[31mred s3cret"] {
        assert_eq!(redactor.without_secrets(other), other);
    }
}

#[test]
fn p7_hexadecimal_digits_are_found_however_they_are_grouped() {
    let redactor = Redactor::new(vec![Secret::new("s3cret-value")]);
    let bytes: Vec<String> = "s3cret-value".bytes().map(|byte| format!("{byte:02X}")).collect();
    for between in [" ", ":", "-", ", ", "\n", " 0x", "\\x", ",0x"] {
        assert_eq!(redactor.clean(&format!("({})", bytes.join(between))), "(***)", "{between:?}");
    }
    let words: Vec<String> = bytes.chunks(2).map(<[String]>::concat).collect();
    assert_eq!(redactor.clean(&format!("00000000: {}  s3cr", words.join(" "))), "00000000: *** s3cr");
    assert_eq!(redactor.clean("73:33:63 and 7:3"), "73:33:63 and 7:3");
}

#[test]
fn p7_dumps_of_several_lines_hide_no_secret() {
    let secret = "Zk3-9fQx.7LmW_2bTq8RdYv5dead0123beefcafe4567ab";
    let redactor = Redactor::new(vec![Secret::new(secret)]);
    for shift in 0..16 {
        let held = format!("{}{secret}, end", &"key is refused: "[16 - shift..]);
        for (is_framed, end) in [(false, "\n"), (true, "\n"), (false, "\r\n"), (true, "\\n")] {
            let mut dump = String::new();
            for (number, row) in held.as_bytes().chunks(16).enumerate() {
                let text = std::str::from_utf8(row).unwrap();
                let digits: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
                let line = if is_framed {
                    let (left, right) = digits.split_at(digits.len().min(8));
                    let digits = format!("{}  {}", left.join(" "), right.join(" "));
                    format!("{:08x}  {digits:<48}  |{text}|{end}", number * 16)
                } else {
                    let words: Vec<String> = digits.chunks(2).map(<[String]>::concat).collect();
                    format!("{:08x}: {:<39}  {text}{end}", number * 16, words.join(" "))
                };
                dump.push_str(&line);
            }
            let shown = redactor.without_secrets(&dump);
            let pieces = secret.as_bytes().windows(8).map(|piece| std::str::from_utf8(piece).unwrap());
            for piece in pieces {
                assert!(!shown.contains(piece), "{shift} {is_framed}: {dump}{shown}");
                let digits: Vec<String> = piece.bytes().map(|byte| format!("{byte:02x}")).collect();
                let words: Vec<String> = digits.chunks(2).map(<[String]>::concat).collect();
                assert!(!shown.contains(&digits.join(" ")) && !shown.contains(&words.join(" ")), "{dump}{shown}");
            }
        }
    }
    let harmless = "00000000: 6162 6364 6566  abcdef\n00000010: 6768 69  ghi\n";
    assert_eq!(redactor.without_secrets(harmless), harmless);
}

#[test]
fn p7_text_that_nearly_holds_a_secret_again_and_again_takes_no_longer() {
    let redactor = Redactor::new(vec![Secret::new("aaaaaaaaaaab"), Secret::new("s3cret-value")]);
    let begun = std::time::Instant::now();
    for text in [
        "a \n".repeat(10_000),
        format!("s{}", " \n".repeat(100)).repeat(300),
        "\u{1b}[a".repeat(10_000),
        "s- ".repeat(10_000),
        format!("s{}3", "\u{1b}]".repeat(60)).repeat(200),
        "s\" + \"<b>\\u001b[3;3;".repeat(2_000),
        "73 |\n00000010  ".repeat(3_000),
    ] {
        assert_eq!(redactor.without_secrets(&text), text);
    }
    assert!(begun.elapsed() < std::time::Duration::from_mins(1), "{:?}", begun.elapsed());
}

#[test]
fn p7_secrets_are_found_in_ascii_json_and_with_other_blanks() {
    let redactor = Redactor::new(vec![Secret::new("clé/du portail")]);
    for said in [r"cl\u00e9/du portail", r"cl\u00E9\/du portail", "clé\\u002Fdu\u{b}portail", "clé/du \n portail"] {
        assert_eq!(redactor.clean(&format!("'{said}'")), "'***'", "{said}");
    }
}

#[test]
fn p7_overlapping_secrets_and_the_beginning_of_a_long_one_are_removed() {
    let redactor = Redactor::new(vec![Secret::new("foo-x"), Secret::new("x-other-secret")]);
    assert_eq!(redactor.clean("foo-x-other-secret!"), "***!");
    let long = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(4);
    let redactor = Redactor::new(vec![Secret::new(long.as_str())]);
    assert_eq!(redactor.clean(&format!("({long})")), "(***)");
    assert_eq!(redactor.clean(&format!("({}…)", &long[..50])), "(***…)");
    assert_eq!(redactor.clean(&long[..31]), "***");
}

#[test]
fn p7_a_shortened_secret_is_found_if_it_has_twelve_letters() {
    use base64::engine::general_purpose::STANDARD;
    let secret = "Zk3-9fQx.7LmW_2bTq8RdYv5";
    let redactor = Redactor::new(vec![Secret::new(secret), Secret::new("s3cret-value")]);
    let (hex, base64) = (hex::encode(secret), STANDARD.encode(secret));
    for part in [
        &secret[..12],
        &secret[..20],
        &secret[1..],
        &secret[5..],
        &secret[secret.len() - 12..],
        &hex[..24],
        &hex[10..],
        &base64[..20],
        &base64[base64.len() - 18..],
        "Zk3-9fQx.\n7LmW_2b",
        "9f\u{1b}[31mQx.7 LmW_2b\nTq8RdYv5",
    ] {
        assert_eq!(redactor.without_secrets(&format!("key ({part}...) is bad")), "key (***...) is bad", "{part:?}");
        assert_eq!(redactor.without_secrets(&format!("(...{part})")), "(...***)", "{part:?}");
    }
    for short in [&secret[..11], &secret[secret.len() - 11..], "s3cret-valu", "3cret-value"] {
        assert_eq!(redactor.clean(short), short);
    }
    // Repeated secrets are removed once, and the text between two parts is kept.
    let (start, end) = (&secret[..16], &secret[6..]);
    assert_eq!(redactor.clean(&format!("{start} or {end}{end}, {secret}!")), "*** or ***, ***!");
    let whole = Redactor::of_whole(vec![Secret::new(secret)]);
    assert_eq!(whole.clean(&format!("{start} {secret}")), format!("{start} ***"));
}

#[test]
fn p7_where_a_letter_may_be_part_of_a_gap_both_readings_are_followed() {
    let redactor = Redactor::new(vec![Secret::new("s3cret-31m\\nvalue"), Secret::new("n-\"t<b>r:0a")]);
    for said in [
        "s\u{9b}31m3cret-31m\\nvalue",
        "s\u{1b}[31m3cret-31m\\nvalue",
        "s\u{1b}[3cret-31m\\nvalue",
        "s3cret-\u{9b}31m31m\\nvalue",
        "s3cret-31m\\\\n\\nvalue",
        "s3cret--31m\\nvalue",
        "s3cre\\t-31m\\nvalue",
        "n-\"\" + \"t<b>r:0a",
        "n-\"<b>t<b>r:0a",
    ] {
        assert_eq!(redactor.without_secrets(&format!("({said})")), "(***)", "{said:?}");
    }
}

#[test]
fn p7_queries_of_urls_are_replaced_and_questions_are_not() {
    let redactor = Redactor::default();
    for (said, shown) in [
        ("see https://x.example/a?companyKey=k&t=1#f for more", "see https://x.example/a?*** for more"),
        (r#"{"a":"https://x/?signed","b":"what?"}"#, r#"{"a":"https://x/?***","b":"what?"}"#),
        (r#"{"a":"https:\/\/x\/b?t\u003dk"}"#, r#"{"a":"https:\/\/x\/b?***"}"#),
        ("GET /reports/1?key=k HTTP/1.1", "GET /reports/1?*** HTTP/1.1"),
        ("<a href='b?key=k'>b</a>", "<a href='b?***'>b</a>"),
        ("why? because? yes", "why? because? yes"),
        ("this/that? no?yes", "this/that? no?yes"),
    ] {
        assert_eq!(redactor.clean(said), shown);
    }
}
