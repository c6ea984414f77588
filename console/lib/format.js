// How numbers, times and names are written: numbers in the reader's locale, names as text that cannot leave its place.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const plain = new Intl.NumberFormat();
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 1 });
const exactly = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const dayOnly = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const dayUtc = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const hourOnly = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "short" });
// In the language of the page.
const relatively = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });

export const number = (value) => plain.format(value);
export const shortNumber = (value) => (Math.abs(value) < 10_000 ? plain.format(value) : compact.format(value));
export const share = (part, whole) => percent.format(whole ? part / whole : 0);
export const exact = (time) => exactly.format(new Date(time));
export const day = (time) => dayOnly.format(new Date(time));
/** The name of a stretch of usage, which begins at full days of UTC. */
export const stretch = (time, by) => (by === "day" ? dayUtc : hourOnly).format(new Date(time));
export const count = (value, one, many = `${one}s`) => `${plain.format(value)} ${value === 1 ? one : many}`;

/** How long ago, or how far ahead. */
export function relative(time, now = Date.now()) {
    const ms = new Date(time) - now;
    const distance = Math.abs(ms);
    if (distance < 45 * SECOND) return ms > 0 ? "in a moment" : "just now";
    const [unit, size] = UNITS.find(([, , from]) => distance >= from);
    return relatively.format(Math.round(ms / size), unit);
}

const UNITS = [
    ["year", 365 * DAY, 320 * DAY],
    ["month", 30 * DAY, 45 * DAY],
    ["day", DAY, 22 * HOUR],
    ["hour", HOUR, 55 * MINUTE],
    ["minute", MINUTE, 0],
];

export function bytes(value) {
    const power = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
    const unit = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"][power];
    const form = { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 1 };
    return new Intl.NumberFormat(undefined, form).format(value / 1000 ** power);
}

export function duration(seconds) {
    for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
        if (seconds >= size && seconds % size === 0) return unitText(seconds / size, unit);
    }
    return seconds < 1 && seconds > 0 ? unitText(Math.ceil(seconds * 1000), "millisecond") : unitText(seconds, "second");
}

function unitText(value, unit) {
    const form = { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 1 };
    return new Intl.NumberFormat("en", form).format(value);
}

/** `10 requests per second`. */
export function rate({ requests, per_seconds: seconds }) {
    const per = duration(seconds).replace(/^1 /, "");
    return `${count(requests, "request")} per ${per}`;
}

/** A stranger's text within a sentence that is no HTML: its writing direction ends where it ends. */
export const isolated = (text) => `\u2068${text}\u2069`;

/** The state of a key as it is now, which the clock changes too. */
export function stateOf(key, now = Date.now()) {
    if (key.state !== "active") return key.state;
    if (key.expires && new Date(key.expires) <= now) return "expired";
    if (key.not_before && new Date(key.not_before) > now) return "waiting";
    return "active";
}

/** The secrets that still work. */
export function livingSecrets(key, now = Date.now()) {
    return key.secrets.filter((secret) => !secret.until || new Date(secret.until) > now);
}
