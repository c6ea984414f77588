// Pages of keys, filtered where the API filters and, for what it does not filter by, here.

import { read } from "./api.js";
import { DAY } from "./format.js";

export const PAGE = 50;

/**
 * `{keys, next}` after a cursor. The API has no filter for "not revoked" and "unused for so many days": its pages, larger and
 * larger ones, are asked for until enough keys have passed.
 */
export async function keyPage({ q, owner, plan, state = "current", unused }, cursor, signal) {
    const asked = { q, owner, plan, state: OF_API.has(state) ? state : undefined };
    const before = unused ? Date.now() - Number(unused) * DAY : null;
    const keys = [];
    let next = cursor;
    for (let limit = PAGE; ; limit = Math.min(limit * 2, MOST)) {
        const page = await read("/v1/keys", { ...asked, limit, cursor: next }, signal);
        keys.push(...page.keys.filter((key) => passes(key, state, before)));
        next = page.next;
        if (!next || keys.length >= PAGE / 2) return { keys: next || cursor ? keys : newestFirst(keys), next };
    }
}

/** Whether a key counts as unused: it is old enough, and its last use lies before. */
function passes(key, state, before) {
    if (state === "current" && key.state === "revoked") return false;
    return before === null || (older(key.last_used, before) && older(key.created, before));
}

const older = (time, before) => !time || new Date(time) < before;

/** Only where one page holds them all; else they come in the order of ids. */
function newestFirst(keys) {
    return keys.sort((a, b) => Date.parse(b.created ?? 0) - Date.parse(a.created ?? 0));
}

const OF_API = new Set(["active", "disabled", "revoked"]);
const MOST = 800;
