// Names are a stranger's text: on every page, in the file that is saved, and however long.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { startGateway } from "./gateway.mjs";
import { choose, create, launch, open, portalLink, row, signIn, visitor } from "./visitor.mjs";

const IMAGE = "<img src=x onerror=alert(1)>";
const LONG = "\u05DE\u05E4\u05EA\u05D7 \u0645\u0641\u062A\u0627\u062D ".repeat(30).slice(0, 254) + "\u05DE";
/** With characters that turn the direction of what follows. */
const TURNING = "safe\u202Egnp.exe";
const FORMULA = "=HYPERLINK(\"http://127.0.0.1/\",\"x\")";

let gateway, browser;
before(async () => {
    assert.equal([...LONG].length, 255);
    const file = `keys:\n  key_long: {name: ${JSON.stringify(LONG)}, owner: acme, digest: "sha256:${"0".repeat(63)}1"}\n`;
    gateway = await startGateway(file);
    browser = await launch();
    for (const name of [IMAGE, TURNING, FORMULA]) assert.equal((await gateway.call("POST", "/v1/keys", { name, owner: "acme" })).status, 201);
});
after(async () => (await browser?.close(), await gateway?.stop()));

test("a name with HTML in it is text, on every page and in every dialog", async () => {
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    await row(page, IMAGE).waitFor();
    for (const item of ["Edit", "Rotate", "Delete"]) {
        await choose(page, IMAGE, item);
        await page.keyboard.press("Escape");
        await page.locator("dialog").waitFor({ state: "detached" });
    }
    await choose(page, IMAGE, "Disable");
    await page.getByRole("status").filter({ hasText: IMAGE }).waitFor();
    await row(page, IMAGE).getByRole("link").click();
    await page.getByRole("heading", { level: 1, name: IMAGE }).waitFor();
    await open(page, "audit");
    await page.getByRole("link", { name: IMAGE }).first().waitFor();
    await open(page, "explain");
    await page.getByLabel(/^Key/).fill("<img");
    assert.equal(await page.locator("img").count(), 0);
    await leave();
});

test("255 right-to-left characters stay in their place, at every width", async () => {
    for (const width of [320, 768, 1280]) {
        const { page, leave } = await visitor(browser, { width });
        await signIn(page, gateway);
        const name = page.locator(".keys tbody bdi").filter({ hasText: LONG.slice(0, 20) }).first();
        await name.waitFor();
        const fits = () => page.evaluate(() => document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth);
        assert.ok(await fits(), `the list is as wide as the window of ${width}`);
        assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("h1")).direction), "ltr");
        const [inside, state] = [await name.boundingBox(), await row(page, LONG.slice(0, 20)).locator(".cell-state").boundingBox()];
        assert.ok(inside.x >= 0 && inside.x + inside.width <= width && inside.height < 40, JSON.stringify(inside));
        assert.ok(state.x + state.width <= width + 1 || width > 720, "what stands behind it is not pushed away");
        await choose(page, LONG.slice(0, 20), "Delete");
        const box = await page.getByRole("alertdialog").boundingBox();
        assert.ok(box.x >= 0 && box.x + box.width <= width);
        await page.keyboard.press("Escape");
        await open(page, "keys/key_long");
        await page.getByRole("heading", { level: 1, name: LONG }).waitFor();
        assert.ok(await fits(), `the key's page is as wide as the window of ${width}`);
        await leave();
    }
});

test("a name that is too long is refused in words, beside the field, and nothing that was typed is lost", async () => {
    const { page, leave } = await visitor(browser);
    await page.goto(await portalLink(gateway));
    await page.getByRole("button", { name: "New key" }).first().click();
    const field = page.getByLabel("Name", { exact: true });
    await field.fill(LONG + LONG);
    await page.keyboard.press("Enter");
    await page.getByText(/^A name has 1 to \d+ characters/).waitFor();
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    assert.equal(await field.inputValue(), LONG + LONG);
    await field.fill(LONG);
    await page.keyboard.press("Enter");
    await page.getByLabel("Secret key").waitFor();
    await leave();
});

test("a spreadsheet takes no name for a formula", async () => {
    const { page, leave } = await visitor(browser);
    const { content } = await gateway.call("GET", "/v1/keys?owner=acme");
    const of = (name) => content.keys.find((key) => key.name === name).id;
    await page.route("**/v1/usage?*", (route) => route.fulfill({ json: usageOf([of(FORMULA), of(IMAGE)]) }));
    await signIn(page, gateway);
    await open(page, "usage");
    const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "CSV" }).click()]);
    const lines = readFileSync(await saved.path(), "utf8").split("\r\n");
    assert.match(lines[0], /^"day","owner","key","name",/);
    assert.ok(lines[1].includes(`"'=HYPERLINK(""http://127.0.0.1/"",""x"")"`), lines[1]);
    assert.ok(lines[2].includes(`"${IMAGE}"`), lines[2]);
    await page.getByRole("status").filter({ hasText: "CSV" }).waitFor();
    await leave();
});

test("a name cannot turn the text around it", async () => {
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    const link = row(page, "safe").locator("bdi").first();
    assert.equal(await link.evaluate((element) => getComputedStyle(element).unicodeBidi), "isolate");
    const label = await row(page, "safe").getByRole("button", { name: /^Actions for/ }).getAttribute("aria-label");
    assert.equal(label, `Actions for \u2068${TURNING}\u2069`);
    await create(page, TURNING);
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByRole("button", { name: "Close without copying" }).click();
    await page.getByRole("status").filter({ hasText: `\u2068${TURNING}\u2069 was created.` }).waitFor();
    await leave();
});

function usageOf(keys) {
    const start = `${new Date().toISOString().slice(0, 10)}T00:00:00Z`;
    const counts = { requests: 2, units: 2, bytes_in: 0, bytes_out: 10, latency_seconds: 0.1, latency: {} };
    const rows = keys.map((key) => ({ start, key, owner: "acme", plan: null, route: "hello", class: "2xx", ...counts }));
    return { from: start, to: start, by: "day", rows, totals: counts, next: null };
}
