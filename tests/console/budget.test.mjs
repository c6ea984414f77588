// What the first page weighs, how soon it can be used, and how it goes with ten thousand keys. The figures are printed.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startGateway } from "./gateway.mjs";
import { launch, signIn, until, visitor } from "./visitor.mjs";

const MOST_BYTES = 150_000;
const ROUNDS = 5;
const KEYS = 10_000;

let gateway, browser;
before(async () => {
    gateway = await startGateway();
    browser = await launch();
});
after(async () => (await browser?.close(), await gateway?.stop()));

test(`the first page is under ${MOST_BYTES / 1000} kB in all, uncompressed`, async (t) => {
    const { page, leave } = await visitor(browser);
    await gateway.call("POST", "/v1/keys", { name: "One" });
    await signIn(page, gateway);
    const times = [];
    for (let round = 0; round < ROUNDS; round += 1) {
        const weights = [];
        const weigh = async (answer) => weights.push((await answer.body().catch(() => "")).length);
        page.on("response", weigh);
        const devtools = await page.context().newCDPSession(page);
        await devtools.send("Network.setCacheDisabled", { cacheDisabled: true });
        await page.goto(`${gateway.admin}/?round=${round}`, { waitUntil: "commit" });
        await page.getByRole("row").filter({ hasText: "One" }).waitFor();
        await page.waitForLoadState("networkidle");
        page.off("response", weigh);
        times.push(await page.evaluate(() => performance.getEntriesByName("keygate-usable")[0].startTime));
        const bytes = weights.reduce((sum, weight) => sum + weight, 0);
        if (round === 0) t.diagnostic(`the first page: ${bytes} bytes in ${weights.length} files and answers`);
        assert.ok(bytes > 20_000 && bytes < MOST_BYTES, `${bytes} bytes`);
        await devtools.detach();
    }
    t.diagnostic(`usable after ${times.map((ms) => ms.toFixed(0)).join(", ")} ms`);
    await leave();
});

test("ten thousand keys are listed, searched and paged, a page at a time", async (t) => {
    for (let from = 0; from < KEYS; from += 1000) {
        const keys = Array.from({ length: 1000 }, (_, index) => ({ name: `Customer ${from + index}`, owner: `owner${index % 40}`, plan: index % 3 ? "free" : "pro" }));
        const { status, content } = await gateway.call("POST", "/v1/keys:batch", { keys });
        assert.equal(status, 200, JSON.stringify(content).slice(0, 300));
    }
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    await page.getByRole("row").nth(20).waitFor();
    assert.ok((await page.getByRole("row").count()) < 150, "only one page of them is in the document");
    const took = async (what, act) => {
        const before = Date.now();
        await act();
        t.diagnostic(`${what}: ${Date.now() - before} ms`);
    };
    await took("search for one of them", async () => {
        await page.getByLabel("Search by name or id").fill("Customer 9876");
        await until("it alone is listed", async () => (await page.locator(".keys tbody tr").count()) === 1);
    });
    await page.getByLabel("Search by name or id").fill("");
    await page.getByText("Page 1").waitFor();
    const first = await page.locator(".keys tbody tr").first().innerText();
    await took("the next page", async () => {
        await page.getByRole("button", { name: "Next" }).click();
        await page.getByText("Page 2").waitFor();
        await until("it shows others", async () => (await page.locator(".keys tbody tr").first().innerText()) !== first);
    });
    await took("the page before", async () => {
        await page.getByRole("button", { name: "Previous" }).click();
        await until("it shows the first again", async () => (await page.locator(".keys tbody tr").first().innerText()) === first);
    });
    await took("one owner's keys on one plan", async () => {
        await page.getByLabel("Owner").fill("owner7");
        await page.getByLabel("Plan").selectOption("pro");
        await until("they are listed", async () => (await page.locator(".keys tbody .cell-owner").allInnerTexts()).every((text) => text.endsWith("owner7")));
    });
    await leave();
});

test("every module of the first page is asked for at once, not one after the other", async () => {
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    await page.reload();
    await page.getByRole("row").nth(1).waitFor();
    const late = await page.evaluate(() => {
        const early = new Set([...document.querySelectorAll("link[rel=modulepreload], script[src]")].map((element) => element.href || element.src));
        const scripts = performance.getEntriesByType("resource").filter(({ name }) => new URL(name).pathname.endsWith(".js"));
        return scripts.map(({ name }) => name).filter((name) => !early.has(name));
    });
    assert.deepEqual(late, []);
    await leave();
});
