// Usage as a chart with its controls: over which time, split by what.

import { html, useMemo, useState } from "../lib/ui.js";
import { number, share } from "../lib/format.js";
import { useLoad } from "../lib/load.js";
import { CLASSES, fromFirst, series, stretches, usage } from "../lib/usage.js";
import { Chart, colour } from "./chart.js";
import { Problem, Waiting } from "./text.js";

const SPAN_WORDS = [["minute", "60 minutes"], ["hour", "48 hours"], ["day", "30 days"]];
const SPLIT_WORDS = [["class", "By status"], ["route", "By route"]];
const CLASS_COLOURS = { "2xx": 0, "3xx": 1, "4xx": 2, "5xx": 4, denied: 3, upstream_failed: 6, client_gone: 5, "1xx": 5, none: 5 };

/** `who`: what the query is confined to, `{key}` or `{owner}`; `splits`: more dimensions, as `[name, words]`. */
export function UsageChart({ who, splits = [], title = "Usage", children }) {
    const [by, setBy] = useState("day");
    const [group, setGroup] = useState("class");
    const starts = useMemo(() => stretches(by), [by]);
    const asked = JSON.stringify(who);
    const load = useLoad((signal) => usage({ ...who, by, group, from: fromFirst(starts), limit: 1000 }, signal).then((answer) => ({ answer, starts, by, group })), [asked, by, group]);
    const { value } = load;
    const lines = useMemo(() => (value?.answer ? coloured(series(value.answer.rows, value.starts, value.group, "requests", value.group === "class" ? Infinity : 6), value.group) : []), [value]);
    const isUncounted = value && !value.answer;
    return html`<section class="card wide" aria-label=${title}>
        <div class="card-head">
            <h2>${title}</h2>
            ${!isUncounted && html`
                <${Choice} name="split" words=${[...SPLIT_WORDS, ...splits]} value=${group} onChoose=${setGroup} legend="Split" />
                <${Choice} name="span" words=${SPAN_WORDS} value=${by} onChoose=${setBy} legend="Time" />`}
        </div>
        <${Problem} error=${load.error} retry=${load.reload} />
        <${Waiting} load=${load} />
        ${isUncounted && html`<p class="faint">This gateway does not count usage.</p>`}
        ${value?.answer && html`
            <${Figures} totals=${value.answer.totals} rows=${value.answer.rows} group=${value.group} />
            ${lines.length > 0
                ? html`<${Chart} starts=${value.starts} by=${value.by} lines=${lines} label=${title} />`
                : html`<p class="faint">No requests in this time. The first one shows here within a minute.</p>`}
            ${children?.(value)}`}
    </section>`;
}

export function Choice({ name, words, value, onChoose, legend }) {
    return html`<fieldset class="segments">
        <legend class="unseen">${legend}</legend>
        ${words.map(([one, word]) => html`<label key=${one}>
            <input type="radio" name=${name} value=${one} checked=${value === one} onChange=${() => onChoose(one)} /><span>${word}</span>
        </label>`)}
    </fieldset>`;
}

function Figures({ totals, rows, group }) {
    const refused = rows.filter((row) => row.class === "denied").reduce((sum, row) => sum + row.requests, 0);
    const latency = totals.requests ? (totals.latency_seconds / totals.requests) * 1000 : 0;
    return html`<dl class="figures">
        <div class="figure"><dt>Requests</dt><dd>${number(totals.requests)}</dd></div>
        ${group === "class" && html`<div class="figure"><dt>Denied</dt><dd>${share(refused, totals.requests)}</dd></div>`}
        <div class="figure"><dt>Mean time</dt><dd>${number(Math.round(latency))} ms</dd></div>
    </dl>`;
}

function coloured(lines, group) {
    if (group !== "class") return lines.map((line, place) => ({ ...line, label: line.name === "none" ? "none" : line.name, colour: colour(place) }));
    const order = Object.keys(CLASSES);
    const sorted = lines.toSorted((a, b) => order.indexOf(b.name) - order.indexOf(a.name));
    return sorted.map((line) => ({ ...line, label: CLASSES[line.name] ?? line.name, colour: colour(CLASS_COLOURS[line.name] ?? 5) }));
}
