// Sessions: how they end, what is kept of them, and that no other site can use them.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { listening, startGateway } from "./gateway.mjs";
import { create, launch, open, portalLink, signIn, until, visitor } from "./visitor.mjs";

let gateway, browser;
before(async () => {
    gateway = await startGateway();
    browser = await launch();
});
after(async () => (await browser?.close(), await gateway?.stop()));

test("a wrong token is refused in words, and the field keeps the focus", async () => {
    const { page, leave } = await visitor(browser);
    await page.goto(gateway.admin);
    await page.getByLabel("Admin token").fill("kga_wrong");
    await page.keyboard.press("Enter");
    await page.getByText("This token is not valid.").waitFor();
    assert.equal(await page.getByLabel("Admin token").getAttribute("aria-invalid"), "true");
    await leave();
});

test("nothing secret is kept in the browser but a cookie that no script can read", async () => {
    const { page, context, leave } = await visitor(browser);
    await signIn(page, gateway);
    const secret = await create(page, "Not kept");
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
    assert.ok(!kept.includes(gateway.token) && !kept.includes(secret), kept);
    assert.equal(await page.evaluate(async () => (await indexedDB.databases()).length + (await caches.keys()).length), 0);
    const [cookie, ...others] = await context.cookies();
    assert.deepEqual([cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path, others.length], ["__Host-keygate", true, true, "Strict", "/", 0]);
    assert.ok(!cookie.value.includes(gateway.token));
    await leave();
});

test("the page ends with its session, at once when the token is revoked, and goes on where it was", async () => {
    const made = await gateway.call("POST", "/v1/tokens", { name: "short", role: "operator" });
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway, made.content.secret ?? made.content.token);
    await open(page, "audit");
    assert.equal((await gateway.call("DELETE", `/v1/tokens/${made.content.id ?? made.content.token_id ?? made.content.token?.id}`)).status, 200);
    await page.getByRole("button", { name: "Refresh" }).click();
    await page.getByText("Your session has ended. Sign in again to go on where you were.").waitFor();
    await page.getByLabel("Admin token").fill(gateway.token);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { level: 1, name: "Audit" }).waitFor();
    await leave();
});

test("an owner whose session ends is told the way back", async () => {
    const { page, context, leave } = await visitor(browser);
    await page.goto(await portalLink(gateway, { return_url: "http://127.0.0.1:9/app" }));
    await page.getByText("Acme Ltd").waitFor();
    await context.clearCookies();
    await open(page, "keys/key_1");
    await page.getByRole("heading", { name: "Your session has ended" }).waitFor();
    assert.equal(await page.getByRole("link", { name: "Back to the application" }).getAttribute("href"), "http://127.0.0.1:9/app");
    await leave();
});

test("who signs out is out", async () => {
    const { page, context, leave } = await visitor(browser);
    await signIn(page, gateway);
    const [{ value }] = await context.cookies();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Sign in to keygate" }).waitFor();
    const answer = await fetch(`${gateway.admin}/v1/keys`, { headers: { Cookie: `__Host-keygate=${value}`, "Sec-Fetch-Site": "same-origin" } });
    assert.equal(answer.status, 401);
    await leave();
});

test("no page of another site, or of another port, can do anything with a session", async () => {
    const { page, context, leave } = await visitor(browser);
    await signIn(page, gateway);
    const count = async () => (await gateway.call("GET", "/v1/keys?limit=1000")).content.keys.length;
    const before = await count();
    const page_of_others = `<!doctype html><title>other</title><form method="post" enctype="text/plain" action="${gateway.admin}/v1/keys"><input name='{"name":"forged","x":"' value='"}'></form>`;
    const server = await listening(createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(page_of_others)));
    for (const host of ["127.0.0.1", "localhost"]) {
        const other = await context.newPage();
        await other.goto(`http://${host}:${server.address().port}/`);
        const outcome = await other.evaluate(async (url) => {
            const plain = { method: "POST", credentials: "include", body: '{"name":"forged"}' };
            const tries = [plain, { ...plain, mode: "no-cors" }, { ...plain, headers: { "Content-Type": "application/json" } }, { credentials: "include" }];
            const read = (request) => fetch(url, request).then((answer) => (answer.type === "opaque" ? "opaque" : answer.status), () => "refused");
            return Promise.all(tries.map(read));
        }, `${gateway.admin}/v1/keys`);
        assert.ok(outcome.every((one) => one === "refused" || one === "opaque"), String(outcome));
        await Promise.all([other.waitForURL(`${gateway.admin}/v1/keys`), other.evaluate(() => document.forms[0].submit())]);
        assert.match(await other.locator("body").innerText(), /40[13]|cross_site|forbidden|unauthenticated/i);
        await other.goto(`http://${host}:${server.address().port}/`);
        const framed = await other.evaluate((url) => new Promise((done) => {
            const frame = document.createElement("iframe");
            frame.onload = () => { try { done(frame.contentDocument === null ? "blocked" : "read"); } catch { done("blocked"); } };
            frame.src = url;
            document.body.append(frame);
        }), gateway.admin);
        assert.equal(framed, "blocked");
        await other.close();
    }
    assert.equal(await count(), before);
    server.closeAllConnections();
    server.close();
    await leave();
});

test("a cookie counts only for requests that the page itself makes", async () => {
    const { page, context, leave } = await visitor(browser);
    await signIn(page, gateway);
    const [{ value }] = await context.cookies();
    const ask = (fields) => fetch(`${gateway.admin}/v1/keys`, {
        method: "POST",
        headers: { Cookie: `__Host-keygate=${value}`, "Content-Type": "application/json", ...fields },
        body: '{"name":"forged"}',
    }).then((answer) => answer.status);
    for (const site of ["cross-site", "same-site", "none"]) assert.equal(await ask({ "Sec-Fetch-Site": site }), 403, site);
    assert.equal(await ask({ Origin: "http://127.0.0.1:1" }), 403);
    assert.equal(await ask({}), 403, "neither is said");
    await leave();
});

test("an unreachable gateway is told in words that say what to do", async () => {
    const { page, context, leave } = await visitor(browser);
    await signIn(page, gateway);
    await context.setOffline(true);
    await page.getByLabel("State").selectOption("disabled");
    await until("it is told", async () => (await page.getByText("Check that it is running and reachable").count()) > 0);
    await page.getByRole("link", { name: "Audit" }).click();
    await page.getByText("A part of this page did not arrive.").waitFor();
    await context.setOffline(false);
    await leave();
});
