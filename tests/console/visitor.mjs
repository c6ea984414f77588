// Somebody in front of the page: a browser, a page that notices what must never happen, and the steps that many tests begin with.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { chromium } from "playwright-core";

export const PAGES = ["keys", "usage", "rules", "audit", "status", "explain"];

export function launch(options = {}) {
    // A sandbox needs rights that root in a container does not have.
    const args = process.getuid() === 0 ? ["--no-sandbox"] : [];
    return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", ...options, args: [...args, ...(options.args ?? [])] });
}

/**
 * A page of its own, with all that went wrong in it: scripts that threw, policies that were violated, dialogs that a stranger's text opened.
 */
export async function visitor(browser, { theme = "light", width = 1280, height = 800, ...more } = {}) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion: "reduce", locale: "en-GB", ...more });
    const faults = [];
    await context.exposeBinding("tellFault", (_, text) => void faults.push(text));
    await context.addInitScript(() => {
        addEventListener("securitypolicyviolation", (event) => globalThis.tellFault(`policy: ${event.violatedDirective} ${event.blockedURI}`), true);
    });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.on("pageerror", (error) => faults.push(`error: ${error.stack}`));
    page.on("console", (message) => isWrong(message) && faults.push(`console: ${message.text()}`));
    page.on("dialog", (dialog) => {
        if (dialog.type() !== "beforeunload") faults.push(`dialog: ${dialog.message()}`);
        return dialog.accept();
    });
    const check = () => assert.deepEqual(faults, []);
    return { context, page, check, leave: async () => (check(), context.close()) };
}

/** That a request was refused is told as an error by the browser, and many tests are about that. */
const isWrong = (message) => message.type() === "error" && !message.text().startsWith("Failed to load resource");

export async function signIn(page, gateway, token = gateway.token) {
    await page.goto(gateway.admin);
    await page.getByLabel("Admin token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { level: 1, name: "API Keys" }).waitFor();
}

export async function portalLink(gateway, more = {}) {
    const { status, content } = await gateway.call("POST", "/v1/portal-sessions", { owner: "acme", display_name: "Acme Ltd", ...more });
    assert.equal(status, 201, JSON.stringify(content));
    return content.url;
}

/** Goes to a place of the page that is open already. */
export async function open(page, place) {
    await page.evaluate((place) => (location.hash = place), `#/${place}`);
    await settled(page);
}

/** When nothing is being loaded any more. */
export async function settled(page) {
    await page.locator("h1").first().waitFor();
    await page.waitForLoadState("networkidle");
}

/** Makes a key through the dialog; its secret is shown when this returns. */
export async function create(page, name) {
    await page.getByRole("button", { name: "New key" }).first().click();
    await page.getByLabel("Name", { exact: true }).fill(name);
    await page.keyboard.press("Enter");
    return page.getByLabel("Secret key").inputValue();
}

export const row = (page, name) => page.getByRole("row").filter({ hasText: name });

export async function choose(page, name, item) {
    await row(page, name).getByRole("button", { name: /^Actions for/ }).click();
    await page.getByRole("menuitem", { name: item }).click();
}

/** Pastes a line into a shell, as people do; the status of the answer. */
export async function paste(line) {
    const { stdout } = await promisify(execFile)("sh", ["-c", line], { timeout: 20_000 });
    return Number(/^HTTP\/[\d.]+ (\d+)/.exec(stdout)?.[1]);
}

export const curl = (gateway, secret) => paste(`curl -isS ${gateway.url} -H 'Authorization: Bearer ${secret}'`);

/** The line that the page offers; where the gateway does not know its own address, the reader puts it in. */
export async function offeredLine(page, gateway) {
    const line = await page.getByRole("dialog").locator(".code pre").innerText();
    return line.replace("https://api.example.com/", gateway.url);
}

/** Presses Tab until the focus is there. */
export async function tabTo(page, locator, key = "Tab") {
    for (let presses = 0; presses < 120; presses += 1) {
        if (await locator.evaluateAll((found) => found.includes(document.activeElement))) return;
        await page.keyboard.press(key);
    }
    assert.fail(`${locator} is not reached by ${key}`);
}

/** Asks again until it is so. */
export async function until(what, isSo, ms = 15_000) {
    const end = Date.now() + ms;
    while (!(await isSo())) {
        assert.ok(Date.now() < end, `not in time: ${what}`);
        await new Promise((later) => setTimeout(later, 50));
    }
}
