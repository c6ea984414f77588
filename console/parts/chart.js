// Bars over time, stacked, drawn by uPlot, which is fetched when the first chart is; with a legend and a table for those who cannot see it.

import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { count, number, shortNumber, stretch } from "../lib/format.js";
import { onThemeChange } from "../lib/theme.js";

/** `lines`: `{name, label, colour, values, total}`; `starts`: when each stretch begins, in milliseconds. */
export function Chart({ starts, by, lines, label, what = "request" }) {
    const place = useRef(null);
    const [at, setAt] = useState(null);
    const [round, setRound] = useState(0);
    useEffect(() => onThemeChange(() => setRound((round) => round + 1)), []);
    useEffect(() => {
        const abort = new AbortController();
        uPlot().then((uPlot) => abort.signal.aborted || draw(uPlot, place.current, { starts, by, lines, setAt }, abort.signal), () => null);
        return () => abort.abort();
    }, [starts.join(), by, lines, round]);
    const total = lines.reduce((sum, line) => sum + line.total, 0);
    const values = (line) => (at === null ? line.total : line.values[at]);
    return html`<figure class="chart">
        <div ref=${place} class="chart-place" role="img" aria-label=${`${label}: ${count(total, what)}`}></div>
        <ul class="legend">
            ${lines.toReversed().map((line) => html`<li key=${line.name}><svg class="swatch" viewBox="0 0 9 9" aria-hidden="true"><rect width="9" height="9" fill=${line.colour} /></svg><bdi>${line.label}</bdi> <strong>${number(values(line))}</strong></li>`)}
            <li class="when">${at === null ? "" : stretch(starts[at], by)}</li>
        </ul>
    </figure>`;
}

/** The colour with this number; what is beyond them shares the last. */
export const colour = (index) => `var(--chart-${Math.min(index, COLOURS - 1) + 1})`;

const COLOURS = 7;
const HEIGHT = 210;

/** The library is a classic script, so that the file is the one that its makers publish. */
let fetched = null;
function uPlot() {
    fetched ??= new Promise((resolve, reject) => {
        const sheet = Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/assets/vendor/uplot/uplot.css" });
        const script = Object.assign(document.createElement("script"), { src: "/assets/vendor/uplot/uplot.js" });
        script.onload = () => resolve(globalThis.uPlot);
        script.onerror = reject;
        document.head.append(sheet, script);
    });
    return fetched;
}

function draw(uPlot, place, { starts, by, lines, setAt }, signal) {
    const styles = getComputedStyle(place);
    const ink = (name) => resolved(place, `var(--${name})`);
    const font = `11px ${styles.fontFamily}`;
    const axis = { stroke: ink("faint"), font, ticks: { show: false }, grid: { stroke: ink("line"), width: 1 } };
    const options = {
        width: place.clientWidth,
        height: HEIGHT,
        padding: [8, 6, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { time: true, range: (_, from, to) => [from - step(starts) / 2, to + step(starts) / 2] }, y: { range: (_, __, most) => [0, ceiling(most)] } },
        axes: [
            { ...axis, grid: { show: false }, size: 28, space: 64, values: (_, splits) => splits.map((at) => tick(at, by)) },
            { ...axis, size: 48, space: 36, incrs: WHOLE, values: (_, splits) => splits.map(shortNumber) },
        ],
        // The highest sum is painted first, and each lower one over it.
        series: [{}, ...lines.map((line) => bars(uPlot, resolved(place, line.colour)))],
        hooks: { setCursor: [(plot) => setAt(plot.cursor.idx ?? null)] },
    };
    const plot = new uPlot(options, [starts.map((start) => start / 1000), ...sums(lines)], place);
    const watcher = new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: HEIGHT }));
    watcher.observe(place);
    signal.addEventListener("abort", () => {
        watcher.disconnect();
        plot.destroy();
    });
}

function bars(uPlot, fill) {
    return { fill, stroke: fill, width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.72, 28], radius: 0.12 }) };
}

/** Of each line the sum of itself and all that stand below it; the first line stands on top. */
function sums(lines) {
    const below = lines[0]?.values.map(() => 0) ?? [];
    const stacked = lines.toReversed().map((line) => line.values.map((value, place) => (below[place] += value)));
    return stacked.toReversed();
}

function tick(at, by) {
    const time = new Date(at * 1000);
    return by === "day" ? DAY.format(time) : HOUR.format(time);
}

/** A colour as the canvas takes it. */
function resolved(place, value) {
    const probe = document.createElement("span");
    probe.style.color = value;
    place.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
}

const step = (starts) => (starts[1] - starts[0]) / 1000;
const ceiling = (most) => Math.max(4, most * 1.08);
const WHOLE = [1, 2, 5].flatMap((digit) => Array.from({ length: 13 }, (_, power) => digit * 10 ** power)).sort((a, b) => a - b);
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
const HOUR = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
