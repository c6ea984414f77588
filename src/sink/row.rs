//! A bucket as receivers read it: JSON with fields in a fixed order, and CSV.
//!
//! The same bucket gives the same bytes at every sending: no map without an order, nothing of now.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::Serialize;

use crate::meter::Bucket;
use crate::meter::ledger::Band;
use crate::telemetry::log::Rfc3339;
use crate::time::Timestamp;

/// A bucket as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Row<'b> {
    id: String,
    minute: String,
    key: Option<&'b str>,
    owner: Option<&'b str>,
    plan: Option<&'b str>,
    route: Option<&'b str>,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    requests: u64,
    units: u64,
    bytes_in: u64,
    bytes_out: u64,
    latency_ns: u64,
    took: Took,
    doubtful: bool,
}

#[derive(Debug, Serialize)]
struct Took {
    under_10ms: u64,
    under_100ms: u64,
    under_1s: u64,
    over_1s: u64,
}

impl<'b> Row<'b> {
    pub(super) fn of(bucket: &'b Bucket) -> Self {
        let [under_10ms, under_100ms, under_1s, over_1s] = bucket.took;
        Self {
            id: bucket.id.to_string(),
            minute: time(bucket.minute.start()),
            key: bucket.key.as_ref().map(|key| key.as_str()),
            owner: bucket.owner.as_ref().map(|owner| owner.as_str()),
            plan: bucket.plan.as_ref().map(|plan| plan.as_str()),
            route: bucket.route.as_ref().map(|route| route.as_str()),
            class: bucket.class.label(),
            code: bucket.class.code(),
            requests: bucket.amount.requests,
            units: bucket.amount.units,
            bytes_in: bucket.amount.bytes_in,
            bytes_out: bucket.amount.bytes_out,
            latency_ns: bucket.amount.latency_ns,
            took: Took { under_10ms, under_100ms, under_1s, over_1s },
            doubtful: bucket.is_doubtful,
        }
    }
}

/// JSON of something that has no way to fail: no maps with strange keys in it.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("structs of texts and numbers are JSON")
}

/// RFC 3339 in UTC.
pub(super) fn time(at: Timestamp) -> String {
    Rfc3339(at).to_string()
}

/// The first line of a CSV file.
pub(super) fn csv_head() -> String {
    let mut line =
        String::from("id,minute,key,owner,plan,route,class,code,requests,units,bytes_in,bytes_out,latency_ns");
    Band::ALL.iter().for_each(|band| line.extend([",", band.label()]));
    line.push_str(",doubtful\r\n");
    line
}

/// A line of a CSV file.
pub(super) fn csv_line(bucket: &Bucket) -> String {
    let row = Row::of(bucket);
    let texts =
        [Some(&*row.id), Some(&*row.minute), row.key, row.owner, row.plan, row.route, Some(row.class), row.code];
    let mut line = texts.map(|text| quoted(text.unwrap_or_default())).join(",");
    let numbers = [row.requests, row.units, row.bytes_in, row.bytes_out, row.latency_ns];
    for number in numbers.iter().chain(&bucket.took) {
        write!(line, ",{number}").expect("a String takes every write");
    }
    write!(line, ",{}\r\n", row.doubtful).expect("a String takes every write");
    line
}

fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::tests::bucket;

    #[test]
    fn a_bucket_has_one_form_in_json_and_one_in_csv() {
        let mut bucket = bucket(1, "acme, \"inc\"", 7);
        bucket.took = [1, 2, 3, 4];
        assert_eq!(
            String::from_utf8(json(&Row::of(&bucket))).unwrap(),
            "{\"id\":\"00000000000000000000000000000001\",\"minute\":\"2026-07-01T12:00:00.000Z\",\"key\":\"key_1\",\
             \"owner\":\"acme, \\\"inc\\\"\",\"plan\":null,\"route\":\"orders\",\"class\":\"2xx\",\"requests\":7,\"units\":7,\
             \"bytes_in\":0,\"bytes_out\":0,\"latency_ns\":0,\"took\":{\"under_10ms\":1,\"under_100ms\":2,\"under_1s\":3,\
             \"over_1s\":4},\"doubtful\":false}"
        );
        assert_eq!(
            csv_line(&bucket),
            "00000000000000000000000000000001,2026-07-01T12:00:00.000Z,key_1,\"acme, \"\"inc\"\"\",,orders,2xx,,7,7,0,0,0,\
             1,2,3,4,false\r\n"
        );
        assert_eq!(csv_head().split(',').count(), csv_line(&bucket).replace(", ", "").split(',').count());
    }
}
