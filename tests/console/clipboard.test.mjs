// Copying: "Copied" is said when it is true, and a key is not lost where the clipboard is out of reach.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startGateway } from "./gateway.mjs";
import { create, launch, signIn, visitor } from "./visitor.mjs";

let gateway, browser;
before(async () => {
    gateway = await startGateway();
    browser = await launch();
});
after(async () => (await browser?.close(), await gateway?.stop()));

test("where the clipboard is denied the key is selected, and nothing says that it was copied", async () => {
    const { page, context, leave } = await visitor(browser);
    await context.addInitScript(() => {
        navigator.clipboard.writeText = () => Promise.reject(new DOMException("denied", "NotAllowedError"));
        document.execCommand = () => false;
    });
    await signIn(page, gateway);
    const secret = await create(page, "Denied");
    await page.getByRole("button", { name: "Copy", exact: true }).click();
    await page.getByText("The browser did not let this page copy.").waitFor();
    assert.equal(await page.getByRole("button", { name: "Copied" }).count(), 0);
    assert.equal(await page.evaluate(() => getSelection().toString() || document.activeElement.value), secret);
    await page.keyboard.press("Escape");
    await page.getByText("The key has not been copied.").waitFor();
    await page.getByRole("button", { name: "Stay here" }).click();
    await page.getByLabel("Secret key").focus();
    await page.evaluate(() => document.activeElement.dispatchEvent(new ClipboardEvent("copy", { bubbles: true })));
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await leave();
});

test("where the browser's own permission is denied the old way still copies", async () => {
    const { page, context, leave } = await visitor(browser);
    await signIn(page, gateway);
    const devtools = await context.newCDPSession(page);
    await devtools.send("Browser.setPermission", { permission: { name: "clipboard-write" }, setting: "denied", origin: gateway.admin });
    const secret = await create(page, "Old way");
    await page.getByRole("button", { name: "Copy", exact: true }).click();
    const outcome = page.getByRole("button", { name: /^(Copied|Press)/ });
    await outcome.waitFor();
    if ((await outcome.innerText()) === "Copied") {
        await page.getByRole("button", { name: "Done" }).click();
        await page.getByLabel("Search by name or id").focus();
        await page.keyboard.press("Control+V");
        assert.equal(await page.getByLabel("Search by name or id").inputValue(), secret);
    }
    await leave();
});

test("a browser without a clipboard gets the same help", async () => {
    const { page, context, leave } = await visitor(browser);
    await context.addInitScript(() => {
        Object.defineProperty(navigator, "clipboard", { value: undefined });
        document.execCommand = () => { throw new Error("gone"); };
    });
    await signIn(page, gateway);
    await create(page, "No clipboard");
    await page.getByRole("button", { name: "Copy", exact: true }).click();
    await page.getByText("The browser did not let this page copy.").waitFor();
    await leave();
});

test("who leaves the page with a key uncopied is asked first", async () => {
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    await create(page, "Leaving");
    const [dialog] = await Promise.all([page.waitForEvent("dialog"), page.reload()]);
    assert.equal(dialog.type(), "beforeunload");
    await leave();
});
