//! What the kernel counts of this process, under the names that every Prometheus client uses.
//!
//! Read from `/proc` at each scrape (proc(5)); what cannot be read is left out.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::metrics::{
    Family, PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_MEMORY, PROCESS_START_TIME,
    PROCESS_THREADS, PROCESS_VIRTUAL_MEMORY,
};

/// The collector of `process_*`.
pub(super) struct Process {
    descs: Vec<Desc>,
    /// Unix time of the machine's start, in seconds.
    booted: Option<u64>,
}

impl Process {
    pub(super) fn new() -> Self {
        let booted = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
        Self { descs: FAMILIES.iter().map(|family| family.desc()).collect(), booted }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Vec::with_capacity(FAMILIES.len());
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text)) {
            families.extend(stat.families(self.booted));
        }
        families.extend(open_fds().map(|n| PROCESS_OPEN_FDS.value(n as f64)));
        families.extend(getrlimit(Resource::Nofile).current.map(|n| PROCESS_MAX_FDS.value(n as f64)));
        families
    }
}

/// The fields of `/proc/self/stat` that we use.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may hold anything, parentheses too.
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }

    fn families(&self, booted: Option<u64>) -> Vec<MetricFamily> {
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        let mut families = vec![
            PROCESS_VIRTUAL_MEMORY.value(self.virtual_bytes as f64),
            PROCESS_RESIDENT_MEMORY.value(self.resident_pages as f64 * page_size() as f64),
            PROCESS_THREADS.value(self.threads as f64),
            PROCESS_CPU.fraction(seconds(self.cpu_ticks)),
        ];
        families.extend(booted.map(|booted| PROCESS_START_TIME.value(booted as f64 + seconds(self.start_ticks))));
        families
    }
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_fds() -> Option<usize> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // Reading the folder took one itself.
    Some(open.saturating_sub(1))
}

static FAMILIES: [&Family; 7] = [
    &PROCESS_CPU,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_VIRTUAL_MEMORY,
    &PROCESS_RESIDENT_MEMORY,
    &PROCESS_START_TIME,
    &PROCESS_THREADS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 3 0 1000 8192 9 18446744073709551615";
        let expected = Stat { cpu_ticks: 12, threads: 3, start_ticks: 1000, virtual_bytes: 8192, resident_pages: 9 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("42 (keygate) S 1"), None);
    }

    #[test]
    fn the_boot_time_is_found_among_the_other_lines() {
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
        assert_eq!(boot_time("cpu 1 2\n"), None);
    }

    #[test]
    fn this_process_shows_plausible_numbers() {
        let families = Process::new().collect();
        let value = |wanted: &Family| {
            let family = families.iter().find(|family| family.name() == wanted.name).unwrap();
            family.get_metric()[0].get_gauge().get_value()
        };
        assert_eq!(families.len(), FAMILIES.len());
        assert!(value(&PROCESS_RESIDENT_MEMORY) > 1e6);
        assert!(value(&PROCESS_VIRTUAL_MEMORY) > value(&PROCESS_RESIDENT_MEMORY));
        assert!((3.0..=value(&PROCESS_MAX_FDS)).contains(&value(&PROCESS_OPEN_FDS)));
        let now = crate::time::wall(crate::time::now()).as_unix_s() as f64;
        assert!((now - value(&PROCESS_START_TIME)).abs() < 86_400.0);
    }
}
