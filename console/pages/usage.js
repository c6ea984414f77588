// Usage: requests over time as a chart, the same as a table, and as CSV.

import { html, useState } from "../lib/ui.js";
import { announce } from "../lib/announce.js";
import { read } from "../lib/api.js";
import { csv, saveFile } from "../lib/csv.js";
import { bytes, isolated, number, share } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { link, replaceQuery } from "../lib/route.js";
import { useSession } from "../lib/session.js";
import { fromFirst, stretches, usage } from "../lib/usage.js";
import { Icon } from "../parts/icons.js";
import { PageHead } from "../parts/shell.js";
import { Code, Empty, Problem, Waiting } from "../parts/text.js";
import { curlLine } from "../lib/curl.js";
import { UsageChart } from "../parts/usage-chart.js";

const DAYS = 30;

export default function Usage({ query }) {
    const session = useSession();
    const who = session.isOwner || !query.owner ? {} : { owner: query.owner };
    const [owner, setOwner] = useState(query.owner ?? "");
    const table = useLoad((signal) => tableOf(who, session, signal), [query.owner]);
    const isUnused = table.value?.rows && table.value.rows.length === 0;
    const choose = (event) => {
        event.preventDefault();
        replaceQuery(owner.trim() ? { owner: owner.trim() } : {});
    };
    return html`
        <${PageHead} title="Usage" lead=${session.isOwner ? "Requests with your keys." : query.owner ? html`Requests of <bdi>${query.owner}</bdi>.` : "Requests of all owners."}>
            ${table.value?.rows?.length > 0 && html`<button type="button" onClick=${() => save(who, session)}><${Icon} name="down" />CSV</button>`}
        <//>
        ${session.seesAll && html`<form class="filters" onSubmit=${choose} role="search" aria-label="Usage">
            <label class="search"><span class="unseen">Owner</span><${Icon} name="search" /><input type="search" placeholder="One owner only" value=${owner} onInput=${(event) => setOwner(event.target.value)} autocomplete="off" spellcheck="false" /></label>
            <button>Show</button>
        </form>`}
        <div class="sections">
            <${UsageChart} who=${who} title="Requests" splits=${session.isOwner || query.owner ? [["plan", "By plan"]] : [["owner", "By owner"], ["plan", "By plan"]]} />
            <div class="wide">
                <${Problem} error=${table.error} retry=${table.reload} />
                <${Waiting} load=${table} />
                ${isUnused && html`<${Empty} icon="chart" title="No requests in the last 30 days"><p>The first request with a key shows here within a minute:</p><${Code} text=${curlLine(session, "kg_live_…")} label="Copy the command" /><//>`}
                ${table.value?.rows?.length > 0 && html`<${Table} table=${table.value} />`}
            </div>
        </div>`;
}

/** By owner for those who see all of them, else by key; the busiest first. */
async function tableOf(who, session, signal) {
    const dimension = session.isOwner || who.owner ? "key" : "owner";
    const starts = stretches("day", Date.now(), DAYS);
    const asked = { ...who, by: "day", from: fromFirst(starts), limit: 1000 };
    const [answer, names] = await Promise.all([usage({ ...asked, group: `${dimension},class` }, signal), dimension === "key" ? keyNames(who, signal) : new Map()]);
    return answer && { dimension, names, rows: summed(answer.rows, dimension), isCut: Boolean(answer.next) };
}

async function keyNames(who, signal) {
    const { keys } = await read("/v1/keys", { ...who, limit: 1000 }, signal);
    return new Map(keys.map((key) => [key.id, key.name]));
}

function summed(rows, dimension) {
    const sums = new Map();
    for (const row of rows) {
        const name = row[dimension];
        const sum = sums.get(name) ?? { name, requests: 0, refused: 0, failed: 0, bytes: 0, seconds: 0 };
        sum.requests += row.requests;
        sum.refused += row.class === "denied" || row.class === "4xx" ? row.requests : 0;
        sum.failed += row.class === "5xx" || row.class === "upstream_failed" ? row.requests : 0;
        sum.bytes += row.bytes_out;
        sum.seconds += row.latency_seconds;
        sums.set(name, sum);
    }
    return [...sums.values()].sort((a, b) => b.requests - a.requests);
}

function Table({ table }) {
    const { dimension, names, rows } = table;
    return html`<section aria-label="Last 30 days">
        <h2 class="table-title">Last 30 days by ${dimension}</h2>
        <div class="table-box" tabindex="0" role="region" aria-label="Table of usage"><table>
            <thead><tr><th scope="col">${dimension === "key" ? "Key" : "Owner"}</th><th scope="col" class="number">Requests</th><th scope="col" class="number">Refused</th>
                <th scope="col" class="number">Failed</th><th scope="col" class="number">Mean time</th><th scope="col" class="number">Sent</th></tr></thead>
            <tbody>${rows.slice(0, MOST_ROWS).map((row) => html`<tr key=${row.name}>
                <th scope="row"><${Who} dimension=${dimension} row=${row} names=${names} /></th>
                <td class="number">${number(row.requests)}</td>
                <td class="number">${share(row.refused, row.requests)}</td>
                <td class="number">${share(row.failed, row.requests)}</td>
                <td class="number">${number(Math.round((row.seconds / row.requests) * 1000))} ms</td>
                <td class="number">${bytes(row.bytes)}</td>
            </tr>`)}</tbody>
        </table></div>
        ${(rows.length > MOST_ROWS || table.isCut) && html`<p class="hint table-note">The busiest ${number(Math.min(rows.length, MOST_ROWS))} are shown.</p>`}
    </section>`;
}

function Who({ dimension, row, names }) {
    if (row.name === null) return html`<span class="faint">${dimension === "key" ? "without a known key" : "without an owner"}</span>`;
    const text = dimension === "key" ? names.get(row.name) ?? row.name : row.name;
    const target = dimension === "key" ? link(["keys", row.name]) : link(["usage"], { owner: row.name });
    return html`<a class="plain-link" href=${target} title=${isolated(row.name)}><bdi class="name usage-name">${text}</bdi></a>`;
}

/** One line per day, key and status. */
async function save(who, session) {
    try {
        const starts = stretches("day", Date.now(), DAYS);
        const asked = { ...who, by: "day", from: fromFirst(starts), limit: 1000, group: "owner,key,route,class" };
        const [answer, names] = await Promise.all([usage(asked, undefined, 100), keyNames(who)]);
        const head = ["day", "owner", "key", "name", "route", "status", "requests", "units", "bytes_in", "bytes_out", "latency_seconds"];
        const lines = answer.rows.map((row) => [row.start.slice(0, 10), row.owner, row.key, names.get(row.key) ?? "", row.route, row.class, row.requests, row.units, row.bytes_in, row.bytes_out, row.latency_seconds]);
        saveFile(`usage-${(who.owner ?? session.owner ?? "all").replace(/[^\w-]+/g, "_")}-${new Date().toISOString().slice(0, 10)}.csv`, "text/csv", csv([head, ...lines]));
        announce("The CSV file was made.");
    } catch (refused) {
        announce(refused.message);
    }
}

const MOST_ROWS = 100;
