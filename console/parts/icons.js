// Icons: 16 units wide, drawn with lines in the colour of the text, and silent for screen readers.

import { html } from "../lib/ui.js";

const PATHS = {
    plus: "M8 3.25v9.5M3.25 8h9.5",
    copy: "M5.75 5.75v-2a1 1 0 0 1 1-1h5.5a1 1 0 0 1 1 1v5.5a1 1 0 0 1-1 1h-2M3.75 5.75h5.5a1 1 0 0 1 1 1v5.5a1 1 0 0 1-1 1h-5.5a1 1 0 0 1-1-1v-5.5a1 1 0 0 1 1-1Z",
    check: "m3.25 8.5 3 3 6.5-7",
    key: "M9.4 8.6a3.3 3.3 0 1 0-2-2L2.75 11.25v2h2v-1.5h1.5v-1.5h1.5zM10.9 5.1h.01",
    chart: "M2.75 13.25h10.5M4.25 10.75v-3M8 10.75v-7.5M11.75 10.75v-5",
    routes: "M4 5.25a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3ZM12 13.75a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3ZM4 5.25v4a3 3 0 0 0 3 3h3.5M10.5 3.75h2.75",
    list: "M6 4.25h7.25M6 8h7.25M6 11.75h7.25M2.9 4.25h.01M2.9 8h.01M2.9 11.75h.01",
    pulse: "M1.75 8.5h2.75l2-5 3 9 2-4h2.75",
    help: "M8 14a6 6 0 1 0 0-12 6 6 0 0 0 0 12ZM6.4 6.3a1.65 1.65 0 1 1 2.4 1.6c-.5.25-.8.6-.8 1.1M8 11.2h.01",
    dots: "M3.5 8h.01M8 8h.01M12.5 8h.01",
    search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.4 10.4l3.1 3.1",
    rotate: "M13 8a5 5 0 0 1-8.9 3.1L2.75 9.75M3 8a5 5 0 0 1 8.9-3.1l1.35 1.35M13.25 3v3.25H10M2.75 13V9.75H6",
    trash: "M2.75 4.25h10.5M6.25 4.25v-1.5h3.5v1.5M4.25 4.25l.6 8.1a1 1 0 0 0 1 .9h4.3a1 1 0 0 0 1-.9l.6-8.1",
    pause: "M6 3.75v8.5M10 3.75v8.5",
    play: "m5 3.25 7 4.75-7 4.75z",
    pencil: "M3 13l.6-2.6 7-7a1.4 1.4 0 0 1 2 2l-7 7z",
    left: "m9.5 3.75-4.25 4.25 4.25 4.25",
    right: "m6.5 3.75 4.25 4.25-4.25 4.25",
    out: "M6.25 13.25h-2.5a1 1 0 0 1-1-1v-8.5a1 1 0 0 1 1-1h2.5M10.25 11 13.25 8l-3-3M13.25 8h-7",
    back: "M6.5 12 2.5 8l4-4M2.5 8h11",
    warning: "M8 2.5 1.75 13.25h12.5zM8 6.5v3.25M8 11.6h.01",
    down: "M8 2.75v7.5M4.75 7.25 8 10.5l3.25-3.25M2.75 13.25h10.5",
    close: "m4 4 8 8M12 4l-8 8",
    menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
    eye: "M1.75 8S4 3.75 8 3.75 14.25 8 14.25 8 12 12.25 8 12.25 1.75 8 1.75 8ZM8 9.75a1.75 1.75 0 1 0 0-3.5 1.75 1.75 0 0 0 0 3.5Z",
    lock: "M4.25 7.25h7.5a1 1 0 0 1 1 1v4a1 1 0 0 1-1 1h-7.5a1 1 0 0 1-1-1v-4a1 1 0 0 1 1-1ZM5.25 7.25V5.5a2.75 2.75 0 0 1 5.5 0v1.75",
};

export function Icon({ name }) {
    return html`<svg class=${name === "dots" ? "icon heavy" : "icon"} viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}

export function Mark() {
    return html`<svg class="mark" viewBox="0 0 32 32" width="20" height="20" aria-hidden="true">
        <path d="M9 26V14a7 7 0 0 1 14 0v12M16 18v8" /><circle cx="16" cy="16" r="2.4" />
    </svg>`;
}
