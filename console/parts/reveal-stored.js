// Shows a secret again, where the operator has the gateway keep secrets for that. Each time is noted in the audit log.

import { html, useState } from "../lib/ui.js";
import { keyPath, send } from "../lib/api.js";
import { announce } from "../lib/announce.js";
import { useSession } from "../lib/session.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icons.js";
import { Reveal } from "./reveal.js";

export function RevealStored({ apiKey }) {
    const session = useSession();
    const [secret, setSecret] = useState(null);
    if (!session.recoverable_secrets || !session.mayChange || apiKey.source !== "store" || apiKey.state === "revoked") return null;
    const show = async () => {
        try {
            setSecret((await send("POST", keyPath(apiKey.id, "/reveal"))).secret);
        } catch (refused) {
            announce(refused.message);
        }
    };
    const close = () => setSecret(null);
    // It can be shown again, so that leaving it uncopied costs nothing.
    const leaving = { isCopied: true, isAsked: false, note: () => {}, stay: () => {}, ask: close };
    return html`<button type="button" class="quiet" onClick=${show}><${Icon} name="eye" />Reveal</button>
        ${secret && html`<${Dialog} title="Secret of this key" onClose=${close}>
            <${Reveal} secret=${secret} said="The secret is shown." leaving=${leaving} keep="Each time is noted in the audit log." onClose=${close} />
        <//>`}`;
}
