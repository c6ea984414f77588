// Ends a key for ever, after telling what stops working; offers to disable it instead, which can be undone.

import { html, useId, useState } from "../lib/ui.js";
import { keyPath, send } from "../lib/api.js";
import { DAY, isolated, livingSecrets, stateOf } from "../lib/format.js";
import { useSubmit } from "./create-dialog.js";
import { Dialog } from "./dialog.js";
import { Field, Name, Problem, Time } from "./text.js";

/** A key that was used within this time is only deleted by those who type its name. */
const RECENT = 7 * DAY;

export function DeleteDialog({ apiKey, onDone, onClose }) {
    const [typed, setTyped] = useState("");
    const textId = useId();
    const isRecent = apiKey.last_used && Date.now() - new Date(apiKey.last_used) < RECENT;
    const isConfirmed = !isRecent || typed.trim() === apiKey.name.trim();
    const name = isolated(apiKey.name);
    const remove = useSubmit(async () => {
        await send("DELETE", keyPath(apiKey.id));
        onDone(`${name} was deleted. Requests with it are refused.`);
    });
    const disable = useSubmit(async () => {
        await send("POST", keyPath(apiKey.id, "/disable"));
        onDone(`${name} is disabled. Requests with it are refused until it is enabled.`);
    });
    const onSubmit = (event) => {
        event.preventDefault();
        if (isConfirmed) remove.submit();
    };
    return html`<${Dialog} title="Delete key" role="alertdialog" describedBy=${textId} onClose=${onClose}>
        <form onSubmit=${onSubmit}>
            <div class="dialog-body" id=${textId}>
                <p>Every request with <${Name} text=${apiKey.name} /> is refused from this moment on. This cannot be undone.</p>
                <${WhatStops} apiKey=${apiKey} />
                ${isRecent && html`<${Field} label="It is in use. To delete it all the same, type its name:">
                    ${(names) => html`<input ...${names} dir="auto" value=${typed} onInput=${(event) => setTyped(event.target.value)} autocomplete="off" spellcheck="false" />`}
                <//>`}
                <${Problem} error=${remove.refused ?? disable.refused} />
            </div>
            <footer>
                <button type="button" autofocus onClick=${onClose}>Cancel</button>
                ${stateOf(apiKey) === "active" && apiKey.source === "store" && html`<button type="button" onClick=${disable.submit}>Disable instead</button>`}
                <button class="danger" disabled=${!isConfirmed}>Delete key</button>
            </footer>
        </form>
    <//>`;
}

function WhatStops({ apiKey }) {
    const hints = livingSecrets(apiKey).map((secret) => secret.hint ?? "the secret in the file");
    return html`<dl class="facts compact">
        <dt>What stops working</dt>
        <dd>${apiKey.state === "active" ? "Clients that send " : "Nothing now: it is not active. It could not be enabled again: "}<span class="mono">${hints.join(", ") || apiKey.id}</span></dd>
        <dt>Last used</dt>
        <dd>${apiKey.last_used ? html`<${Time} at=${apiKey.last_used} />` : "It has never been used."}</dd>
    </dl>`;
}
