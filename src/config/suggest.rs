//! Suggestions: the name that was probably meant.
//!
//! Called where a name is unknown: of a field, a word, an upstream, a plan.

/// The candidate nearest to `wrong`, if one is near enough to be a slip of the fingers.
pub(super) fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong: Vec<char> = normal(wrong);
    if wrong.len() > LONGEST {
        return None;
    }
    let allowed = match wrong.len() {
        0..=2 => 0,
        3..=5 => 1,
        6..=9 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(wrong.len()) <= allowed)
        .map(|candidate| (distance(&wrong, &normal(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Case and the kind of dash are not what makes two names differ.
fn normal(name: &str) -> Vec<char> {
    name.chars().map(|c| if c == '-' || c == ' ' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours from one to the other (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wrong: &str, expected: Option<&str>) {
        let names = ["upstreams", "routes", "path", "per", "strip_prefix", "max_body_bytes"];
        assert_eq!(nearest(wrong, names), expected, "{wrong}");
    }

    #[test]
    fn slips_of_the_fingers_are_recognised() {
        check("upstream", Some("upstreams"));
        check("upsteams", Some("upstreams"));
        check("ruotes", Some("routes"));
        check("pth", Some("path"));
        check("strip-prefix", Some("strip_prefix"));
        check("Max_Body_Bytes", Some("max_body_bytes"));
    }

    #[test]
    fn other_words_are_left_alone() {
        check("admin", None);
        check("x", None);
        check("", None);
        check(&"a".repeat(1000), None);
    }
}
