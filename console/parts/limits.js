// What a key may use, and what of it remains.

import { html } from "../lib/ui.js";
import { duration, number, rate } from "../lib/format.js";
import { Time } from "./text.js";

export function Limits({ limits, quotas = [] }) {
    return html`<div class="limits">
        ${quotas.map((quota) => html`<${Bar} key=${`quota ${quota.name}`} name=${quota.name} left=${quota.remaining} all=${quota.requests + quota.extra}
            rule=${`${number(quota.requests)} per ${quota.period}${quota.extra ? ` and ${number(quota.extra)} extra` : ""}`}>
            starts anew <${Time} at=${quota.resets} />
        <//>`)}
        ${limits.map((limit) => html`<${Bar} key=${limit.name} name=${limit.name} left=${limit.remaining} all=${limit.burst} rule=${rate(limit)}>
            ${limit.retry_after_seconds > 0 ? `next in ${duration(Math.ceil(limit.retry_after_seconds))}` : ""}
        <//>`)}
    </div>`;
}

function Bar({ name, left, all, rule, children }) {
    const kind = left === 0 ? "none" : left < all * 0.15 ? "low" : "";
    return html`<div class="limit">
        <p class="limit-head"><strong>${name}</strong><span class="faint">${rule}</span></p>
        <progress class=${kind} value=${left} max=${Math.max(all, 1)} aria-label=${`${name}: what remains`}>${number(left)}</progress>
        <p class="limit-head hint"><span>${number(left)} of ${number(all)} left</span><span>${children}</span></p>
    </div>`;
}
