//! From checked trees to [`Settings`]: what values mean together.
//!
//! Each part notes its problems and goes on; a part that cannot be made because of a problem is left out, which nobody
//! sees because the configuration is then refused. Called by `config::load`.

mod console;
mod keys;
mod outside;
mod plans;
mod routes;
mod sections;
mod server;
mod sinks;
mod upstreams;
mod usage;
mod wire;

use std::collections::HashMap;

use super::Settings;
use super::fields::ROOT;
use super::node::Node;
use super::problem::Problems;
use super::reader::Reader;
use crate::catalog::RuleSet;

use sections::Sections;

pub(super) use outside::Outside;

/// The settings of the main file and the included ones. `None`: some problem has been noted.
pub(super) fn settings<'n>(
    main: &'n Node<'n>,
    included: &'n [Node<'n>],
    outside: &mut Outside<'_>,
    problems: &mut Problems,
) -> Option<Settings> {
    let root = Reader::new(main, main.at, ROOT);
    let sections = Sections::gather(main, included, problems);
    let mut plan_names = sections.names_of_plans();
    let mut upstream_names = sections.names_of_upstreams();

    if let Some(name) = root.text("default_plan") {
        plan_names.resolve(name, root.at("default_plan"), "`default_plan`", problems);
    }
    let gateway = server::gateway(root, problems);
    let operations = server::operations(root);
    let (admin, data_dir) = server::admin(root, outside, problems);
    let console = console::console(root, problems);
    let vault = console::vault(root, outside, problems);
    let telemetry = server::telemetry(root, outside);
    let sinks = sinks::sinks(root, outside, problems);
    let hasher = wire::hasher(root, outside, problems);
    let wire = wire::wire(root, hasher.clone(), problems);
    let upstreams = upstreams::upstreams(&sections.upstreams, problems);
    let plans = plans::plans(&sections.plans, problems);
    let routes = routes::routes(&sections.routes, &mut upstream_names, &mut plan_names, problems);
    usage::note_quotas_without_store(root, &sections.plans, problems);
    sections.warn_of_unused_upstreams(problems);
    routes::warn_of_costs(&routes, &plans, &sections.routes, problems);
    let common = keys::Common::read(root, hasher, &sections.revoked);
    let taken = HashMap::with_capacity(sections.keys.len());
    let keys =
        keys::Builder { common: &common, plans: &mut plan_names, outside, problems, taken }.build(&sections.keys);

    let default_plan = root.parsed("default_plan");
    let rules = RuleSet { routes, plans, upstreams, default_plan, wire: wire? };
    Some(Settings {
        gateway: gateway?,
        operations,
        admin,
        console,
        vault,
        data_dir,
        telemetry: telemetry?,
        usage: usage::usage(root)?,
        sinks,
        rules,
        keys,
    })
}
