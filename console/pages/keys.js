// API Keys, the first page: the list, its filters, and the button that makes a key.

import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { read } from "../lib/api.js";
import { announce } from "../lib/announce.js";
import { createLine, curlLine, portalLine } from "../lib/curl.js";
import { count, isolated } from "../lib/format.js";
import { keyPage } from "../lib/keys.js";
import { useLoad } from "../lib/load.js";
import { replaceQuery } from "../lib/route.js";
import { useSession } from "../lib/session.js";
import { sparklines } from "../lib/usage.js";
import { CreateDialog } from "../parts/create-dialog.js";
import { Icon } from "../parts/icons.js";
import { useKeyActions } from "../parts/key-actions.js";
import { KeyTable } from "../parts/key-table.js";
import { Pager, useCursors } from "../parts/pager.js";
import { PageHead, useKeptFocus } from "../parts/shell.js";
import { Code, Empty, Problem, Waiting } from "../parts/text.js";

export function Keys({ query }) {
    const session = useSession();
    const [isCreating, setCreating] = useState(false);
    const [fresh, setFresh] = useState([]);
    const filters = JSON.stringify(query);
    const cursors = useCursors(filters);
    const list = useLoad((signal) => keyPage(query, cursors.cursor, signal), [filters, cursors.cursor]);
    const shown = withFresh(list.value?.keys ?? [], fresh, cursors.page);
    const lines = useSparklines(shown.map((key) => key.id));
    const actions = useKeyActions(() => (setFresh([]), list.reload()));
    const made = (key) => {
        setFresh((fresh) => [key, ...fresh]);
        announce(`${isolated(key.name)} was created.`);
        list.reload();
    };
    useKeptFocus(list.value);
    useEffect(() => void (list.value && performance.mark("keygate-usable")), [list.value]);
    const isFiltered = Object.keys(query).length > 0;
    const isEmpty = list.value && shown.length === 0;
    const create = html`<button type="button" class="primary" onClick=${() => setCreating(true)}><${Icon} name="plus" />New key</button>`;
    return html`
        <${PageHead} title="API Keys" lead=${session.isOwner ? "Keys let your applications use the API. Whoever has one can use it: keep them secret." : "Keys of all owners. What is changed here is in force with the next request."}>
            ${session.mayChange && create}
        <//>
        ${(isFiltered || !isEmpty) && html`<${Filters} query=${query} />`}
        <${Problem} error=${list.error} retry=${list.reload} />
        <${Waiting} load=${list} />
        ${list.value && (isEmpty ? html`<${NoKeys} isFiltered=${isFiltered} create=${session.mayChange && create} />` : html`
            <${KeyTable} keys=${shown} fresh=${new Set(fresh.map((key) => key.id))} lines=${lines} items=${actions.items} />
            <${Pager} cursors=${cursors} next=${list.value.next} said=${count(shown.length, "key")} />`)}
        ${isCreating && html`<${CreateDialog} owner=${query.owner} onMade=${made} onClose=${() => setCreating(false)} />`}
        ${actions.dialog}`;
}

/** What was made just now stands first, wherever the list has it. */
function withFresh(keys, fresh, page) {
    if (page > 1) return keys;
    const ids = new Set(fresh.map((key) => key.id));
    return [...fresh, ...keys.filter((key) => !ids.has(key.id))];
}

function useSparklines(ids) {
    const wanted = ids.join();
    // A usage API that does not answer leaves the column out, not the page.
    const load = useLoad((signal) => (ids.length ? sparklines(ids, signal).catch(() => null) : Promise.resolve(null)), [wanted]);
    return load.value;
}

function Filters({ query }) {
    const session = useSession();
    const set = (field, value) => {
        const next = { ...query, [field]: value };
        if (!value) delete next[field];
        replaceQuery(next);
    };
    const states = [["", "All but deleted"], ["active", "Active"], ["disabled", "Disabled"], ["revoked", "Deleted"]];
    return html`<div class="filters" role="search" aria-label="Keys">
        <${Search} text=${query.q ?? ""} onText=${(text) => set("q", text)} label="Search by name or id" />
        <label class="filter"><span class="unseen">State</span>
            <select value=${query.state ?? ""} onChange=${(event) => set("state", event.target.value)}>
                ${states.map(([value, word]) => html`<option key=${value} value=${value}>${word}</option>`)}
            </select></label>
        ${session.seesAll && html`<${PlanFilter} plan=${query.plan ?? ""} set=${set} />
            <${Search} text=${query.owner ?? ""} onText=${(text) => set("owner", text)} label="Owner" isSmall />`}
        <label class="check"><input type="checkbox" checked=${query.unused === "30"} onChange=${(event) => set("unused", event.target.checked ? "30" : "")} />Unused for 30 days</label>
    </div>`;
}

function PlanFilter({ plan, set }) {
    const plans = useLoad((signal) => read("/v1/plans", {}, signal), []);
    return html`<label class="filter"><span class="unseen">Plan</span>
        <select value=${plan} onChange=${(event) => set("plan", event.target.value)}>
            <option value="">All plans</option>
            ${(plans.value?.plans ?? []).map(({ name }) => html`<option key=${name} value=${name}>${name}</option>`)}
        </select></label>`;
}

/** A text that filters once the reader pauses. */
function Search({ text, onText, label, isSmall }) {
    const [typed, setTyped] = useState(text);
    const timer = useRef(0);
    useEffect(() => setTyped(text), [text]);
    const type = (event) => {
        const { value } = event.target;
        setTyped(value);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => onText(value.trim()), PAUSE_MS);
    };
    return html`<label class=${isSmall ? "search small" : "search"}>
        <span class="unseen">${label}</span>
        ${!isSmall && html`<${Icon} name="search" />`}
        <input type="search" placeholder=${label} value=${typed} onInput=${type} autocomplete="off" spellcheck="false" />
    </label>`;
}

function NoKeys({ isFiltered, create }) {
    const session = useSession();
    if (isFiltered) {
        return html`<${Empty} icon="search" title="No key matches">
            <p>Search looks into names and ids. Owners have to be written out in full.</p>
            <p><button type="button" onClick=${() => replaceQuery({})}>Clear all filters</button></p>
        <//>`;
    }
    return html`<${Empty} icon="key" title=${create ? "Make the first key" : "There are no keys"}>
        <p>A key tells the API who is calling. Give it a name, copy it once, and send it along with each request:</p>
        <${Code} text=${curlLine(session, "kg_live_…")} label="Copy the command" />
        <p>${create} <button type="button" class="quiet" onClick=${() => replaceQuery({ state: "revoked" })}>Show deleted keys</button></p>
        ${session.mayDecide && html`<details>
            <summary>From your own programs</summary>
            <p>All that this page does goes through the admin API:</p>
            <${Code} text=${createLine("Acme production")} label="Copy the command that makes a key" />
            <p>Give a customer a page of their own, with a link that works once:</p>
            <${Code} text=${portalLine("acme")} label="Copy the command that makes a link" />
        </details>`}
    <//>`;
}

const PAUSE_MS = 200;
