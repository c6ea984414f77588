// The fields of a key to be made or changed, and what they say to the API.

import { html } from "../lib/ui.js";
import { read } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { Field } from "./text.js";

/** Texts as they stand in the fields. */
export function textsOf(key = {}) {
    return {
        name: key.name ?? "",
        owner: key.owner ?? "",
        plan: key.plan ?? "",
        scopes: (key.scopes ?? []).join(" "),
        networks: (key.networks ?? []).join(" "),
        expires: key.expires ? "keep" : "never",
        date: "",
    };
}

/** The fields of a body: only those that differ from what was there, and those that this role may set. */
export function bodyOf(texts, before, session) {
    const body = {};
    const isNew = !before;
    const was = textsOf(before ?? {});
    const take = (field, value) => texts[field] !== was[field] && (body[field] = value);
    if (isNew || texts.name !== was.name) body.name = texts.name;
    take("networks", words(texts.networks));
    if (texts.expires !== was.expires) body.expires = end(texts);
    if (session.mayDecide) {
        take("owner", texts.owner.trim() || null);
        take("plan", texts.plan || null);
        take("scopes", words(texts.scopes));
    }
    return isNew ? Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null)) : body;
}

/** Everything but the name. */
export function AdvancedFields({ texts, set, refused, apiKey }) {
    const session = useSession();
    const plans = useLoad((signal) => (session.mayDecide ? read("/v1/plans", {}, signal) : Promise.resolve(null)), []);
    const text = (field) => ({ value: texts[field], onInput: (event) => set(field, event.target.value) });
    const wrong = (field) => refused?.about?.(field);
    return html`<div class="fields">
        ${session.mayDecide && html`
            <${Field} label="Owner" hint="The customer whom it belongs to" isOptional wrong=${wrong("owner")}>
                ${(names) => html`<input ...${names} ...${text("owner")} autocomplete="off" spellcheck="false" maxlength="128" />`}
            <//>
            <${Field} label="Plan" wrong=${wrong("plan")}>
                ${(names) => html`<select ...${names} value=${texts.plan} onChange=${(event) => set("plan", event.target.value)}>
                    <option value="">The default plan</option>
                    ${(plans.value?.plans ?? []).map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
                </select>`}
            <//>
            <${Field} label="Scopes" hint="With spaces between: orders:read orders:write" isOptional wrong=${wrong("scopes")}>
                ${(names) => html`<input ...${names} ...${text("scopes")} class="mono" autocomplete="off" autocapitalize="off" spellcheck="false" />`}
            <//>`}
        <${Expiry} texts=${texts} set=${set} wrong=${wrong("expires")} apiKey=${apiKey} />
        <div class="whole"><${Field} label="Networks" hint="Where it works from: 203.0.113.0/24 2001:db8::/32. Empty: anywhere" isOptional wrong=${wrong("networks")}>
            ${(names) => html`<input ...${names} ...${text("networks")} class="mono" autocomplete="off" autocapitalize="off" spellcheck="false" />`}
        <//></div>
    </div>`;
}

export function NameField({ texts, set, wrong }) {
    return html`<${Field} label="Name" hint="What it is for, such as “Nightly import” or “Acme production”" wrong=${wrong}>
        ${(names) => html`<input ...${names} dir="auto" value=${texts.name} onInput=${(event) => set("name", event.target.value)}
            required autofocus autocomplete="off" />`}
    <//>`;
}

function Expiry({ texts, set, wrong, apiKey }) {
    const tomorrow = new Date(Date.now() + 86_400_000).toISOString().slice(0, 10);
    return html`<${Field} label="Expires" wrong=${wrong}>
        ${(names) => html`<span class="pair">
            <select ...${names} value=${texts.expires} onChange=${(event) => set("expires", event.target.value)}>
                ${apiKey?.expires && html`<option value="keep">As it is</option>`}
                <option value="never">Never</option>
                <option value="7d">In 7 days</option>
                <option value="30d">In 30 days</option>
                <option value="90d">In 90 days</option>
                <option value="365d">In a year</option>
                <option value="date">After a day …</option>
            </select>
            ${texts.expires === "date" && html`<input type="date" aria-label="Last day" required min=${tomorrow} value=${texts.date}
                onInput=${(event) => set("date", event.target.value)} />`}
        </span>`}
    <//>`;
}

function end({ expires, date }) {
    if (expires === "never") return null;
    if (expires !== "date") return expires;
    const last = new Date(`${date}T23:59:59`);
    return Number.isNaN(last.valueOf()) ? "" : last.toISOString().replace(".000", "");
}

const words = (text) => text.split(/[\s,;]+/).filter(Boolean);
