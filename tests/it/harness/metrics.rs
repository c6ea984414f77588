//! A scrape of `/metrics`, read as Prometheus reads it.

/// The samples of one scrape.
pub(crate) struct Metrics {
    text: String,
}

impl Metrics {
    pub(crate) fn new(text: String) -> Self {
        Self { text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether there is a sample of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.samples(name).next().is_some()
    }

    /// The sum of all samples of this name that carry all these labels; 0 if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        self.samples(name)
            .filter(|(own, _)| wanted.iter().all(|label| has_label(own, label)))
            .map(|(_, value)| value)
            .sum()
    }

    fn samples(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.text.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let whole_name = labels.is_empty() || labels.starts_with('{');
            Some((labels, value.parse().ok()?)).filter(|_| whole_name)
        })
    }
}

fn has_label(labels: &str, wanted: &str) -> bool {
    let inner = labels.trim_start_matches('{').trim_end_matches('}');
    inner.split(',').any(|label| label == wanted)
}

#[test]
fn samples_are_summed_over_the_labels_that_are_not_asked_for() {
    let metrics = Metrics::new("a{x=\"1\",y=\"1\"} 2\na{x=\"1\",y=\"2\"} 3\nab 7\nc 4\n".to_owned());
    assert_eq!(metrics.sum("a", &[("x", "1")]), 5.0);
    assert_eq!(metrics.sum("a", &[("y", "2")]), 3.0);
    assert_eq!(metrics.sum("c", &[]), 4.0);
    assert!(!metrics.has("b"));
}
