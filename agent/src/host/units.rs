//! The small languages of single values: durations, sizes, moments.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::value::Datetime;

use super::schema::Moment;

/// `60s`, `10m`, `24h`, `30d`: a whole number and one unit.
///
/// # Errors
///
/// What should have been written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("`{text}` is no duration: write a number and one of s, m, h, d, such as \"60s\"")
    };
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let seconds: u64 = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

/// `64MiB`: a whole number and KiB, MiB or GiB; in octets.
///
/// # Errors
///
/// What should have been written.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("`{text}` is no size: write a number and one of KiB, MiB, GiB, such as \"64MiB\"")
    };
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    digits
        .trim_end()
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(wrong)
}

/// What a TOML date-time means: the instant, or for a date the end of that day in UTC.
///
/// # Errors
///
/// Why it is no moment.
pub fn moment(written: &Datetime) -> Result<Moment, String> {
    let text = written.to_string();
    let at = match (written.date, written.time, written.offset) {
        (Some(date), None, _) => i16::try_from(date.year)
            .ok()
            .zip(
                i8::try_from(date.month)
                    .ok()
                    .zip(i8::try_from(date.day).ok()),
            )
            .and_then(|(year, (month, day))| Date::new(year, month, day).ok())
            .and_then(|date| date.tomorrow().ok())
            .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
            .map(|zoned| zoned.timestamp())
            .ok_or_else(|| format!("{text} is no day"))?,
        (Some(_), Some(_), Some(_)) => text
            .parse::<jiff::Timestamp>()
            .map_err(|_| format!("{text} is no moment"))?,
        (Some(_), Some(_), None) => return Err(format!("{text} has no offset from UTC")),
        (None, ..) => return Err(format!("{text} is a time without a day")),
    };
    Ok(Moment { written: text, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        #[track_caller]
        fn check(text: &str, seconds: Option<u64>) {
            assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs));
        }
        check("60s", Some(60));
        check("10m", Some(600));
        check("24h", Some(86_400));
        check("30d", Some(2_592_000));
        check("60", None);
        check("s", None);
        check("", None);
        check("1.5h", None);
        check("1w", None);
        check("ä1s", None);
        check("99999999999999999999s", None);
        check("9999999999999999999d", None);
    }

    #[test]
    fn sizes() {
        #[track_caller]
        fn check(text: &str, octets: Option<u64>) {
            assert_eq!(size(text).ok(), octets);
        }
        check("64MiB", Some(67_108_864));
        check("64 MiB", Some(67_108_864));
        check("1KiB", Some(1_024));
        check("2GiB", Some(2_147_483_648));
        check("64MB", None);
        check("64", None);
        check("MiB", None);
        check("99999999999999999GiB", None);
    }

    #[test]
    fn moments() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            let written: Datetime = text.parse().expect("a TOML date-time");
            let at = moment(&written).ok().map(|moment| moment.at.to_string());
            assert_eq!(at.as_deref(), expected);
        }
        check("2026-12-24", Some("2026-12-25T00:00:00Z"));
        check("2026-12-31", Some("2027-01-01T00:00:00Z"));
        check("2028-02-29", Some("2028-03-01T00:00:00Z"));
        check("2027-01-31T00:00:00Z", Some("2027-01-31T00:00:00Z"));
        check("2027-01-31T02:00:00+02:00", Some("2027-01-31T00:00:00Z"));
        check("2027-01-31 00:00:00Z", Some("2027-01-31T00:00:00Z"));
        check("2027-01-31T00:00:00", None);
        check("00:00:00", None);
        check("9999-12-31", None);
    }
}
