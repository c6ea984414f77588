//! Adds up the words of all threads when somebody asks.
//!
//! The only place that turns our counters into the `prometheus` crate's families. Called through the registry of
//! `metrics`, on the control thread. Series of the large cross products are left out while they count nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, MetricFamily};

use super::metrics::{self as declared, Family, GATEWAY_BOUNDS, Series, TOTAL_BOUNDS};
use super::thread::{RouteMetrics, STATUS_CLASSES, ThreadMetrics, UpstreamResult};
use super::usage::SinkFigures;
use super::words::{Bounds, HistogramTotals};

/// The collector of everything but the process itself.
pub(super) struct Gatherer {
    series: Arc<Series>,
    descs: Vec<Desc>,
}

impl Gatherer {
    pub(super) fn new(series: Arc<Series>) -> Self {
        Self { series, descs: FAMILIES.iter().map(|family| family.desc()).collect() }
    }
}

impl Collector for Gatherer {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let threads: Vec<(usize, Arc<ThreadMetrics>)> = {
            let threads = self.series.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.iter().map(|(&index, thread)| (index, Arc::clone(thread))).collect()
        };
        let mut families = routes(&self.series, &threads);
        families.push(denials(&self.series, &threads));
        families.push(targets(&threads));
        families.extend(connections(&threads));
        families.extend(configuration(&self.series));
        families.extend(access_log(&self.series, &threads));
        families.extend(usage(&self.series, &threads));
        families.extend(sinks(&self.series));
        families.push(declared::BUILD.of(vec![gauge(&declared::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0)]));
        families
    }
}

type Threads = [(usize, Arc<ThreadMetrics>)];

