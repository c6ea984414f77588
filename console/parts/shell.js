// The frame of every page: who is here, where one can go, and what has just happened.

import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { onAnnounce } from "../lib/announce.js";
import { useSession } from "../lib/session.js";
import { chooseTheme, chosenTheme } from "../lib/theme.js";
import { Icon, Mark } from "./icons.js";

const LINKS = [
    { part: "keys", icon: "key", label: "API Keys" },
    { part: "usage", icon: "chart", label: "Usage" },
    { part: "rules", icon: "routes", label: "Routes and plans", forAll: true },
    { part: "audit", icon: "list", label: "Audit", forAll: true },
    { part: "status", icon: "pulse", label: "Status", forAll: true },
    { part: "explain", icon: "help", label: "Explain", forAll: true },
];

export function Shell({ page, children, onSignOut }) {
    const [isOpen, setOpen] = useState(false);
    useEffect(() => setOpen(false), [page, children]);
    return html`<div class="shell">
        <a class="skip" href="#content" onClick=${skip}>Skip to content</a>
        <aside class=${isOpen ? "side open" : "side"}>
            <div class="side-head">
                <${Profile} />
                <button type="button" class="icon-button side-toggle" aria-expanded=${isOpen ? "true" : "false"}
                    aria-controls="side-body" aria-label="Menu" onClick=${() => setOpen(!isOpen)}>
                    <${Icon} name=${isOpen ? "close" : "menu"} />
                </button>
            </div>
            <div class="side-body" id="side-body">
                <${Links} page=${page} />
                <${SideFoot} onSignOut=${onSignOut} />
            </div>
        </aside>
        <main id="content" tabindex="-1">${children}</main>
        <${Toasts} />
    </div>`;
}

/** The head of a page. */
export function PageHead({ title, tab = title, lead, children, back }) {
    const heading = useRef(null);
    useEffect(() => {
        document.title = `${tab} – keygate`;
    }, [tab]);
    useEffect(() => {
        if (isFirst) isFirst = false;
        else heading.current.focus({ preventScroll: true });
    }, []);
    return html`<header class="page-head">
        <div class="page-title">
            ${back && html`<a class="back" href=${back.href}><${Icon} name="left" />${back.label}</a>`}
            <h1 ref=${heading} tabindex="-1">${title}</h1>
        </div>
        <div class="page-actions">${children}</div>
        ${lead && html`<div class="lead">${lead}</div>`}
    </header>`;
}

/** Puts the focus on the heading when what had it went away with what was shown before. */
export function useKeptFocus(shown) {
    const before = useRef(undefined);
    useEffect(() => {
        const isLost = document.activeElement === document.body || !document.activeElement;
        if (before.current !== undefined && isLost) document.querySelector("h1")?.focus({ preventScroll: true });
        before.current = shown;
    }, [shown]);
}

/** On the first page focus stays where the browser puts it. */
let isFirst = true;

function skip(event) {
    event.preventDefault();
    document.getElementById("content").focus();
}

function Profile() {
    const session = useSession();
    const role = { operator: "All owners", viewer: "All owners, read only", owner: "API access" }[session.role];
    return html`<div class="profile">
        <span class="avatar" aria-hidden="true">${initial(session.name)}</span>
        <div>
            <p class="profile-name"><bdi>${session.name}</bdi></p>
            <p class="profile-role">${role}</p>
        </div>
    </div>`;
}

const initial = (name) => [...name.trim()][0]?.toLocaleUpperCase() ?? "?";

function Links({ page }) {
    const session = useSession();
    const item = ({ part, icon, label }) => html`<li key=${part}>
        <a href=${`#/${part}`} aria-current=${page === part ? "page" : undefined}><${Icon} name=${icon} />${label}</a>
    </li>`;
    return html`<nav aria-label="Pages">
        <ul>${LINKS.filter((link) => !link.forAll).map(item)}</ul>
        ${session.seesAll && html`<p class="nav-head" id="nav-gateway">Gateway</p>
            <ul aria-labelledby="nav-gateway">${LINKS.filter((link) => link.forAll).map(item)}</ul>`}
    </nav>`;
}

function SideFoot({ onSignOut }) {
    const session = useSession();
    return html`<div class="side-foot">
        ${session.return_url && html`<a href=${session.return_url}><${Icon} name="back" />Back to the application</a>`}
        <${ThemeSwitch} />
        <button type="button" class="side-button" onClick=${onSignOut}><${Icon} name="out" />Sign out</button>
        <p class="brand"><${Mark} />keygate</p>
    </div>`;
}

function ThemeSwitch() {
    const [theme, setTheme] = useState(chosenTheme);
    const choose = (event) => {
        chooseTheme(event.target.value);
        setTheme(event.target.value);
    };
    const words = [["system", "Auto"], ["light", "Light"], ["dark", "Dark"]];
    return html`<fieldset class="segments small">
        <legend class="unseen">Theme</legend>
        ${words.map(([value, word]) => html`<label key=${value}>
            <input type="radio" name="theme" value=${value} checked=${theme === value} onChange=${choose} /><span>${word}</span>
        </label>`)}
    </fieldset>`;
}

function Toasts() {
    const [toast, setToast] = useState({ text: "", round: 0 });
    useEffect(() => onAnnounce((text) => setToast(({ round }) => ({ text, round: round + 1 }))), []);
    useEffect(() => {
        if (!toast.text) return undefined;
        const timer = setTimeout(() => setToast({ text: "", round: toast.round }), SHOWN_MS);
        return () => clearTimeout(timer);
    }, [toast.round]);
    return html`<div class="toasts" role="status" aria-live="polite">
        ${toast.text && html`<p class="toast" key=${toast.round}><${Icon} name="check" />${toast.text}</p>`}
    </div>`;
}

const SHOWN_MS = 7000;
