// Makes a key: one required field, and then, in the same dialog, the secret.

import { html, useRef, useState } from "../lib/ui.js";
import { changeName, send } from "../lib/api.js";
import { useSession } from "../lib/session.js";
import { Dialog } from "./dialog.js";
import { AdvancedFields, NameField, bodyOf, textsOf } from "./key-fields.js";
import { Reveal, SecretLost, useLeaving } from "./reveal.js";
import { Problem } from "./text.js";

const ADVANCED = ["owner", "plan", "scopes", "networks", "expires"];

export function CreateDialog({ owner, onMade, onClose }) {
    const session = useSession();
    const [texts, setTexts] = useState(() => ({ ...textsOf(), owner: owner ?? "" }));
    const [made, setMade] = useState(null);
    const { isSending, refused, submit } = useSubmit(async (named) => {
        const answer = await send("POST", "/v1/keys", bodyOf(texts, null, session), { "Idempotency-Key": named });
        setMade(answer);
        onMade(answer.key);
    });
    const leaving = useLeaving(onClose);
    if (made) {
        return html`<${Dialog} title="Your new key" onClose=${made.secret ? leaving.ask : onClose}>
            ${made.secret
                ? html`<${Reveal} secret=${made.secret} said="The key was created." keep="Keep it where your application finds it and nobody else does." leaving=${leaving} onClose=${onClose} />`
                : html`<${SecretLost} onClose=${onClose} />`}
        <//>`;
    }
    const set = (field, value) => setTexts((texts) => ({ ...texts, [field]: value }));
    const isInAdvanced = ADVANCED.some((field) => refused?.about?.(field));
    return html`<${Dialog} title="New API key" onClose=${onClose}>
        <form onSubmit=${submit}>
            <div class="dialog-body">
                <${NameField} texts=${texts} set=${set} wrong=${refused?.about?.("name")} />
                <details open=${isInAdvanced || undefined}>
                    <summary>Advanced</summary>
                    <${AdvancedFields} texts=${texts} set=${set} refused=${refused} />
                </details>
                <${General} refused=${refused} />
            </div>
            <footer>
                <button type="button" onClick=${onClose}>Cancel</button>
                <button class="primary" aria-disabled=${isSending ? "true" : undefined}>Create key</button>
            </footer>
        </form>
    <//>`;
}

/** What is wrong and belongs to no field. */
export function General({ refused }) {
    const fields = new Set(["name", ...ADVANCED]);
    const isOfFields = refused?.errors?.length && refused.errors.every(({ field }) => fields.has(field.split("[")[0]));
    return refused && !isOfFields ? html`<${Problem} error=${refused} />` : null;
}

/** Sends a form once at a time; a repetition after a failure carries the same name, so that nothing is done twice. */
export function useSubmit(work) {
    const [state, setState] = useState({ isSending: false, refused: null });
    const named = useRef(changeName());
    const submit = async (event) => {
        event?.preventDefault();
        if (state.isSending) return;
        setState({ isSending: true, refused: null });
        try {
            await work(named.current);
            setState({ isSending: false, refused: null });
        } catch (refused) {
            // A refusal is final for this name; only an answer that did not arrive is asked for again.
            if (refused.status) named.current = changeName();
            setState({ isSending: false, refused });
        }
    };
    return { ...state, submit };
}
