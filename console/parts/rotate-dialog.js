// Gives a key a new secret: how long the old one goes on is asked first, the new one is shown in the same dialog.

import { html, useState } from "../lib/ui.js";
import { keyPath, send } from "../lib/api.js";
import { livingSecrets } from "../lib/format.js";
import { useSubmit } from "./create-dialog.js";
import { Dialog } from "./dialog.js";
import { Reveal, SecretLost, useLeaving } from "./reveal.js";
import { Name, Problem, Time } from "./text.js";

const GRACES = [["0s", "Now"], ["15m", "15 min"], ["1h", "1 h"], ["24h", "24 h"], ["7d", "7 days"]];

export function RotateDialog({ apiKey, onMade, onClose }) {
    const [grace, setGrace] = useState("24h");
    const [made, setMade] = useState(null);
    const { isSending, refused, submit } = useSubmit(async (named) => {
        const answer = await send("POST", keyPath(apiKey.id, "/rotate"), { grace }, { "Idempotency-Key": named });
        setMade(answer);
        onMade(answer.key);
    });
    const leaving = useLeaving(onClose);
    if (made) {
        const old = made.key.secrets[1];
        const keep = old ? html`The old one works until <strong><${Time} at=${old.until} /></strong>.` : "The old one has ended.";
        return html`<${Dialog} title="Your new secret" onClose=${made.secret ? leaving.ask : onClose}>
            ${made.secret
                ? html`<${Reveal} secret=${made.secret} said="The key has a new secret." keep=${keep} leaving=${leaving} onClose=${onClose} />`
                : html`<${SecretLost} onClose=${onClose} />`}
        <//>`;
    }
    const secrets = livingSecrets(apiKey);
    return html`<${Dialog} title="Rotate key" onClose=${onClose}>
        <form onSubmit=${submit}>
            <div class="dialog-body">
                <p><${Name} text=${apiKey.name} /> gets a new secret. Move your clients over to it while the old one still works.</p>
                <fieldset class="segments wide">
                    <legend>The old secret ends</legend>
                    ${GRACES.map(([value, word]) => html`<label key=${value}>
                        <input type="radio" name="grace" value=${value} checked=${grace === value} autofocus=${grace === value}
                            onChange=${() => setGrace(value)} /><span>${word}</span>
                    </label>`)}
                </fieldset>
                <${Secrets} secrets=${secrets} />
                ${secrets.length > 1 && html`<p class="notice">A rotation is under way already: the older of these two ends at once.</p>`}
                ${grace === "0s" && html`<p class="notice">Requests with the old secret are refused at once.</p>`}
                <${Problem} error=${refused} />
            </div>
            <footer>
                <button type="button" onClick=${onClose}>Cancel</button>
                <button class="primary" aria-disabled=${isSending ? "true" : undefined}>Rotate</button>
            </footer>
        </form>
    <//>`;
}

/** The secrets that work, and when each was last used. */
export function Secrets({ secrets }) {
    return html`<table class="plain-table">
        <thead><tr><th scope="col">Secret</th><th scope="col">Last used</th><th scope="col">Ends</th></tr></thead>
        <tbody>${secrets.map((secret, place) => html`<tr key=${place}>
            <td class="mono">${secret.hint ?? "in the file"}</td>
            <td><${Time} at=${secret.last_used} /></td>
            <td><${Time} at=${secret.until} none=${secrets.length > 1 ? "stays" : "–"} /></td>
        </tr>`)}</tbody>
    </table>`;
}
