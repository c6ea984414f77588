// Changes what is said of a key; its secret stays.

import { html, useState } from "../lib/ui.js";
import { keyPath, send } from "../lib/api.js";
import { useSession } from "../lib/session.js";
import { General, useSubmit } from "./create-dialog.js";
import { Dialog } from "./dialog.js";
import { AdvancedFields, NameField, bodyOf, textsOf } from "./key-fields.js";

export function EditDialog({ apiKey, onDone, onClose }) {
    const session = useSession();
    const [texts, setTexts] = useState(() => textsOf(apiKey));
    const set = (field, value) => setTexts((texts) => ({ ...texts, [field]: value }));
    const { isSending, refused, submit } = useSubmit(async () => {
        const body = bodyOf(texts, apiKey, session);
        if (Object.keys(body).length) await send("PATCH", keyPath(apiKey.id), body, { "If-Match": `"${apiKey.revision}"` });
        onDone("The key was changed.");
    });
    return html`<${Dialog} title="Edit key" onClose=${onClose}>
        <form onSubmit=${submit}>
            <div class="dialog-body">
                <${NameField} texts=${texts} set=${set} wrong=${refused?.about?.("name")} />
                <${AdvancedFields} texts=${texts} set=${set} refused=${refused} apiKey=${apiKey} />
                <${General} refused=${refused} />
            </div>
            <footer>
                <button type="button" onClick=${onClose}>Cancel</button>
                <button class="primary" aria-disabled=${isSending ? "true" : undefined}>Save</button>
            </footer>
        </form>
    <//>`;
}
