// Thirty days of requests as thirty small bars.

import { html } from "../lib/ui.js";
import { count } from "../lib/format.js";

export function Sparkline({ values }) {
    if (!values) return html`<span class="faint">–</span>`;
    const most = Math.max(...values);
    const total = values.reduce((sum, value) => sum + value, 0);
    const label = `${count(total, "request")} in 30 days`;
    const bars = values.map((value, day) => {
        const height = value ? Math.max(1.5, (value / most) * HEIGHT) : 0;
        return height ? `M${day * STEP} ${HEIGHT + 1}v${-height.toFixed(2)}h${STEP - 0.8}v${height.toFixed(2)}z` : "";
    });
    return html`<svg class="spark" viewBox=${`0 0 ${values.length * STEP} ${HEIGHT + 2}`} width=${values.length * STEP} height=${HEIGHT + 2}
        role="img" aria-label=${label}>
        <title>${label}</title>
        <path class="spark-ground" d=${`M0 ${HEIGHT + 1.5}h${values.length * STEP}`} />
        <path d=${bars.join("")} />
    </svg>`;
}

const HEIGHT = 18;
const STEP = 2.8;
