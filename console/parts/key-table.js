// The table of keys; on narrow screens each row becomes a card.

import { html } from "../lib/ui.js";
import { DAY, isolated, stateOf } from "../lib/format.js";
import { link } from "../lib/route.js";
import { useSession } from "../lib/session.js";
import { Menu } from "./menu.js";
import { Sparkline } from "./sparkline.js";
import { CopyButton, Name, State, Time } from "./text.js";

/** Roles are written out because a table that is laid out as cards loses its own. */
export function KeyTable({ keys, fresh, lines, items }) {
    const session = useSession();
    const heads = [
        ["Name"], ["Key"], session.seesAll && ["Owner"], ["State"], ["Plan", "cell-plan"], ["Created", "cell-created"],
        ["Last used"], ["Expires"], lines && ["30 days", "cell-spark"],
    ].filter(Boolean);
    return html`<div class="table-box">
        <table class="keys" role="table" aria-label="API keys">
            <thead role="rowgroup"><tr role="row">
                ${heads.map(([head, kind]) => html`<th key=${head} role="columnheader" scope="col" class=${kind}>${head}</th>`)}
                <th role="columnheader" scope="col"><span class="unseen">Actions</span></th>
            </tr></thead>
            <tbody role="rowgroup">
                ${keys.map((key) => html`<${Row} key=${key.id} apiKey=${key} isFresh=${fresh.has(key.id)} line=${lines?.get(key.id)}
                    hasLines=${Boolean(lines)} items=${items(key)} session=${session} />`)}
            </tbody>
        </table>
    </div>`;
}

function Row({ apiKey, isFresh, line, hasLines, items, session }) {
    const state = stateOf(apiKey);
    const name = isolated(apiKey.name);
    return html`<tr role="row" class=${[isFresh && "fresh", state !== "active" && "dim"].filter(Boolean).join(" ")}>
        <th role="rowheader" scope="row" class="cell-name"><a href=${link(["keys", apiKey.id])}><${Name} text=${apiKey.name} /></a></th>
        <td role="cell" class="cell-key"><${Masked} apiKey=${apiKey} /></td>
        ${session.seesAll && html`<td role="cell" class="cell-owner" data-label="Owner"><${Owner} text=${apiKey.owner} /></td>`}
        <td role="cell" class="cell-state"><${State} apiKey=${apiKey} /></td>
        <td role="cell" class="cell-plan" data-label="Plan">${apiKey.plan ?? html`<span class="faint">default</span>`}</td>
        <td role="cell" class="cell-created" data-label="Created"><${Time} at=${apiKey.created} none="in the file" /></td>
        <td role="cell" data-label="Last used"><${Time} at=${apiKey.last_used} /></td>
        <td role="cell" data-label="Expires"><${Expiry} apiKey=${apiKey} /></td>
        ${hasLines && html`<td role="cell" class="cell-spark" data-label="30 days"><${Sparkline} values=${line ?? NOTHING} /></td>`}
        <td role="cell" class="cell-actions"><span class="actions">
            <${CopyButton} text=${apiKey.id} label=${`Copy the id of ${name}`} said=${`Copied the id ${apiKey.id}.`} />
            ${items.length > 0 && html`<${Menu} label=${`Actions for ${name}`} items=${items} />`}
        </span></td>
    </tr>`;
}

export function Masked({ apiKey }) {
    const hint = apiKey.secrets[0]?.hint;
    return hint ? html`<span class="mono">${hint}</span>` : html`<span class="faint">in the file</span>`;
}

function Owner({ text }) {
    return text ? html`<bdi class="name" title=${isolated(text)}>${text}</bdi>` : html`<span class="faint">–</span>`;
}

function Expiry({ apiKey }) {
    const isSoon = apiKey.expires && stateOf(apiKey) === "active" && new Date(apiKey.expires) - Date.now() < 14 * DAY;
    return html`<span class=${isSoon ? "soon" : ""}><${Time} at=${apiKey.expires} /></span>`;
}

const NOTHING = Array(30).fill(0);
