// How the gateway goes: what is in force, since when, and on which nodes.

import { html, useState } from "../lib/ui.js";
import { read, send } from "../lib/api.js";
import { announce } from "../lib/announce.js";
import { number } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { PageHead } from "../parts/shell.js";
import { Badge, Problem, Time, Waiting } from "../parts/text.js";

export default function Status() {
    const session = useSession();
    const load = useLoad((signal) => read("/v1/status", {}, signal), []);
    const [outcome, setOutcome] = useState(null);
    const { value } = load;
    const ask = (path, word) => async () => {
        try {
            const answer = await send("POST", path);
            setOutcome({ problems: answer.problems ?? [] });
            announce(answer.problems?.length ? "The file has problems." : word);
        } catch (refused) {
            setOutcome({ problems: refused.errors.map((error) => `${error.field} ${error.detail}`), error: refused.errors.length ? null : refused });
        }
        load.reload();
    };
    return html`
        <${PageHead} title="Status" lead="What is in force on this gateway.">
            ${session.mayDecide && html`<button type="button" onClick=${ask("/v1/config/check", "The file has no problems.")}>Check file</button>
                <button type="button" onClick=${ask("/v1/reload", "The file was loaded again.")}>Reload file</button>`}
        <//>
        <${Problem} error=${load.error ?? outcome?.error} retry=${load.reload} />
        <${Waiting} load=${load} />
        ${outcome?.problems.length > 0 && html`<div class="problem" role="alert"><div><p>The file on disk has problems, so what was in force before still is:</p><ul class="mono">${outcome.problems.map((problem) => html`<li key=${problem}>${problem}</li>`)}</ul></div></div>`}
        ${value && html`<div class="sections">
            <section class="card" aria-label="Gateway"><h2>Gateway</h2><dl class="facts">
                <dt>Version</dt><dd>${value.version}</dd>
                <dt>Store</dt><dd>${value.store === "ok" ? html`<${Badge} kind="ok">Works<//>` : html`<${Badge} kind="bad">${value.store}<//>`}</dd>
                <dt>Revision</dt><dd>${number(value.revision)} <span class="faint">the last change of a key or token in force</span></dd>
                <dt>Generation</dt><dd>${number(value.generation)} <span class="faint">configurations since the start</span></dd>
            </dl></section>
            <section class="card" aria-label="Keys in force"><h2>Keys in force</h2><dl class="figures">
                ${[["Active", "active"], ["Disabled", "disabled"], ["Deleted", "revoked"]].map(([word, state]) => html`<div class="figure" key=${state}><dt>${word}</dt><dd>${number(value.keys[state])}</dd></div>`)}
            </dl></section>
            <section class="card" aria-label="Last reload"><h2>Last reload</h2><${Reload} reload=${value.last_reload} /></section>
            <section class="card" aria-label="Nodes"><h2>Nodes</h2><${Nodes} status=${value} /></section>
        </div>`}`;
}

function Reload({ reload }) {
    if (!reload) return html`<p class="faint">The file is the one of the start.</p>`;
    return html`<dl class="facts">
        <dt>Result</dt><dd><${Badge} kind=${reload.result === "applied" ? "ok" : "bad"}>${reload.result === "applied" ? "In force" : "Refused"}<//></dd>
        <dt>When</dt><dd><${Time} at=${reload.time} /></dd>
        ${reload.problem && html`<dt>Problem</dt><dd class="mono">${reload.problem}</dd>`}
    </dl>`;
}

/** A gateway that follows no other is the only one. */
function Nodes({ status }) {
    const nodes = status.nodes ?? [];
    if (!nodes.length) return html`<p>This one alone. <span class="faint">It answers for its own store and file.</span></p>`;
    return html`<table class="plain-table">
        <thead><tr><th scope="col">Node</th><th scope="col">Revision</th><th scope="col">Seen</th></tr></thead>
        <tbody>${nodes.map((node) => html`<tr key=${node.name}><td class="mono">${node.name}</td><td>${number(node.revision)}</td><td><${Time} at=${node.seen} /></td></tr>`)}</tbody>
    </table>`;
}
