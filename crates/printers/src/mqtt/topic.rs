//! Topics, and filters that match them (MQTT 3.1.1 §4.7).

/// Bytes of a topic or filter; printers' have some 60.
const MAX_LENGTH: usize = 1024;
/// Levels of a filter. Matching takes a step for each.
const MAX_LEVELS: usize = 32;

/// Whether a message can be published under this.
pub(crate) fn is_topic(topic: &str) -> bool {
    is_text(topic) && !topic.contains(['+', '#'])
}

/// Whether this can be subscribed to: wildcards stand for whole levels, `#` for the last ones.
pub(crate) fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    let mut n_levels = 0;
    while let Some(level) = levels.next() {
        n_levels += 1;
        let is_last = levels.peek().is_none();
        let is_level = match level {
            "+" => true,
            "#" => is_last,
            level => !level.contains(['+', '#']),
        };
        if !is_level {
            return false;
        }
    }
    is_text(filter) && n_levels <= MAX_LEVELS
}

/// Whether a filter matches a topic.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    // What the broker says of itself is for those who ask for it by name.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            // `a/#` matches `a` too.
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(actual)) if level == actual => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_LENGTH && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        for (filter, topic, expected) in [
            ("device/1/report", "device/1/report", true),
            ("device/+/report", "device/1/report", true),
            ("device/#", "device/1/report", true),
            ("device/#", "device", true),
            ("#", "device/1", true),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("device/+", "device", false),
            ("device/+", "device/", true),
            ("device/+", "device/1/report", false),
            ("device", "Device", false),
            ("#", "$SYS/uptime", false),
            ("+/uptime", "$SYS/uptime", false),
            ("$SYS/#", "$SYS/uptime", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn bad_ones_are_known() {
        let long = "a".repeat(MAX_LENGTH + 1);
        let deep = "+/".repeat(MAX_LEVELS);
        for filter in ["", "#/a", "a#", "a/b#", "a+", "+a/b", "a\0", long.as_str(), deep.as_str()] {
            assert!(!is_filter(filter), "{filter}");
        }
        for filter in ["#", "+", "a/#", "+/+/#", "/", "$SYS/#", " "] {
            assert!(is_filter(filter), "{filter}");
        }
        for topic in ["", "a/+", "#", "a\0", long.as_str()] {
            assert!(!is_topic(topic), "{topic}");
        }
        assert!(is_topic("device/1/report") && is_topic("/"));
    }
}
