// Rows of the audit log, the newest first.

import { read } from "./api.js";

export const AUDIT_PAGE = 50;
const SEARCHED = 1000;

/** Rows with numbers below `before`; the newest if that is null. */
export async function auditPage(before, signal) {
    const query = before === null
        ? { from_end: true, limit: AUDIT_PAGE }
        : { after: Math.max(0, before - 1 - AUDIT_PAGE), limit: Math.min(AUDIT_PAGE, before - 1) };
    const { rows } = await read("/v1/audit", query, signal);
    return { rows: rows.toReversed(), next: rows.length && rows[0].number > 1 ? rows[0].number : null };
}

/**
 * What happened to a key. Owners may not read the audit log: they see what the key itself tells.
 */
export async function recentChanges(key, session, signal) {
    if (!session.seesAll) return { rows: ofKey(key), searched: 0 };
    const { rows } = await read("/v1/audit", { from_end: true, limit: SEARCHED }, signal);
    const own = rows.filter((row) => row.target === key.id).toReversed();
    return { rows: own.slice(0, 8), searched: rows.length };
}

function ofKey(key) {
    const made = key.secrets.filter((secret) => secret.since && secret.since !== key.created);
    const rows = [
        ...made.map((secret) => ({ action: "key.rotate", at: secret.since })),
        key.created && { action: "key.create", at: key.created },
        key.changed && key.changed !== key.created && !made.some((secret) => secret.since === key.changed) && { action: "key.last_change", at: key.changed },
    ].filter(Boolean);
    const sorted = rows.sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
    return sorted.map((row, place) => ({ number: place, before: null, after: null, ...row }));
}
