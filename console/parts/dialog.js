// A modal dialog, the browser's own: focus stays inside, Esc closes it, and focus goes back to where it was.

import { html, useId, useLayoutEffect, useRef } from "../lib/ui.js";
import { Icon } from "./icons.js";

/**
 * `onClose` is asked when the reader wants to leave by Esc or the cross; it need not follow. A click beside the dialog does nothing:
 * what was typed would be lost by accident.
 */
export function Dialog({ title, onClose, children, role = "dialog", describedBy, size = "" }) {
    const element = useRef(null);
    const titleId = useId();
    useLayoutEffect(() => {
        const dialog = element.current;
        const before = document.activeElement;
        dialog.showModal();
        return () => {
            dialog.close();
            if (before?.isConnected) before.focus();
            else document.querySelector("h1")?.focus();
        };
    }, []);
    const leave = (event) => {
        event.preventDefault();
        onClose();
    };
    return html`<dialog ref=${element} class=${size} role=${role} aria-labelledby=${titleId} aria-describedby=${describedBy} onCancel=${leave}>
        <div class="dialog-box">
            <header>
                <h2 id=${titleId}>${title}</h2>
                ${role === "dialog" && html`<button type="button" class="icon-button" onClick=${onClose} aria-label="Close"><${Icon} name="close" /></button>`}
            </header>
            ${children}
        </div>
    </dialog>`;
}
