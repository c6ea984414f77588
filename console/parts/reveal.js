// A new secret, shown once: what a dialog shows after a key was made or rotated.

import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { copyStroke } from "../lib/clipboard.js";
import { curlLine } from "../lib/curl.js";
import { useSession } from "../lib/session.js";
import { Icon } from "./icons.js";
import { COPY_WORDS, Code, useCopy } from "./text.js";

/** Whether a secret may be left: `{isCopied, note, ask, isAsked}`. */
export function useLeaving(onClose) {
    const { recoverable_secrets: isKept } = useSession();
    // What can be shown again is not lost.
    const [isCopied, setCopied] = useState(Boolean(isKept));
    const [isAsked, setAsked] = useState(false);
    return {
        isCopied,
        isAsked,
        note: () => (setCopied(true), setAsked(false)),
        stay: () => setAsked(false),
        ask: () => (isCopied || isAsked ? onClose() : setAsked(true)),
    };
}

export function Reveal({ secret, said, keep, leaving, onClose }) {
    const session = useSession();
    const field = useRef(null);
    const button = useRef(null);
    const { outcome, copy } = useCopy(secret, field);
    // A live region speaks of what changes in it: so it is empty at first.
    const [news, setNews] = useState("");
    useEffect(() => {
        button.current.focus();
        setNews(said);
    }, []);
    useEffect(() => {
        if (leaving.isCopied) return undefined;
        const warn = (event) => event.preventDefault();
        addEventListener("beforeunload", warn);
        return () => removeEventListener("beforeunload", warn);
    }, [leaving.isCopied]);
    const copyIt = async () => (await copy()) && leaving.note();
    return html`<div class="dialog-body" onCopy=${leaving.note}>
        <p class="once"><${Icon} name="lock" /><span><strong>${session.recoverable_secrets ? "It can be shown again on the key’s page." : "This is the only time it is shown."}</strong> ${keep}</span></p>
        <div class="secret">
            <input ref=${field} class="mono" readonly value=${secret} aria-label="Secret key" spellcheck="false" autocomplete="off"
                onFocus=${(event) => event.target.select()} />
            <button ref=${button} type="button" class=${outcome === "copied" ? "primary done" : "primary"} onClick=${copyIt}>
                <${Icon} name=${outcome === "copied" ? "check" : "copy"} />${COPY_WORDS[outcome]}
            </button>
        </div>
        <p class="unseen" role="status">${SAID[outcome] ?? news}</p>
        ${outcome === "selected" && html`<p class="wrong">The browser did not let this page copy. The key is selected: press ${copyStroke}.</p>`}
        <h3>Try it</h3>
        <${Code} text=${curlLine(session, secret)} label="Copy command" />
        ${!session.gateway_url && html`<p class="hint">Put the address of the API in place of <code>api.example.com</code>.</p>`}
        ${leaving.isAsked && html`<div class="problem grave" role="alert">
            <${Icon} name="warning" /><p>The key has not been copied. Once this is closed, nobody can show it again.</p>
        </div>`}
    </div>
    <footer>
        ${leaving.isAsked && html`<button type="button" onClick=${leaving.stay}>Stay here</button>`}
        <button type="button" class=${leaving.isAsked ? "danger" : ""} onClick=${leaving.ask}>${leaving.isAsked ? "Close without copying" : "Done"}</button>
    </footer>`;
}

/** The answer to a repeated request does not hold the secret any more. */
export function SecretLost({ onClose }) {
    return html`<div class="dialog-body"><p>The gateway had done this already when the request was repeated, and the secret was in the first answer only.
        Rotate the key to get a new secret.</p></div>
    <footer><button type="button" class="primary" onClick=${onClose}>Close</button></footer>`;
}

const SAID = { copied: "Copied", selected: "Not copied. The key is selected, to be copied by hand." };
