// Begins: asks who is here, then shows the sign-in or the page that the address names.

import { html, render, useEffect, useLayoutEffect, useState } from "./lib/ui.js";
import { onSessionEnd, read, send } from "./lib/api.js";
import { announce } from "./lib/announce.js";
import { useRoute } from "./lib/route.js";
import { SessionProvider, knownSession } from "./lib/session.js";
import { suggestTheme } from "./lib/theme.js";
import { Problem } from "./parts/text.js";
import { Shell } from "./parts/shell.js";
import { Keys } from "./pages/keys.js";

/** Pages other than the first are fetched when they are wanted. */
const PAGES = {
    key: () => import("./pages/key.js"),
    usage: () => import("./pages/usage.js"),
    rules: () => import("./pages/rules.js"),
    audit: () => import("./pages/audit.js"),
    status: () => import("./pages/status.js"),
    explain: () => import("./pages/explain.js"),
    signIn: () => import("./pages/sign-in.js"),
};
/** What an address may name, and what of it only those who see all owners. */
const NAMED = new Set(["usage", "rules", "audit", "status", "explain"]);
const FOR_ALL = new Set(["rules", "audit", "status", "explain"]);

function Console() {
    // Undefined: not known yet. Null: nobody, and `last` is who it was.
    const [session, setSession] = useState(undefined);
    const [last, setLast] = useState(null);
    const [error, setError] = useState(null);
    const begin = (answer) => {
        suggestTheme(answer.theme);
        setSession(knownSession(answer));
        setError(null);
    };
    const end = (how) => setSession((session) => (setLast({ session, how }), null));
    useLayoutEffect(() => {
        onSessionEnd(() => end("expired"));
        read("/v1/session").then(begin, (refused) => (refused.status === 401 ? setSession(null) : setError(refused)));
    }, []);
    if (error) return html`<main class="plain"><h1>API Keys</h1><${Problem} error=${error} retry=${() => location.reload()} /></main>`;
    if (session === undefined) return null;
    if (session === null) return html`<${Lazy} page="signIn" last=${last} onSession=${begin} />`;
    const signOut = () => send("DELETE", "/v1/session").then(() => end("left"), (refused) => (refused.status === 409 ? announce(refused.message) : end("left")));
    return html`<${SessionProvider} value=${session}><${Pages} session=${session} onSignOut=${signOut} /><//>`;
}

function Pages({ session, onSignOut }) {
    const { parts, query } = useRoute();
    const [first = "keys", second] = parts;
    const page = NAMED.has(first) && (session.seesAll || !FOR_ALL.has(first)) ? first : "keys";
    useEffect(() => scrollTo(0, 0), [page, second]);
    const shown =
        page !== "keys" ? html`<${Lazy} page=${page} query=${query} key=${page} />`
        : second ? html`<${Lazy} page="key" id=${second} query=${query} key=${second} />`
        : html`<${Keys} query=${query} />`;
    return html`<${Shell} page=${page} onSignOut=${onSignOut}>${shown}<//>`;
}

/** A page whose module may have to come first. */
function Lazy({ page, ...rest }) {
    const [Page, setPage] = useState(() => fetched.get(page) ?? null);
    const [error, setError] = useState(null);
    useEffect(() => {
        if (Page) return;
        PAGES[page]().then((module) => {
            fetched.set(page, module.default);
            setPage(() => module.default);
        }, setError);
    }, [page]);
    if (error) return html`<h1 tabindex="-1">Not loaded</h1><${Problem} error=${new Error("A part of this page did not arrive. Check the connection, then try again.")} retry=${() => location.reload()} />`;
    return Page && html`<${Page} ...${rest} />`;
}

const fetched = new Map();

render(html`<${Console} />`, document.getElementById("page"));
