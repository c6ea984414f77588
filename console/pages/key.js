// One key: what it is, what it may use and has used, and what happened to it.

import { html } from "../lib/ui.js";
import { Refused, keyPath, read } from "../lib/api.js";
import { count, isolated, livingSecrets } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { link } from "../lib/route.js";
import { useSession } from "../lib/session.js";
import { recentChanges } from "../lib/audit.js";
import { AuditDetail, actionWord } from "../parts/audit-text.js";
import { Icon } from "../parts/icons.js";
import { useKeyActions } from "../parts/key-actions.js";
import { Limits } from "../parts/limits.js";
import { RevealStored } from "../parts/reveal-stored.js";
import { Secrets } from "../parts/rotate-dialog.js";
import { PageHead } from "../parts/shell.js";
import { CopyButton, Empty, Name, Problem, State, Time, Waiting } from "../parts/text.js";
import { UsageChart } from "../parts/usage-chart.js";

export default function Key({ id }) {
    const load = useLoad((signal) => read(keyPath(id), {}, signal), [id]);
    const actions = useKeyActions(load.reload);
    const back = { href: "#/keys", label: "API Keys" };
    if (load.error?.status === 404) {
        return html`<${PageHead} title="No such key" back=${back} />
            <${Empty} icon="key" title="There is no key with this id">
                <p>It may belong to somebody else, or the address is not complete.</p>
                <p><a class="button" href="#/keys">Show all keys</a></p>
            <//>`;
    }
    const key = load.value?.key;
    if (!key) return html`<${PageHead} title="API key" back=${back} /><${Problem} error=${load.error} retry=${load.reload} /><${Waiting} load=${load} />`;
    const items = actions.items(key);
    return html`
        <${PageHead} title=${html`<${Name} text=${key.name} />`} tab=${isolated(key.name)} back=${back}
            lead=${html`<${State} apiKey=${key} />`}>
            ${items.map((item) => html`<button type="button" key=${item.label} onClick=${item.onChoose}><${Icon} name=${item.icon} />${item.label}</button>`)}
        <//>
        <${Problem} error=${load.error} retry=${load.reload} />
        ${key.conflict && html`<p class="notice">${key.conflict}</p>`}
        <div class="sections">
            <${Facts} apiKey=${key} />
            <${Allowance} id=${id} />
            <${UsageChart} who=${{ key: id }} />
            <${SecretsCard} apiKey=${key} />
            <${Changes} apiKey=${key} />
        </div>
        ${actions.dialog}`;
}

function Facts({ apiKey }) {
    const session = useSession();
    const owner = apiKey.owner && html`<a href=${link(["keys"], { owner: apiKey.owner })}><bdi>${apiKey.owner}</bdi></a>`;
    const rows = [
        ["Id", html`<span class="inline"><span class="mono">${apiKey.id}</span><${CopyButton} text=${apiKey.id} label="Copy the id" said=${`Copied the id ${apiKey.id}.`} /></span>`],
        session.seesAll && ["Owner", owner ?? html`<span class="faint">none</span>`],
        ["Plan", apiKey.plan ?? "the default plan"],
        ["Scopes", html`<${Chips} texts=${apiKey.scopes} none="none" />`],
        ["Networks", html`<${Chips} texts=${apiKey.networks} none="anywhere" />`],
        apiKey.not_before && ["Valid from", html`<${Time} at=${apiKey.not_before} />`],
        ["Created", html`<${Time} at=${apiKey.created} none="in the configuration file" />`],
        ["Last used", html`<${Time} at=${apiKey.last_used} />`],
        ["Expires", html`<${Time} at=${apiKey.expires} />`],
    ];
    return html`<section class="card" aria-label="Facts"><h2>Key</h2><dl class="facts">
        ${rows.filter(Boolean).map(([term, value]) => html`<dt key=${term}>${term}</dt><dd>${value}</dd>`)}
    </dl></section>`;
}

function Chips({ texts, none }) {
    if (!texts.length) return html`<span class="faint">${none}</span>`;
    return html`<span class="chips">${texts.map((text) => html`<span class="chip" key=${text}>${text}</span>`)}</span>`;
}

function Allowance({ id }) {
    const load = useLoad((signal) => read(keyPath(id, "/allowance"), {}, signal).catch(absent), [id]);
    const { value } = load;
    const isBare = value && !value.limits.length && !value.quotas.length;
    return html`<section class="card" aria-label="Limits"><h2>Limits</h2>
        <${Problem} error=${load.error} retry=${load.reload} />
        <${Waiting} load=${load} />
        ${value === null && html`<p class="faint">This gateway does not tell what remains of limits.</p>`}
        ${isBare && html`<p class="faint">This key has no limits${value.plan ? "" : ": it is on no plan"}.</p>`}
        ${value && !isBare && html`<${Limits} limits=${value.limits} quotas=${value.quotas} />`}
    </section>`;
}

function SecretsCard({ apiKey }) {
    return html`<section class="card" aria-label="Secrets"><div class="card-head"><h2>Secrets</h2><${RevealStored} apiKey=${apiKey} /></div>
        ${apiKey.secrets.length ? html`<${Secrets} secrets=${livingSecrets(apiKey)} />` : html`<p class="faint">None works any more.</p>`}
    </section>`;
}

function Changes({ apiKey }) {
    const session = useSession();
    const load = useLoad((signal) => recentChanges(apiKey, session, signal), [apiKey.id, apiKey.revision]);
    const rows = load.value?.rows ?? [];
    return html`<section class="card" aria-label="Recent changes"><h2>Recent changes</h2>
        <${Problem} error=${load.error} retry=${load.reload} />
        <${Waiting} load=${load} />
        ${load.value && (rows.length
            ? html`<ul class="rows">${rows.map((row) => html`<li key=${row.number}><span>${actionWord(row.action)}</span>
                ${row.actor && html`<span class="faint">by <span class="mono">${row.actor}</span></span>`}<span class="end"><${Time} at=${row.at} /></span>
                <${AuditDetail} row=${row} /></li>`)}</ul>`
            : html`<p class="faint">Nothing in the last ${count(load.value.searched, "row")} of the audit log.</p>`)}
    </section>`;
}

function absent(error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
}
