// Every page and state, in both themes, wide and narrow, looked at by axe; and nothing is wider than the window.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import AxeBuilder from "@axe-core/playwright";

import { startGateway } from "./gateway.mjs";
import { PAGES, choose, create, launch, open, portalLink, row, settled, signIn, visitor } from "./visitor.mjs";
import { stubUsage } from "./usage-stub.mjs";

let gateway, browser, key;
before(async () => {
    gateway = await startGateway();
    browser = await launch();
    const made = await gateway.call("POST", "/v1/keys", { name: "Looked at", owner: "acme", plan: "pro", scopes: ["orders:read"], networks: ["127.0.0.0/8"], expires: "3d" });
    key = made.content.key.id;
    await gateway.call("POST", `/v1/keys/${key}/rotate`, { grace: "24h" });
    const off = await gateway.call("POST", "/v1/keys", { name: "Disabled", owner: "acme" });
    await gateway.call("POST", `/v1/keys/${off.content.key.id}/disable`);
    const gone = await gateway.call("POST", "/v1/keys", { name: "Gone", owner: "acme" });
    await gateway.call("DELETE", `/v1/keys/${gone.content.key.id}`);
});
after(async () => (await browser?.close(), await gateway?.stop()));

for (const theme of ["light", "dark"]) {
    for (const width of [1280, 360]) {
        test(`axe finds nothing: ${theme}, ${width} px`, async () => {
            const { page, leave } = await visitor(browser, { theme, width });
            const look = async (state) => {
                const { violations } = await new AxeBuilder({ page }).options({ resultTypes: ["violations"] }).analyze();
                const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).slice(0, 3).join("\n")}`);
                assert.deepEqual(found, [], state);
                const [wide, window] = await page.evaluate(() => [document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]);
                assert.ok(wide <= window, `${state} is ${wide} px wide in a window of ${window}`);
            };
            await signedOut(page, look);
            await signIn(page, gateway);
            await pages(page, look);
            await dialogs(page, look);
            await usage(page, look);
            await owners(page, look);
            await leave();
        });
    }
}

async function signedOut(page, look) {
    await page.goto(gateway.admin);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await look("sign-in");
    await page.getByText("Where is my token?").click();
    await page.getByLabel("Admin token").fill("kga_wrong");
    await page.keyboard.press("Enter");
    await page.getByText("This token is not valid.").waitFor();
    await look("sign-in, refused");
}

async function pages(page, look) {
    for (const place of [...PAGES, `keys/${key}`, "keys/key_nothing", "keys?q=zzzz", "keys?state=revoked"]) {
        await open(page, place);
        await look(place);
    }
    await open(page, "explain");
    await page.getByRole("button", { name: "Explain" }).click();
    await page.locator(".verdict").waitFor();
    await look("explained");
    await open(page, "audit");
    for (const summary of await page.locator("td summary").all()) await summary.click();
    await look("audit, opened");
}

async function dialogs(page, look) {
    await open(page, "keys");
    await page.getByRole("button", { name: "New key" }).click();
    await look("create");
    await page.getByText("Advanced").click();
    await page.getByLabel(/^Networks/).fill("nowhere");
    await page.getByLabel("Expires").selectOption("date");
    await look("create, advanced");
    await page.getByLabel("Expires").selectOption("never");
    await page.getByLabel("Name", { exact: true }).fill("Bad network");
    await page.keyboard.press("Enter");
    await page.getByText(/A network is like/).waitFor();
    await look("create, refused");
    await page.keyboard.press("Escape");
    await create(page, "Revealed");
    await look("reveal");
    await page.keyboard.press("Escape");
    await look("reveal, uncopied");
    await page.getByRole("button", { name: "Close without copying" }).click();
    await page.getByRole("status").filter({ hasText: "was created" }).waitFor();
    await look("created");
    await row(page, "Looked at").getByRole("button", { name: /^Actions for/ }).click();
    await look("menu");
    await page.keyboard.press("Escape");
    for (const item of ["Edit", "Rotate", "Delete"]) {
        await choose(page, "Looked at", item);
        await page.locator("dialog").waitFor();
        await look(item);
        await page.keyboard.press("Escape");
    }
    await choose(page, "Revealed", "Delete");
    await page.getByRole("button", { name: "Delete key" }).click();
    await page.getByRole("status").filter({ hasText: "was deleted" }).waitFor();
    const menu = page.getByRole("button", { name: "Menu", exact: true });
    if (await menu.isVisible()) {
        await menu.click();
        await look("side, open");
    }
}

async function usage(page, look) {
    await stubUsage(page, [key]);
    for (const place of ["keys", "usage", "usage?owner=acme", `keys/${key}`]) {
        await open(page, place);
        await page.reload();
        await settled(page);
        await look(`${place}, with usage`);
    }
    await page.unrouteAll();
}

async function owners(page, look) {
    for (const owner of ["acme", "newcomer"]) {
        await page.goto(await portalLink(gateway, { owner, return_url: "http://127.0.0.1:9/" }));
        await settled(page);
        await look(`owner ${owner}`);
    }
    await page.getByRole("button", { name: "Menu", exact: true }).click({ timeout: 500 }).catch(() => {});
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "You are signed out" }).waitFor();
    await look("owner, signed out");
}
