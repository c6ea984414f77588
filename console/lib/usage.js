// What was used: asks the usage API, and lays its rows out for charts. Where there is no usage API, everything is null.

import { Refused, read } from "./api.js";
import { DAY } from "./format.js";

export const BY_MS = { minute: 60_000, hour: 3_600_000, day: DAY };
/** How many stretches a chart shows. */
export const SPANS = { minute: 60, hour: 48, day: 30 };
export const CLASSES = {
    "2xx": "Successful",
    "3xx": "Redirected",
    "4xx": "Refused by the API",
    "5xx": "Failed in the API",
    "1xx": "Informational",
    denied: "Denied by the gateway",
    upstream_failed: "API not reached",
    client_gone: "Client gone",
    none: "Without an answer",
};

/** All rows of a query, or null if the gateway does not count usage. */
export async function usage(query, signal, mostPages = 5) {
    const answer = await firstPage(query, signal);
    if (!answer) return null;
    let { next } = answer;
    for (let page = 1; next && page < mostPages; page += 1) {
        const more = await read("/v1/usage", { ...query, cursor: next }, signal);
        answer.rows.push(...more.rows);
        next = more.next;
    }
    return { ...answer, next };
}

/** The beginnings of the stretches that end now. */
export function stretches(by, now = Date.now(), number = SPANS[by]) {
    const last = Math.floor(now / BY_MS[by]) * BY_MS[by];
    return Array.from({ length: number }, (_, index) => last - (number - 1 - index) * BY_MS[by]);
}

export const fromFirst = (starts) => new Date(starts[0]).toISOString();

/**
 * One line of numbers per value of a dimension, the busiest first; what is beyond `most` is added up as the rest.
 */
export function series(rows, starts, dimension, measure = "requests", most = 6) {
    const lines = new Map();
    const places = new Map(starts.map((start, place) => [start, place]));
    for (const row of rows) {
        const place = places.get(Date.parse(row.start));
        if (place === undefined) continue;
        const name = dimension ? String(row[dimension] ?? "none") : "all";
        if (!lines.has(name)) lines.set(name, { name, values: starts.map(() => 0), total: 0 });
        const line = lines.get(name);
        line.values[place] += row[measure];
        line.total += row[measure];
    }
    const sorted = [...lines.values()].sort((a, b) => b.total - a.total);
    return sorted.length <= most ? sorted : [...sorted.slice(0, most - 1), rest(sorted.slice(most - 1), starts)];
}

/** Requests of the last 30 days by key: a map from ids to 30 numbers; null if usage is not counted. */
export async function sparklines(ids, signal) {
    const starts = stretches("day");
    const query = { by: "day", from: fromFirst(starts), limit: 1000 };
    const all = await firstPage({ ...query, group: "key" }, signal);
    if (!all) return null;
    if (!all.next) return byKey(all.rows, starts);
    const lines = new Map();
    const waiting = [...ids];
    const worker = async () => {
        for (let id = waiting.shift(); id; id = waiting.shift()) {
            const answer = await read("/v1/usage", { ...query, key: id }, signal);
            lines.set(id, series(answer.rows, starts, null)[0]?.values ?? starts.map(() => 0));
        }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
    return lines;
}

async function firstPage(query, signal) {
    try {
        return await read("/v1/usage", query, signal);
    } catch (error) {
        if (error instanceof Refused && error.status === 404) return null;
        throw error;
    }
}

function byKey(rows, starts) {
    const lines = series(rows, starts, "key", "requests", Infinity);
    return new Map(lines.map((line) => [line.name, line.values]));
}

function rest(lines, starts) {
    const values = starts.map((_, place) => lines.reduce((sum, line) => sum + line.values[place], 0));
    return { name: "others", values, total: lines.reduce((sum, line) => sum + line.total, 0) };
}
