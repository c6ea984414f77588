// Who is signed in, and what that role may see.

import { createContext, useContext } from "./ui.js";

const Session = createContext(null);

export const SessionProvider = Session.Provider;

/** Role, owner and names, with the questions that pages ask of them. */
export function useSession() {
    return useContext(Session);
}

export function knownSession(answer) {
    const { role, owner } = answer;
    return {
        ...answer,
        isOwner: role === "owner",
        /** Sees all owners, rules, audit log and status. */
        seesAll: role !== "owner",
        /** Makes and changes keys. */
        mayChange: role !== "viewer",
        /** Gives keys plans, scopes and owners; has the file loaded. */
        mayDecide: role === "operator",
        name: answer.display_name || (role === "owner" ? owner : role === "operator" ? "Operator" : "Viewer"),
    };
}
