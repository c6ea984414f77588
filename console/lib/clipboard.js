// Writes to the clipboard, and says whether that happened: a key that is thought to be copied and is not would be lost.

/** Tries the clipboard, then the old command on the selected text. */
export async function copyText(text, field) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        return copySelected(field);
    }
}

/** Selects a field's text, so that one key stroke copies it. */
export function select(field) {
    if (!field) return;
    if (typeof field.select === "function") {
        field.focus();
        field.select();
    } else {
        getSelection().selectAllChildren(field);
    }
}

export const copyStroke = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘C" : "Ctrl+C";

function copySelected(field) {
    if (!field) return false;
    select(field);
    try {
        return document.execCommand("copy");
    } catch {
        return false;
    }
}
