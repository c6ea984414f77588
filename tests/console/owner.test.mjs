// The way of an owner: by a link that works once, to their own keys and nothing else.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { startGateway } from "./gateway.mjs";
import { choose, create, curl, launch, offeredLine, open, paste, portalLink, row, settled, until, visitor } from "./visitor.mjs";

let gateway, browser;
before(async () => {
    gateway = await startGateway();
    browser = await launch();
});
after(async () => (await browser?.close(), await gateway?.stop()));

test("an owner comes by a link, and makes, uses, sees, rotates and deletes a key", async () => {
    const { page, leave } = await visitor(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(await portalLink(gateway, { return_url: "http://127.0.0.1:9/app", theme: "dark" }));
    await page.getByText("Acme Ltd").waitFor();
    await page.getByRole("heading", { name: "Make the first key" }).waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
    assert.equal(await page.getByRole("link", { name: "Back to the application" }).getAttribute("href"), "http://127.0.0.1:9/app");
    assert.equal(await page.getByRole("link", { name: "Audit" }).count(), 0);

    const secret = await create(page, "My laptop");
    await page.getByRole("button", { name: "Copy", exact: true }).click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
    assert.equal(await paste(await offeredLine(page, gateway)), 200);
    await page.getByRole("button", { name: "Done" }).click();
    await until("the use is listed", async () => {
        await page.reload();
        return (await row(page, "My laptop").locator("[data-label='Last used']").innerText()).includes("just now");
    });
    await chartShows(page, "usage");

    await row(page, "My laptop").getByRole("link").click();
    await page.getByRole("heading", { level: 1, name: "My laptop" }).waitFor();
    await page.getByText("Created", { exact: true }).first().waitFor();
    await page.getByRole("button", { name: "Rotate" }).click();
    await page.getByLabel("24 h", { exact: true }).check();
    await page.getByRole("dialog").getByRole("button", { name: "Rotate" }).click();
    const next = await page.getByLabel("Secret key").inputValue();
    assert.deepEqual([await curl(gateway, secret), await curl(gateway, next)], [200, 200], "both work for a day");
    await page.getByRole("button", { name: "Copy", exact: true }).click();
    await page.getByRole("button", { name: "Done" }).click();

    await page.getByRole("button", { name: "Delete" }).click();
    await page.getByRole("alertdialog").getByRole("textbox").fill("My laptop");
    await page.getByRole("button", { name: "Delete key" }).click();
    await page.getByRole("status").filter({ hasText: "was deleted" }).waitFor();
    assert.deepEqual([await curl(gateway, secret), await curl(gateway, next)], [401, 401], "refused at once");
    await leave();
});

test("a link, made as the example does, works once", async () => {
    const script = fileURLToPath(new URL("../../examples/portal/portal.sh", import.meta.url));
    const env = { ...process.env, KEYGATE_ADMIN: gateway.admin, KEYGATE_TOKEN_FILE: gateway.tokenFile };
    const link = (await promisify(execFile)(script, ["acme", "Acme Ltd"], { env })).stdout.trim();
    const first = await visitor(browser);
    await first.page.goto(link);
    await first.page.getByRole("heading", { level: 1, name: "API Keys" }).waitFor();
    const second = await visitor(browser);
    assert.equal((await second.page.goto(link)).status(), 410);
    await second.page.goto(gateway.admin);
    await second.page.getByRole("heading", { name: "Sign in to keygate" }).waitFor();
    await first.leave();
    await second.leave();
});

test("a link can be followed from a page of another site", async () => {
    const { page, leave } = await visitor(browser);
    const link = await portalLink(gateway);
    await page.route("http://app.example/", (route) => route.fulfill({ contentType: "text/html", body: `<a href="${link}">API keys</a>` }));
    await page.goto("http://app.example/");
    await page.getByRole("link").click();
    await page.getByRole("heading", { level: 1, name: "API Keys" }).waitFor();
    await page.getByText("Acme Ltd").waitFor();
    await leave();
});

test("another owner's key, and pages for operators, are not there", async () => {
    const { content } = await gateway.call("POST", "/v1/keys", { name: "Not yours", owner: "globex" });
    const { page, leave } = await visitor(browser);
    await page.goto(await portalLink(gateway));
    await page.getByText("Acme Ltd").waitFor();
    await open(page, `keys/${content.key.id}`);
    await page.getByRole("heading", { name: "There is no key with this id" }).waitFor();
    const asked = (path) => page.evaluate((path) => fetch(path).then((answer) => answer.status), path);
    assert.equal(await asked(`/v1/keys/${content.key.id}`), 404);
    assert.equal(await asked("/v1/audit"), 403);
    assert.equal((await page.evaluate(() => fetch("/v1/keys?owner=globex").then((answer) => answer.json()))).keys.length, 0);
    for (const place of ["audit", "status", "rules", "explain"]) {
        await open(page, place);
        await page.getByRole("heading", { level: 1, name: "API Keys" }).waitFor();
    }
    assert.equal(await page.getByText("Not yours").count(), 0);
    await leave();
});

async function chartShows(page, place) {
    await until("the chart shows requests", async () => {
        await open(page, place);
        await page.reload();
        await settled(page);
        return (await page.getByRole("img", { name: /Requests: [1-9]/ }).count()) > 0;
    }, 40_000);
    await open(page, "keys");
}
