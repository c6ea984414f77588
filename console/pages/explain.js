// Explain: what would happen to a request, and why. Nothing is sent.

import { html, useEffect, useState } from "../lib/ui.js";
import { read, send } from "../lib/api.js";
import { gatewayUrl } from "../lib/curl.js";
import { useSession } from "../lib/session.js";
import { useLoad } from "../lib/load.js";
import { link } from "../lib/route.js";
import { Limits } from "../parts/limits.js";
import { useSubmit } from "../parts/create-dialog.js";
import { PageHead } from "../parts/shell.js";
import { Badge, Field, Problem } from "../parts/text.js";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
const FIELDS = ["path", "method", "host", "client", "key"];

export default function Explain({ query }) {
    const { host } = new URL(gatewayUrl(useSession()));
    const [texts, setTexts] = useState({ method: "GET", path: "/", key: query.key ?? "", host, client: "" });
    const [answer, setAnswer] = useState(null);
    const { refused, submit } = useSubmit(async () => {
        setAnswer(null);
        setAnswer(await send("POST", "/v1/explain", questionOf(texts)));
    });
    const set = (field) => (event) => setTexts({ ...texts, [field]: event.target.value });
    const text = (field) => ({ value: texts[field], onInput: set(field), autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
    const wrong = (field) => refused?.about?.(field);
    return html`
        <${PageHead} title="Explain" lead="What would happen to a request now, and why. Nothing is sent, and nothing is taken from limits." />
        <div class="sections">
            <form class="card" onSubmit=${submit} aria-label="The request">
                <div class="fields explain-fields">
                    <${Field} label="Method" wrong=${wrong("method")}>
                        ${(names) => html`<select ...${names} value=${texts.method} onChange=${set("method")}>${METHODS.map((method) => html`<option key=${method}>${method}</option>`)}</select>`}
                    <//>
                    <${Field} label="Path" wrong=${wrong("path")}>
                        ${(names) => html`<input ...${names} ...${text("path")} class="mono" required placeholder="/v1/orders/7" />`}
                    <//>
                </div>
                <${KeyPick} value=${texts.key} set=${set("key")} wrong=${wrong("key")} />
                <div class="fields">
                    <${Field} label="Host" wrong=${wrong("host")}>${(names) => html`<input ...${names} ...${text("host")} class="mono" placeholder="api.example.com" />`}<//>
                    <${Field} label="Client address" isOptional wrong=${wrong("client")}>${(names) => html`<input ...${names} ...${text("client")} class="mono" placeholder="192.0.2.1" />`}<//>
                </div>
                ${refused && !FIELDS.some(wrong) && html`<${Problem} error=${refused} />`}
                <p><button class="primary">Explain</button></p>
            </form>
            <div aria-live="polite">${answer ? html`<${Verdict} answer=${answer} />` : html`<section class="card quiet-card"><p class="faint">The answer appears here.</p></section>`}</div>
        </div>`;
}

/** Either what stands in the field is an id or a secret: secrets are sent as such. */
function questionOf({ method, path, key, host, client }) {
    const credential = key.trim();
    const named = !credential ? {} : credential.startsWith("key_") ? { key: credential } : { secret: credential };
    return { method, path: path.trim(), ...named, ...(host.trim() && { host: host.trim() }), ...(client.trim() && { client: client.trim() }) };
}

function KeyPick({ value, set, wrong }) {
    const [sought, setSought] = useState(value);
    useEffect(() => {
        const timer = setTimeout(() => setSought(value.trim()), 200);
        return () => clearTimeout(timer);
    }, [value]);
    const found = useLoad((signal) => read("/v1/keys", { q: sought, limit: 20 }, signal).catch(() => ({ keys: [] })), [sought]);
    const keys = found.value?.keys ?? [];
    const chosen = keys.find((key) => key.id === value.trim());
    return html`<${Field} label="Key" isOptional wrong=${wrong} hint=${chosen ? chosen.name : "Type a name and pick a key, or paste a secret. Empty: a request without one"}>
        ${(names) => html`<input ...${names} class="mono" list="explain-keys" value=${value} onInput=${set} autocomplete="off" spellcheck="false" placeholder="key_…" />
            <datalist id="explain-keys">${keys.map((key) => html`<option key=${key.id} value=${key.id}>${key.name}</option>`)}</datalist>`}
    <//>`;
}

function Verdict({ answer }) {
    const isForwarded = answer.outcome === "forwarded";
    const rows = [
        ["Route", answer.route], ["Upstream", answer.upstream], ["Path", answer.path && html`<span class="mono">${answer.path}</span>`],
        ["Key", answer.key && html`<a href=${link(["keys", answer.key])} class="mono">${answer.key}</a>`], ["Owner", answer.owner && html`<bdi>${answer.owner}</bdi>`], ["Plan", answer.plan],
    ];
    return html`<section class="card" aria-label="Answer">
        <p class="verdict"><${Badge} kind=${isForwarded ? "ok" : "bad"}>${isForwarded ? "Forwarded" : answer.status}<//>${isForwarded ? "It would pass" : answer.outcome.replaceAll("_", " ")}</p>
        <p class="verdict-why">${answer.detail}</p>
        <dl class="facts">${rows.filter(([, value]) => value).map(([term, value]) => html`<dt key=${term}>${term}</dt><dd>${value}</dd>`)}</dl>
        ${answer.limits.length > 0 && html`<h3 class="limits-title">Limits</h3><${Limits} limits=${answer.limits} />`}
    </section>`;
}
