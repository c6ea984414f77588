// What can be done with a key: the menu's entries, and the dialog that an entry opens.

import { html, useState } from "../lib/ui.js";
import { keyPath, send } from "../lib/api.js";
import { announce } from "../lib/announce.js";
import { isolated, stateOf } from "../lib/format.js";
import { useSession } from "../lib/session.js";
import { DeleteDialog } from "./delete-dialog.js";
import { EditDialog } from "./edit-dialog.js";
import { RotateDialog } from "./rotate-dialog.js";

/** `{items(key), dialog}`; `onChange` is called after every change. */
export function useKeyActions(onChange) {
    const session = useSession();
    const [opened, setOpened] = useState(null);
    const close = () => setOpened(null);
    const done = (said) => {
        close();
        announce(said);
        onChange();
    };
    const turn = async (apiKey, verb, said) => {
        try {
            await send("POST", keyPath(apiKey.id, `/${verb}`));
            done(`${isolated(apiKey.name)} is ${said}.`);
        } catch (refused) {
            announce(refused.message);
        }
    };
    const items = (apiKey) => {
        const [isStored, isFinal] = [apiKey.source === "store", apiKey.state === "revoked"];
        const open = (Kind) => () => setOpened({ Kind, apiKey });
        if (!session.mayChange || isFinal) return [];
        return [
            isStored && { label: "Edit", icon: "pencil", onChoose: open(EditDialog) },
            isStored && stateOf(apiKey) === "active" && { label: "Rotate", icon: "rotate", onChoose: open(RotateDialog) },
            isStored && apiKey.state === "active" && { label: "Disable", icon: "pause", onChoose: () => turn(apiKey, "disable", "disabled: requests with it are refused") },
            isStored && apiKey.state === "disabled" && { label: "Enable", icon: "play", onChoose: () => turn(apiKey, "enable", "enabled") },
            { label: "Delete", icon: "trash", isGrave: true, onChoose: open(DeleteDialog) },
        ].filter(Boolean);
    };
    const made = () => {
        announce("The key has a new secret.");
        onChange();
    };
    const dialog = opened && html`<${opened.Kind} apiKey=${opened.apiKey} onClose=${close} onDone=${done} onMade=${made} />`;
    return { items, dialog };
}
