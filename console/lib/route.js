// Where the reader is: `#/keys/key_1?by=day`. Links are plain anchors; filters live in the query, so Back works.

import { useEffect, useState } from "./ui.js";

export function here() {
    const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
    const parts = path.split("/").filter(Boolean).map(decoded);
    return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

export function link(parts, query = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
    const path = `#/${parts.map(encodeURIComponent).join("/")}`;
    return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Changes filters without a step in the history. */
export function replaceQuery(query) {
    history.replaceState(null, "", link(here().parts, query));
    dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute() {
    const [route, setRoute] = useState(here);
    useEffect(() => {
        const follow = () => setRoute(here());
        addEventListener("hashchange", follow);
        return () => removeEventListener("hashchange", follow);
    }, []);
    return route;
}

function decoded(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;
    }
}
