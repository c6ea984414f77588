// The way of an operator: all owners, all pages.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startGateway } from "./gateway.mjs";
import { choose, create, curl, launch, offeredLine, open, paste, row, settled, signIn, until, visitor } from "./visitor.mjs";

let gateway, browser;
before(async () => {
    gateway = await startGateway();
    browser = await launch();
});
after(async () => (await browser?.close(), await gateway?.stop()));

test("an operator makes a key, uses it, sees that, rotates it, and deletes it", async () => {
    const { page, context, leave } = await visitor(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    await signIn(page, gateway);

    const secret = await create(page, "Checkout");
    await page.getByText("This is the only time it is shown.").waitFor();
    const copy = page.getByRole("button", { name: "Copy", exact: true });
    assert.ok(await copy.evaluate((button) => button === document.activeElement), "the button that copies has the focus");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Copied" }).waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
    assert.equal(await paste(await offeredLine(page, gateway)), 200);
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByRole("dialog").waitFor({ state: "detached" });

    await until("the use is listed", async () => {
        await page.reload();
        return (await row(page, "Checkout").locator("[data-label='Last used']").innerText()).includes("just now");
    });
    assert.match(await row(page, "Checkout").innerText(), new RegExp(secret.slice(0, 12)));

    await choose(page, "Checkout", "Rotate");
    await page.getByLabel("Now", { exact: true }).check();
    await page.getByRole("button", { name: "Rotate" }).click();
    const next = await page.getByLabel("Secret key").inputValue();
    assert.notEqual(next, secret);
    assert.equal(await curl(gateway, secret), 401, "the old secret is refused at once");
    assert.equal(await curl(gateway, next), 200);
    await page.getByRole("button", { name: "Copy", exact: true }).click();
    await page.getByRole("button", { name: "Done" }).click();

    await page.reload();
    await choose(page, "Checkout", "Delete");
    const alert = page.getByRole("alertdialog");
    assert.ok(await alert.getByRole("button", { name: "Cancel" }).evaluate((button) => button === document.activeElement), "Cancel has the focus");
    assert.match(await alert.innerText(), /just now/);
    const remove = alert.getByRole("button", { name: "Delete key" });
    assert.ok(await remove.isDisabled(), "a key in use is not deleted by one click");
    await alert.getByRole("textbox").fill("Checkout");
    await remove.click();
    await page.getByRole("status").filter({ hasText: "was deleted" }).waitFor();
    assert.equal(await curl(gateway, next), 401, "refused at once");
    await row(page, "Checkout").waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Show deleted keys" }).click();
    await row(page, "Checkout").waitFor();
    assert.deepEqual(await stored(context), []);
    await leave();
});

test("a key's use is in the chart of its page and of all usage", async () => {
    const { content } = await gateway.call("POST", "/v1/keys", { name: "Charted", owner: "charts" });
    for (let times = 0; times < 3; times += 1) assert.equal(await curl(gateway, content.secret), 200);
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    for (const place of [`keys/${content.key.id}`, "usage?owner=charts"]) {
        await until(`the chart of ${place}`, async () => {
            await open(page, place);
            await page.reload();
            await settled(page);
            return (await page.getByRole("img", { name: /: \d+ requests?$/ }).getAttribute("aria-label", { timeout: 3000 }).catch(() => ""))?.match(/: ([3-9]|\d\d+) requests$/);
        }, 40_000);
        assert.ok(await page.locator(".chart canvas").isVisible());
    }
    await open(page, "keys?owner=charts");
    await row(page, "Charted").getByRole("img", { name: "3 requests in 30 days" }).waitFor();
    await leave();
});

test("filters narrow the list and stand in the address", async () => {
    const made = [["North gate", "acme", "pro"], ["South gate", "acme", "free"], ["West door", "globex", "pro"]];
    for (const [name, owner, plan] of made) assert.equal((await gateway.call("POST", "/v1/keys", { name, owner, plan })).status, 201);
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    const names = async () => (await page.locator(".keys tbody th").allInnerTexts()).filter((name) => made.some(([known]) => known === name)).sort();
    const becomes = (expected) => until(`the list is ${expected}`, async () => JSON.stringify(await names()) === JSON.stringify(expected));
    await page.getByLabel("Search by name or id").fill("gate");
    await becomes(["North gate", "South gate"]);
    await page.getByLabel("Plan").selectOption("pro");
    await becomes(["North gate"]);
    await page.reload();
    await becomes(["North gate"]);
    await page.getByLabel("Search by name or id").fill("");
    await becomes(["North gate", "West door"]);
    await page.getByLabel("Owner").fill("globex");
    await becomes(["West door"]);
    await page.getByLabel("Unused for 30 days").check();
    await page.getByRole("heading", { name: "No key matches" }).waitFor();
    await page.getByRole("button", { name: "Clear all filters" }).click();
    await becomes(["North gate", "South gate", "West door"]);
    await leave();
});

test("a key is disabled, enabled and edited", async () => {
    const { content } = await gateway.call("POST", "/v1/keys", { name: "Switch", owner: "acme" });
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    await choose(page, "Switch", "Disable");
    await row(page, "Switch").getByText("Disabled").waitFor();
    assert.equal(await curl(gateway, content.secret), 401);
    await choose(page, "Switch", "Enable");
    await row(page, "Switch").getByText("Active").waitFor();
    assert.equal(await curl(gateway, content.secret), 200);
    await choose(page, "Switch", "Edit");
    await page.getByLabel("Name", { exact: true }).fill("Turnout");
    await page.getByLabel(/^Networks/).fill("nowhere");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText(/A network is like/).waitFor();
    await page.getByLabel(/^Networks/).fill("127.0.0.0/8");
    await page.getByLabel("Plan").last().selectOption("pro");
    await page.getByRole("button", { name: "Save" }).click();
    await row(page, "Turnout").getByText("pro").waitFor();
    const { content: changed } = await gateway.call("GET", `/v1/keys/${content.key.id}`);
    assert.deepEqual([changed.key.name, changed.key.plan, changed.key.networks, changed.key.owner], ["Turnout", "pro", ["127.0.0.0/8"], "acme"]);
    await leave();
});

test("delete offers the step that can be undone", async () => {
    const { content } = await gateway.call("POST", "/v1/keys", { name: "Spare" });
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    await choose(page, "Spare", "Delete");
    await page.getByText("It has never been used.").waitFor();
    assert.ok(await page.getByRole("button", { name: "Delete key" }).isEnabled(), "unused: no name has to be typed");
    await page.getByRole("button", { name: "Disable instead" }).click();
    await row(page, "Spare").getByText("Disabled").waitFor();
    assert.equal((await gateway.call("GET", `/v1/keys/${content.key.id}`)).content.key.state, "disabled");
    await leave();
});

test("the pages of the gateway show its rules, its log, its state, and what would happen", async () => {
    const { content } = await gateway.call("POST", "/v1/keys", { name: "Explained", plan: "pro" });
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    await page.getByRole("link", { name: "Routes and plans" }).click();
    await page.getByRole("cell", { name: "/v1/orders", exact: true }).waitFor();
    await page.getByText("200 requests per second").waitFor();
    await page.getByRole("link", { name: "Audit" }).click();
    await page.getByRole("row").filter({ hasText: "Explained" }).filter({ hasText: "Created" }).waitFor();
    await page.getByRole("link", { name: "Status" }).click();
    await page.getByText("Works", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Check file" }).click();
    await page.getByRole("status").filter({ hasText: "The file has no problems." }).waitFor();
    await page.getByRole("link", { name: "Explain" }).click();
    await page.getByLabel("Path").fill("/v1/orders/7");
    await page.getByLabel(/^Key/).fill(content.key.id);
    await page.getByRole("button", { name: "Explain" }).click();
    await page.getByText("insufficient scope").or(page.getByText("scope missing")).or(page.locator(".verdict", { hasText: "403" })).first().waitFor();
    await page.getByLabel("Path").fill("/v1/hello");
    await page.getByRole("button", { name: "Explain" }).click();
    await page.getByText("It would pass").waitFor();
    await leave();
});

test("a viewer looks and changes nothing", async () => {
    const made = await gateway.call("POST", "/v1/tokens", { name: "looking", role: "viewer" });
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway, made.content.secret ?? made.content.token);
    await page.getByRole("table").waitFor();
    assert.equal(await page.getByRole("button", { name: "New key" }).count(), 0);
    assert.equal(await page.getByRole("button", { name: /^Actions for/ }).count(), 0);
    await leave();
});

/** What the page has stored in the browser. */
const stored = async (context) => (await context.storageState()).origins.flatMap((origin) => origin.localStorage);