/// What all threads counted of one route.
#[derive(Default)]
struct RouteTotals {
    total: HistogramTotals,
    gateway: HistogramTotals,
    /// By status class and outcome label, non-zero ones only.
    requests: BTreeMap<(usize, &'static str), u64>,
}

impl RouteTotals {
    fn add(&mut self, route: &RouteMetrics, outcomes: &[&'static str]) {
        let (total, gateway) = route.histograms();
        self.total.add(total);
        self.gateway.add(gateway);
        for (row, outcome) in route.requests().iter().zip(outcomes) {
            for (class, word) in row.0.iter().enumerate().filter(|(_, word)| word.value() != 0) {
                *self.requests.entry((class, *outcome)).or_default() += word.value();
            }
        }
    }
}

fn routes(series: &Series, threads: &Threads) -> Vec<MetricFamily> {
    let mut routes: BTreeMap<Box<str>, RouteTotals> = BTreeMap::new();
    for (_, thread) in threads {
        for (name, route) in thread.routes().iter() {
            routes.entry(name.clone()).or_default().add(route, series.outcomes);
        }
    }
    routes.retain(|_, totals| !totals.requests.is_empty());
    let requests = routes.iter().flat_map(|(name, totals)| {
        totals.requests.iter().map(move |((class, outcome), count)| {
            counter(&declared::REQUESTS, &[name, STATUS_CLASSES[*class], outcome], *count)
        })
    });
    let durations = |family: &Family, bounds: &Bounds, read: fn(&RouteTotals) -> &HistogramTotals| {
        let row = |(name, totals)| histogram(family, &[name], bounds, read(totals));
        family.of(routes.iter().map(|(name, totals)| (&**name, totals)).map(row).collect())
    };
    vec![
        declared::REQUESTS.of(requests.collect()),
        durations(&declared::REQUEST_DURATION, &TOTAL_BOUNDS, |totals| &totals.total),
        durations(&declared::GATEWAY_DURATION, &GATEWAY_BOUNDS, |totals| &totals.gateway),
    ]
}

fn denials(series: &Series, threads: &Threads) -> MetricFamily {
    let mut totals: BTreeMap<(&str, &str), u64> = series.denials.iter().map(|&labels| (labels, 0)).collect();
    for (_, thread) in threads {
        for (word, labels) in thread.denials().iter().zip(series.denials) {
            *totals.entry(*labels).or_default() += word.value();
        }
    }
    let rows = totals.into_iter().map(|((code, reason), count)| counter(&declared::DENIALS, &[code, reason], count));
    declared::DENIALS.of(rows.collect())
}

fn targets(threads: &Threads) -> MetricFamily {
    let mut totals: BTreeMap<(Box<str>, Box<str>, &str), u64> = BTreeMap::new();
    for (_, thread) in threads {
        for ((upstream, target), metrics) in thread.targets().iter() {
            for result in UpstreamResult::ALL.into_iter().filter(|&result| metrics.count(result) != 0) {
                let labels = (upstream.clone(), target.clone(), result.label());
                *totals.entry(labels).or_default() += metrics.count(result);
            }
        }
    }
    let row = |((upstream, target, result), n): (&(Box<str>, Box<str>, &str), &u64)| {
        counter(&declared::UPSTREAM_REQUESTS, &[upstream, target, result], *n)
    };
    declared::UPSTREAM_REQUESTS.of(totals.iter().map(row).collect())
}

fn connections(threads: &Threads) -> Vec<MetricFamily> {
    let sum = |read: fn(&ThreadMetrics) -> i64| threads.iter().map(|(_, thread)| read(thread)).sum::<i64>();
    let open = |side, state, read| gauge(&declared::CONNECTIONS, &[side, state], sum(read) as f64);
    let accepted = |(index, thread): &(usize, Arc<ThreadMetrics>)| {
        counter(&declared::CONNECTIONS_ACCEPTED, &[&index.to_string()], thread.accepted.value())
    };
    vec![
        declared::CONNECTIONS.of(vec![
            open("client", "active", |thread| thread.client_connections.active.value()),
            open("client", "idle", |thread| thread.client_connections.idle.value()),
            open("upstream", "active", |thread| thread.upstream_connections.active.value()),
            open("upstream", "idle", |thread| thread.upstream_connections.idle.value()),
        ]),
        declared::CONNECTIONS_ACCEPTED.of(threads.iter().map(accepted).collect()),
        declared::CONNECTIONS_REFUSED.count(total(threads, |thread| thread.refused.value())),
        declared::ACCEPT_ERRORS.count(total(threads, |thread| thread.accept_errors.value())),
        declared::CONNECTION_PANICS.count(total(threads, |thread| thread.connection_panics.value())),
    ]
}

fn configuration(series: &Series) -> Vec<MetricFamily> {
    let control = &series.control;
    let keys = ["active", "disabled", "revoked"].into_iter().zip(&control.keys);
    let reloads = [("applied", &control.reloads_applied), ("refused", &control.reloads_refused)];
    let reload = |(result, word): (&str, &AtomicU64)| {
        counter(&declared::CONFIG_RELOADS, &[result], word.load(Ordering::Relaxed))
    };
    vec![
        declared::KEYS
            .of(keys.map(|(state, n)| gauge(&declared::KEYS, &[state], n.load(Ordering::Relaxed) as f64)).collect()),
        declared::REVISION.value(control.revision.load(Ordering::Relaxed) as f64),
        declared::UNREADABLE.value(control.unreadable.load(Ordering::Relaxed) as f64),
        declared::CONFIG_GENERATION.value(control.generation.load(Ordering::Relaxed) as f64),
        declared::CONFIG_LAST_RELOAD_SUCCESS.value(control.last_reload_applied.load(Ordering::Relaxed) as f64),
        declared::CONFIG_RELOADS.of(reloads.into_iter().map(reload).collect()),
        declared::LAST_CHANGE.value(control.last_change_ms.load(Ordering::Relaxed) as f64 / 1e3),
    ]
}

fn access_log(series: &Series, threads: &Threads) -> [MetricFamily; 2] {
    let control = &series.control;
    let dropped = total(threads, |thread| thread.access_log_dropped.value());
    [
        declared::ACCESS_LOG_DROPPED.count(dropped + control.access_log_lost.load(Ordering::Relaxed)),
        declared::ACCESS_LOG_WRITE_ERRORS.count(control.access_log_write_errors.load(Ordering::Relaxed)),
    ]
}

fn usage(series: &Series, threads: &Threads) -> [MetricFamily; 6] {
    let mut units: BTreeMap<Box<str>, u64> = BTreeMap::new();
    for (_, thread) in threads {
        for (plan, word) in thread.plans().iter() {
            *units.entry(plan.clone()).or_default() += word.value();
        }
    }
    let control = &series.control;
    [
        declared::USAGE_UNITS.of(units.iter().map(|(plan, n)| counter(&declared::USAGE_UNITS, &[plan], *n)).collect()),
        declared::USAGE_LAG.value(control.usage_lag_ms.load(Ordering::Relaxed) as f64 / 1e3),
        declared::USAGE_IN_MEMORY.value(control.usage_in_memory.load(Ordering::Relaxed) as f64),
        declared::USAGE_GIVEN_UP.count(control.usage_given_up.load(Ordering::Relaxed)),
        declared::USAGE_LOST.count(control.usage_lost.load(Ordering::Relaxed)),
        declared::USAGE_SEAL_AGE.value(control.usage_seal_age_s.load(Ordering::Relaxed) as f64),
    ]
}

fn sinks(series: &Series) -> [MetricFamily; 7] {
    let sinks = series.control.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let rows =
        |row: &dyn Fn(&SinkFigures) -> proto::Metric| sinks.iter().flat_map(|sinks| sinks.iter()).map(row).collect();
    let gauges = |family: &Family, value: fn(&SinkFigures) -> f64| {
        family.of(rows(&|sink| gauge(family, &[&sink.sink, sink.queue], value(sink))))
    };
    let counters = |family: &Family, value: fn(&SinkFigures) -> u64| {
        family.of(rows(&|sink| counter(family, &[&sink.sink, sink.queue], value(sink))))
    };
    [
        gauges(&declared::SINK_WAITING, |sink| sink.waiting as f64),
        gauges(&declared::SINK_LAG, |sink| sink.lag.as_secs_f64()),
        gauges(&declared::SINK_SET_ASIDE, |sink| sink.set_aside as f64),
        counters(&declared::SINK_TAKEN, |sink| sink.taken),
        counters(&declared::SINK_FAILURES, |sink| sink.failures),
        gauges(&declared::SINK_ALARM, |sink| f64::from(u8::from(sink.is_alarming))),
        gauges(&declared::SINK_PAUSED, |sink| f64::from(u8::from(sink.is_paused))),
    ]
}

fn total(threads: &Threads, read: fn(&ThreadMetrics) -> u64) -> u64 {
    threads.iter().map(|(_, thread)| read(thread)).sum()
}

impl Family {
    /// The family with these metrics.
    pub(super) fn of(&self, metrics: Vec<proto::Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }

