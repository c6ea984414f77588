// Routes, plans and upstreams as the file has them: read only, because the file is where they are edited.

import { html } from "../lib/ui.js";
import { read } from "../lib/api.js";
import { duration, number, rate } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { PageHead } from "../parts/shell.js";
import { Badge, Problem, Waiting } from "../parts/text.js";

export default function Rules() {
    const load = useLoad(async (signal) => {
        const parts = await Promise.all(["routes", "plans", "upstreams"].map((part) => read(`/v1/${part}`, {}, signal)));
        return Object.assign({}, ...parts);
    }, []);
    return html`
        <${PageHead} title="Routes and plans" lead="From the configuration file, and changed there: what is saved is in force at once." />
        <${Problem} error=${load.error} retry=${load.reload} />
        <${Waiting} load=${load} />
        ${load.value && html`<div class="sections">
            <${Table} title="Routes" none="The file has no routes: every request is answered with 404." heads=${["Route", "Address", "Methods", "Who may", "Cost", "Upstream"]}
                rows=${load.value.routes} row=${Route} />
            <${Table} title="Plans" none="The file has no plans: keys have no limits." heads=${["Plan", "Limits", "At once"]} rows=${load.value.plans} row=${Plan} />
            <${Table} title="Upstreams" none="The file has no upstreams." heads=${["Upstream", "Targets", "Response within"]} rows=${load.value.upstreams} row=${Upstream} />
        </div>`}`;
}

function Table({ title, none, heads, rows, row: Row }) {
    return html`<section class="wide" aria-label=${title}>
        <h2 class="table-title">${title}</h2>
        ${rows.length ? html`<div class="table-box" tabindex="0" role="region" aria-label=${`Table of ${title.toLowerCase()}`}><table>
            <thead><tr>${heads.map((head) => html`<th scope="col" key=${head}>${head}</th>`)}</tr></thead>
            <tbody>${rows.map((one) => html`<${Row} key=${one.name} one=${one} />`)}</tbody>
        </table></div>` : html`<p class="faint">${none}</p>`}
    </section>`;
}

function Route({ one }) {
    const conditions = [...one.scopes.map((scope) => ["scope", scope]), ...one.plans.map((plan) => ["plan", plan])];
    return html`<tr>
        <th scope="row"><strong>${one.name}</strong></th>
        <td class="mono wrap">${one.host ?? ""}${one.path}</td>
        <td>${one.methods.length ? one.methods.join(", ") : html`<span class="faint">all</span>`}</td>
        <td><span class="inline">${one.access === "public" ? html`<${Badge} kind="note">everybody<//>` : html`<${Badge} kind="bare">keys<//>`}
            ${conditions.map(([what, name]) => html`<span class="chip" key=${what + name}>${what} ${name}</span>`)}</span></td>
        <td>${number(one.cost)}</td>
        <td>${one.upstream}${one.strip_prefix && html` <span class="faint">without the prefix</span>`}</td>
    </tr>`;
}

function Plan({ one }) {
    return html`<tr>
        <th scope="row"><strong>${one.name}</strong></th>
        <td class="wrap">${one.limits.length ? one.limits.map((limit) => html`<div key=${limit.name}>${rate(limit)}<span class="faint">, ${number(limit.burst)} at once · ${limit.name}</span></div>`) : html`<span class="faint">no limits</span>`}</td>
        <td>${one.concurrency === null ? html`<span class="faint">any number</span>` : number(one.concurrency)}</td>
    </tr>`;
}

function Upstream({ one }) {
    return html`<tr>
        <th scope="row"><strong>${one.name}</strong></th>
        <td class="mono wrap">${one.targets.map((target) => html`<div key=${target}>${target}</div>`)}</td>
        <td>${one.response_timeout_seconds === null ? html`<span class="faint">any time</span>` : duration(one.response_timeout_seconds)}</td>
    </tr>`;
}
