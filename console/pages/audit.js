// The audit log, the newest rows first.

import { html } from "../lib/ui.js";
import { auditPage } from "../lib/audit.js";
import { count } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { link } from "../lib/route.js";
import { AuditDetail, actionWord } from "../parts/audit-text.js";
import { Pager, useCursors } from "../parts/pager.js";
import { PageHead } from "../parts/shell.js";
import { Problem, Time, Waiting } from "../parts/text.js";

export default function Audit() {
    const cursors = useCursors("audit");
    const load = useLoad((signal) => auditPage(cursors.cursor, signal), [cursors.cursor]);
    const rows = load.value?.rows ?? [];
    return html`
        <${PageHead} title="Audit" lead="Every change of a key or a token, and refused sign-ins. Rows are chained by hashes: keygate audit verify finds what was changed or is missing.">
            <button type="button" onClick=${load.reload}>Refresh</button>
        <//>
        <${Problem} error=${load.error} retry=${load.reload} />
        <${Waiting} load=${load} />
        ${load.value && html`<div class="table-box" tabindex="0" role="region" aria-label="Audit log"><table>
            <thead><tr>
                <th scope="col" class="number">No.</th><th scope="col">When</th><th scope="col">What</th><th scope="col">Of</th><th scope="col">By</th>
                <th scope="col">From</th><th scope="col">Difference</th>
            </tr></thead>
            <tbody>${rows.map((row) => html`<tr key=${row.number}>
                <td class="number faint">${row.number}</td>
                <td><${Time} at=${row.at} /></td>
                <td>${actionWord(row.action)}</td>
                <td><${Target} row=${row} /></td>
                <td class="mono">${row.actor}</td>
                <td class="mono">${row.remote ?? html`<span class="faint">–</span>`}</td>
                <td class="wrap"><${AuditDetail} row=${row} /></td>
            </tr>`)}</tbody>
        </table></div>
        <${Pager} cursors=${cursors} next=${load.value.next} said=${count(rows.length, "row")} />`}`;
}

function Target({ row }) {
    if (!row.target) return html`<span class="faint">–</span>`;
    const name = row.after?.name ?? row.before?.name;
    const shown = name ? html`<bdi class="name audit-name">${name}</bdi>` : html`<span class="mono">${row.target}</span>`;
    return row.action.startsWith("key.") || row.action.startsWith("secret.") ? html`<a class="plain-link" href=${link(["keys", row.target])} title=${row.target}>${shown}</a>` : shown;
}
