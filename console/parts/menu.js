// A menu behind a button, after the pattern for menu buttons: arrows move, Esc and Tab close, focus comes back.

import { html, useId, useRef, useState } from "../lib/ui.js";
import { Icon } from "./icons.js";

/** `items`: `{label, icon, onChoose, isGrave}`; what is falsy is left out. */
export function Menu({ label, items }) {
    const [isOpen, setOpen] = useState(false);
    const [button, list] = [useRef(null), useRef(null)];
    const id = useId();
    const shown = items.filter(Boolean);
    const entries = () => [...list.current.querySelectorAll("[role=menuitem]")];
    const open = (index) => {
        list.current.showPopover();
        place(button.current, list.current);
        entries().at(index)?.focus();
    };
    const close = () => {
        list.current.hidePopover();
        button.current.focus();
    };
    const choose = (item) => {
        close();
        item.onChoose();
    };
    const onButtonKey = (event) => {
        if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
        event.preventDefault();
        open(event.key === "ArrowDown" ? 0 : -1);
    };
    const onListKey = (event) => {
        const all = entries();
        const at = all.indexOf(document.activeElement);
        const next = { ArrowDown: (at + 1) % all.length, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
        if (next !== undefined) all.at(next).focus();
        else if (event.key === "Escape" || event.key === "Tab") close();
        else return;
        event.preventDefault();
    };
    return html`<span class="menu">
        <button type="button" ref=${button} class="icon-button" aria-label=${label} aria-haspopup="menu"
            aria-expanded=${isOpen ? "true" : "false"} aria-controls=${id}
            onClick=${() => (isOpen ? close() : open(0))} onKeyDown=${onButtonKey}><${Icon} name="dots" /></button>
        <div ref=${list} id=${id} class="menu-list" popover="auto" role="menu" aria-label=${label}
            onToggle=${(event) => setOpen(event.newState === "open")} onKeyDown=${onListKey}>
            ${shown.map((item) => html`<button type="button" key=${item.label} role="menuitem" tabindex="-1"
                class=${item.isGrave ? "grave" : ""} onClick=${() => choose(item)}>
                <${Icon} name=${item.icon} />${item.label}
            </button>`)}
        </div>
    </span>`;
}

/** Below the button's right end, or above it where there is no room. */
function place(button, list) {
    const { right, bottom, top } = button.getBoundingClientRect();
    const { width, height } = list.getBoundingClientRect();
    const below = bottom + 4 + height < innerHeight;
    list.style.left = `${Math.max(8, right - width)}px`;
    list.style.top = `${below ? bottom + 4 : Math.max(8, top - height - 4)}px`;
}
