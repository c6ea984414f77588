// Back and forth between pages that the API hands out by cursors.

import { html, useEffect, useState } from "../lib/ui.js";
import { Icon } from "./icons.js";

/** The cursors of the pages so far; `reason` begins anew when it changes. */
export function useCursors(reason) {
    const [cursors, setCursors] = useState([null]);
    useEffect(() => setCursors([null]), [reason]);
    return {
        cursor: cursors.at(-1),
        page: cursors.length,
        forth: (next) => setCursors((cursors) => [...cursors, next]),
        back: () => setCursors((cursors) => (cursors.length > 1 ? cursors.slice(0, -1) : cursors)),
    };
}

export function Pager({ cursors, next, said }) {
    const isFirst = cursors.page === 1;
    if (isFirst && !next) return html`<p class="pager"><span class="faint" role="status">${said}</span></p>`;
    return html`<nav class="pager" aria-label="Pages of the list">
        <span class="faint" role="status">${said}</span>
        <button type="button" class="quiet" aria-disabled=${isFirst ? "true" : undefined} onClick=${cursors.back}><${Icon} name="left" />Previous</button>
        <span aria-live="polite">Page ${cursors.page}</span>
        <button type="button" class="quiet" aria-disabled=${next ? undefined : "true"} onClick=${() => next && cursors.forth(next)}>Next<${Icon} name="right" /></button>
    </nav>`;
}
