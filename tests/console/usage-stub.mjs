// Answers of the usage API with numbers in every corner, for states of the page that take weeks to come about.

const DAY = 86_400_000;
const MS = { minute: 60_000, hour: 3_600_000, day: DAY };
const KINDS = [["2xx", "orders", 300], ["2xx", "search", 140], ["4xx", "orders", 21], ["denied", "orders", 12], ["5xx", "search", 4]];

/** Has the page see usage of these keys, of each less than of the one before, and what remains of their limits. */
export async function stubUsage(page, keys, owner = "acme") {
    await page.route("**/v1/usage?*", (route) => route.fulfill({ json: usage(new URL(route.request().url()).searchParams, keys, owner) }));
    await page.route("**/v1/keys/*/allowance", (route) => route.fulfill({ json: allowance() }));
}

function usage(query, keys, owner) {
    const by = query.get("by") ?? "day";
    const dimensions = (query.get("group") ?? "").split(",").filter(Boolean);
    const to = Math.floor(Date.now() / MS[by]) * MS[by];
    const totals = nothing();
    const rows = new Map();
    for (let start = Date.parse(query.get("from")); start <= to; start += MS[by]) {
        for (const [place, key, kind, route, much] of keys.flatMap((key, place) => KINDS.map((rest) => [place, key, ...rest]))) {
            if (query.get("key") && query.get("key") !== key) continue;
            const requests = Math.round((much / (place + 1)) * wave(start / MS[by], much + place));
            const full = { key, owner, plan: "pro", route, class: kind };
            const named = { start: new Date(start).toISOString().replace(".000", "") };
            for (const dimension of dimensions) named[dimension] = full[dimension];
            const sum = rows.get(JSON.stringify(named)) ?? { ...nothing(), ...named };
            for (const counted of [sum, totals]) {
                counted.requests += requests;
                counted.units += requests;
                counted.bytes_out += requests * 812;
                counted.latency_seconds += requests * 0.018;
            }
            rows.set(JSON.stringify(named), sum);
        }
    }
    return { from: query.get("from"), to: new Date(to).toISOString(), by, rows: [...rows.values()], totals, next: null };
}

/** Weeks with quiet weekends, the same in every run. */
function wave(place, much) {
    const noise = Math.abs(Math.sin(place * 12.9898 + much) * 43758.5453) % 1;
    return (place % 7 < 2 ? 0.35 : 1) * (0.7 + 0.5 * noise);
}

function allowance() {
    return {
        plan: "pro",
        limits: [{ name: "burst", requests: 200, per_seconds: 1, burst: 200, remaining: 200, retry_after_seconds: 0 }, { name: "hourly", requests: 1000, per_seconds: 3600, burst: 1000, remaining: 118, retry_after_seconds: 0 }],
        quotas: [{ name: "monthly", period: "month", requests: 100_000, extra: 5000, used: 51_200, remaining: 53_800, resets: new Date(Date.now() + 7 * DAY).toISOString() }],
    };
}

const nothing = () => ({ requests: 0, units: 0, bytes_in: 0, bytes_out: 0, latency_seconds: 0, latency: {} });
