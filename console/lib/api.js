// Calls of the admin API, with the session's cookie. What is refused comes out as a `Refused` that says what to do.

/** Why a call was refused, in words for people. */
export class Refused extends Error {
    constructor({ status, code, detail, errors, retryAfter }) {
        super(detail);
        this.status = status;
        this.code = code;
        /** Of single fields: `{field, code, detail}`. */
        this.errors = errors ?? [];
        this.retryAfter = retryAfter;
    }

    /** What is wrong with a field; for a list, with its first wrong element. */
    about(field) {
        return this.errors.find((error) => error.field === field || error.field.startsWith(`${field}[`))?.detail;
    }
}

export const read = (path, query, signal) => call("GET", address(path, query), { signal });
export const send = (method, path, body, fields) => call(method, path, { body, fields });

/** Called with the refusal when the session is no longer valid. */
export function onSessionEnd(listener) {
    ended = listener;
}

/** Names a change, so that it can be repeated when its answer did not arrive. */
export function changeName() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A path of the API with an id in it. */
export const keyPath = (id, rest = "") => `/v1/keys/${encodeURIComponent(id)}${rest}`;

let ended = () => {};

function address(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
    return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

function call(method, path, { body, fields, signal }) {
    const headers = { Accept: "application/json", ...fields };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const text = body === undefined ? undefined : JSON.stringify(body);
    const asked = method === "GET" && early(path);
    if (asked) return content(path, () => asked);
    const request = { method, headers, signal, body: text, credentials: "same-origin", cache: "no-store", redirect: "error" };
    return content(path, () => fetch(path, request));
}

/** What `begin.js` has asked for: each answer is taken once. */
function early(path) {
    const answer = globalThis.keygateAsked.get(path);
    globalThis.keygateAsked.delete(path);
    return answer;
}

async function content(path, fetchIt) {
    const answer = await reach(fetchIt);
    const told = answer.status === 204 ? null : await answer.json().catch(() => null);
    if (answer.ok) return told;
    const refused = refusal(answer, told);
    // What was asked for without a session is no answer to who signs in.
    if (answer.status === 401) globalThis.keygateAsked.clear();
    if (answer.status === 401 && path !== "/v1/session") ended(refused);
    throw refused;
}

async function reach(fetchIt) {
    try {
        return await fetchIt();
    } catch (error) {
        if (error.name === "AbortError") throw error;
        const detail = "The gateway did not answer. Check that it is running and reachable, then try again.";
        throw new Refused({ status: 0, code: "unreachable", detail });
    }
}

function refusal(answer, content) {
    const retryAfter = Number(answer.headers.get("Retry-After")) || null;
    const told = sentence(content?.detail ?? `The gateway answered with status ${answer.status}`);
    const wait = retryAfter ? ` Try again in ${retryAfter} ${retryAfter === 1 ? "second" : "seconds"}.` : "";
    return new Refused({
        status: answer.status,
        code: content?.code ?? "unknown",
        detail: told + wait,
        errors: content?.errors?.map((error) => ({ ...error, detail: sentence(error.detail) })),
        retryAfter,
    });
}

function sentence(text) {
    const begun = text.charAt(0).toUpperCase() + text.slice(1);
    return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