    /// The family of one counter without labels.
    pub(super) fn count(&self, n: u64) -> MetricFamily {
        self.of(vec![counter(self, &[], n)])
    }

    /// The family of one counter without labels that counts parts, such as of seconds.
    pub(super) fn fraction(&self, n: f64) -> MetricFamily {
        let mut counter = proto::Counter::default();
        counter.set_value(n);
        let mut metric = self.metric(&[]);
        metric.set_counter(counter);
        self.of(vec![metric])
    }

    /// The family of one gauge without labels.
    pub(super) fn value(&self, value: f64) -> MetricFamily {
        self.of(vec![gauge(self, &[], value)])
    }

    fn metric(&self, values: &[&str]) -> proto::Metric {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        proto::Metric::from_label(self.labels.iter().zip(values).map(pair).collect())
    }
}

fn counter(family: &Family, labels: &[&str], n: u64) -> proto::Metric {
    let mut counter = proto::Counter::default();
    counter.set_value(n as f64);
    let mut metric = family.metric(labels);
    metric.set_counter(counter);
    metric
}

fn gauge(family: &Family, labels: &[&str], value: f64) -> proto::Metric {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = family.metric(labels);
    metric.set_gauge(gauge);
    metric
}

fn histogram(family: &Family, labels: &[&str], bounds: &Bounds, totals: &HistogramTotals) -> proto::Metric {
    let mut cumulative = 0;
    let buckets = bounds.iter().zip(totals.counts).map(|(&bound_ns, count)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(seconds(bound_ns));
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(totals.counts.iter().sum());
    histogram.set_sample_sum(seconds(totals.sum_ns));
    let mut metric = family.metric(labels);
    metric.set_histogram(histogram);
    metric
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

static FAMILIES: [&Family; 33] = [
    &declared::REQUESTS,
    &declared::REQUEST_DURATION,
    &declared::GATEWAY_DURATION,
    &declared::DENIALS,
    &declared::KEYS,
    &declared::REVISION,
    &declared::UNREADABLE,
    &declared::CONFIG_GENERATION,
    &declared::CONFIG_LAST_RELOAD_SUCCESS,
    &declared::CONFIG_RELOADS,
    &declared::LAST_CHANGE,
    &declared::CONNECTIONS,
    &declared::CONNECTIONS_ACCEPTED,
    &declared::CONNECTIONS_REFUSED,
    &declared::ACCEPT_ERRORS,
    &declared::CONNECTION_PANICS,
    &declared::UPSTREAM_REQUESTS,
    &declared::ACCESS_LOG_DROPPED,
    &declared::ACCESS_LOG_WRITE_ERRORS,
    &declared::USAGE_UNITS,
    &declared::USAGE_LAG,
    &declared::USAGE_IN_MEMORY,
    &declared::USAGE_GIVEN_UP,
    &declared::USAGE_LOST,
    &declared::USAGE_SEAL_AGE,
    &declared::SINK_WAITING,
    &declared::SINK_LAG,
    &declared::SINK_SET_ASIDE,
    &declared::SINK_TAKEN,
    &declared::SINK_FAILURES,
    &declared::SINK_ALARM,
    &declared::SINK_PAUSED,
    &declared::BUILD,
];

#[cfg(test)]
mod tests {
    use crate::telemetry::Metrics;

    #[test]
    fn an_idle_program_shows_its_gauges_and_denials_but_no_requests() {
        let text = Metrics::new(&["forwarded"], &[("key_missing", "missing")]).render();
        assert!(text.contains("keygate_denials_total{code=\"key_missing\",reason=\"missing\"} 0"), "{text}");
        assert!(text.contains("keygate_connections{side=\"client\",state=\"idle\"} 0"), "{text}");
        assert!(!text.contains("keygate_requests_total"), "{text}");
    }
}
