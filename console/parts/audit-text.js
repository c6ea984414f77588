// Rows of the audit log in words: what was done, and what was changed by it.

import { html } from "../lib/ui.js";

const WORDS = {
    "key.create": "Created",
    "key.change": "Changed",
    "key.last_change": "Last changed",
    "key.disable": "Disabled",
    "key.enable": "Enabled",
    "key.rotate": "Rotated",
    "key.revoke": "Deleted",
    "secret.reveal": "Secret revealed",
    "token.create": "Token created",
    "token.revoke": "Token revoked",
    "login.fail": "Sign-in refused",
    "sink.pause": "Sink paused",
    "sink.resume": "Sink resumed",
};

export const actionWord = (action) => WORDS[action] ?? action;

/** The fields that differ. */
export function AuditDetail({ row }) {
    const changes = differences(row.before, row.after);
    if (!row.before || !changes.length) return null;
    return html`<details><summary>${changes.map(([field]) => field).join(", ")}</summary><div class="diff">
        ${changes.map(([field, before, after]) => html`<div key=${field}>${field}: <del><bdi>${text(before)}</bdi></del> → <ins><bdi>${text(after)}</bdi></ins></div>`)}
    </div></details>`;
}

function differences(before, after) {
    const fields = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
    const same = (field) => JSON.stringify(before?.[field]) === JSON.stringify(after?.[field]);
    return [...fields].filter((field) => !same(field)).map((field) => [field, before?.[field], after?.[field]]);
}

const text = (value) => (value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value));
