// Small pieces of text: times, names, states, problems, code to paste.

import { html, useEffect, useId, useRef, useState } from "../lib/ui.js";
import { exact, isolated, livingSecrets, relative, stateOf } from "../lib/format.js";
import { copyStroke, copyText, select } from "../lib/clipboard.js";
import { announce } from "../lib/announce.js";
import { Icon } from "./icons.js";

/** A relative time with the exact one on hover. */
export function Time({ at, none = "never" }) {
    if (!at) return html`<span class="faint">${none}</span>`;
    return html`<time datetime=${at} title=${exact(at)}>${relative(at)}</time>`;
}

/** What people called something: a stranger's text, which may be written in any direction. */
export function Name({ text }) {
    return html`<bdi class="name" title=${isolated(text)}>${text}</bdi>`;
}

const STATES = {
    active: ["ok", "Active"],
    disabled: ["idle", "Disabled"],
    revoked: ["bad", "Revoked"],
    expired: ["bad", "Expired"],
    waiting: ["idle", "Not yet valid"],
};

export function State({ apiKey }) {
    const state = stateOf(apiKey);
    const old = state === "active" && livingSecrets(apiKey)[1];
    if (old) return html`<${Badge} kind="note"><span title=${`Active. The old secret ends ${exact(old.until)}`}>Rotating</span><//>`;
    const [kind, word] = STATES[state];
    return html`<${Badge} kind=${kind}>${word}<//>`;
}

export function Badge({ kind, children }) {
    return html`<span class=${`badge ${kind}`}>${children}</span>`;
}

/** A refusal, and what to do about it. */
export function Problem({ error, retry }) {
    if (!error || error.name === "AbortError") return null;
    return html`<div class="problem" role="alert">
        <${Icon} name="warning" />
        <p>${error.message}</p>
        ${retry && html`<button type="button" class="quiet" onClick=${retry}>Try again</button>`}
    </div>`;
}

/** Said only when something takes long. */
export function Waiting({ load }) {
    return html`<p class="waiting" role="status">${load.isSlow && !load.error ? "Loading …" : ""}</p>`;
}

/** Lines to paste, with a button that copies them. */
export function Code({ text, label = "Copy" }) {
    const field = useRef(null);
    const { outcome, copy } = useCopy(text, field);
    return html`<div class="code">
        <pre ref=${field} tabindex="0" role="region" aria-label="Command to paste">${text}</pre>
        <button type="button" class="quiet" onClick=${copy} aria-label=${label}>
            <${Icon} name=${outcome === "copied" ? "check" : "copy"} />${COPY_WORDS[outcome]}
        </button>
    </div>`;
}

/** A small button that copies a text which is not secret. */
export function CopyButton({ text, label, said }) {
    const { outcome, copy } = useCopy(text, null);
    const told = async () => announce((await copy()) ? said : `Nothing was copied: the browser does not allow it. It is ${text}`);
    return html`<button type="button" class="icon-button" onClick=${told} aria-label=${label} title="Copy id">
        <${Icon} name=${outcome === "copied" ? "check" : "copy"} />
    </button>`;
}

export const COPY_WORDS = { none: "Copy", copied: "Copied", selected: `Press ${copyStroke}` };

/** Copies; the outcome is `copied` only if it is on the clipboard, and falls back to `none` after a while. */
export function useCopy(text, field) {
    const [outcome, setOutcome] = useState("none");
    useEffect(() => {
        if (outcome === "none") return undefined;
        const timer = setTimeout(() => setOutcome("none"), COPIED_MS);
        return () => clearTimeout(timer);
    }, [outcome]);
    const copy = async () => {
        const done = await copyText(text, field?.current);
        if (!done) select(field?.current);
        setOutcome(done ? "copied" : "selected");
        return done;
    };
    return { outcome, copy };
}

/** A labelled field with a hint and, if it is wrong, what would be right. */
export function Field({ label, hint, wrong, isOptional, children }) {
    const id = useId();
    const described = [hint && `${id}-hint`, wrong && `${id}-wrong`].filter(Boolean).join(" ") || undefined;
    return html`<div class="field">
        <label for=${id}>${label}${isOptional && html` <span class="faint">optional</span>`}</label>
        ${children({ id, "aria-describedby": described, "aria-invalid": wrong ? "true" : undefined })}
        ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
        ${wrong && html`<p class="wrong" id=${`${id}-wrong`}>${wrong}</p>`}
    </div>`;
}

/** What a page shows when there is nothing yet: what it is for, and how to begin. */
export function Empty({ icon, title, children }) {
    return html`<section class="empty">
        <span class="empty-icon"><${Icon} name=${icon} /></span>
        <h2>${title}</h2>
        ${children}
    </section>`;
}

const COPIED_MS = 4000;
