//! Which part of a file a request wants (RFC 9110 §13 and §14).

use http::{HeaderMap, header};

/// What to answer a `GET` or `HEAD` with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// 200, everything.
    Whole,
    /// 206, the bytes `first..=last`.
    Part { first: u64, last: u64 },
    /// 304, the client has it already.
    NotModified,
    /// 412, the client wants another version.
    PreconditionFailed,
    /// 416, there are no such bytes.
    Unsatisfiable,
}

/// Decides by the request's headers what to send of a file with `length` bytes and the given strong tag.
pub(super) fn select(headers: &HeaderMap, length: u64, entity_tag: &str) -> Selection {
    if headers.contains_key(header::IF_MATCH) && !lists_tag(headers, header::IF_MATCH, entity_tag, false) {
        return Selection::PreconditionFailed;
    }
    if lists_tag(headers, header::IF_NONE_MATCH, entity_tag, true) {
        return Selection::NotModified;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Selection::Whole };
    // Without the tag that the range was cut by, its bytes would be glued to those of another version.
    if headers.get(header::IF_RANGE).is_some_and(|wanted| wanted.as_bytes() != entity_tag.as_bytes()) {
        return Selection::Whole;
    }
    range.to_str().ok().and_then(|range| parse(range, length)).unwrap_or(Selection::Whole)
}

/// One range in bytes; anything else may be ignored (§14.2), and is.
fn parse(range: &str, length: u64) -> Option<Selection> {
    let (unit, range) = range.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?;
        if suffix == 0 || length == 0 {
            return Some(Selection::Unsatisfiable);
        }
        return Some(Selection::Part { first: length - suffix.min(length), last: length - 1 });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    if first >= length {
        return Some(Selection::Unsatisfiable);
    }
    Some(Selection::Part { first, last: last.min(length - 1) })
}

/// Digits only: `str::parse` would take a sign as well. Numbers that do not fit are as good as the largest.
fn number(digits: &str) -> Option<u64> {
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn lists_tag(headers: &HeaderMap, name: header::HeaderName, entity_tag: &str, weakly: bool) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |candidate| {
            let candidate = candidate.trim();
            let candidate = if weakly { candidate.strip_prefix("W/").unwrap_or(candidate) } else { candidate };
            candidate == "*" || candidate == entity_tag
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(header::HeaderName, &'static str)], length: u64, expected: Selection) {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), http::HeaderValue::from_static(value))).collect();
        assert_eq!(select(&headers, length, "\"tag\""), expected, "{headers:?}");
    }

    #[test]
    fn ranges() {
        let part = |first, last| Selection::Part { first, last };
        for (range, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-5", part(2, 5)),
            ("BYTES=2-", part(2, 9)),
            ("bytes=2-999999999999999999999999", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-30", part(0, 9)),
            ("bytes=9-9", part(9, 9)),
            ("bytes=10-", Selection::Unsatisfiable),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=5-2", Selection::Whole),
            ("bytes=0-1,3-4", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("lines=1-2", Selection::Whole),
            ("nonsense", Selection::Whole),
        ] {
            check(&[(header::RANGE, range)], 10, expected);
        }
        check(&[(header::RANGE, "bytes=0-")], 0, Selection::Unsatisfiable);
        check(&[(header::RANGE, "bytes=-5")], 0, Selection::Unsatisfiable);
        check(&[(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=2-3")], 10, Selection::Whole);
    }

    #[test]
    fn conditions() {
        check(&[], 10, Selection::Whole);
        check(&[(header::IF_NONE_MATCH, "\"other\", W/\"tag\"")], 10, Selection::NotModified);
        check(&[(header::IF_NONE_MATCH, "*"), (header::RANGE, "bytes=0-1")], 10, Selection::NotModified);
        check(&[(header::IF_NONE_MATCH, "\"other\"")], 10, Selection::Whole);
        check(&[(header::IF_MATCH, "\"other\"")], 10, Selection::PreconditionFailed);
        check(&[(header::IF_MATCH, "W/\"tag\"")], 10, Selection::PreconditionFailed);
        check(&[(header::IF_MATCH, "\"other\", \"tag\"")], 10, Selection::Whole);
        let range = (header::RANGE, "bytes=1-2");
        check(&[range.clone(), (header::IF_RANGE, "\"tag\"")], 10, Selection::Part { first: 1, last: 2 });
        check(&[range.clone(), (header::IF_RANGE, "\"other\"")], 10, Selection::Whole);
        check(&[range, (header::IF_RANGE, "Wed, 21 Oct 2015 07:28:00 GMT")], 10, Selection::Whole);
    }
}
