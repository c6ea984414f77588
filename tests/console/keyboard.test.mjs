// Without a mouse: every step by keys alone, and the focus is always somewhere sensible.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startGateway } from "./gateway.mjs";
import { curl, launch, row, signIn, tabTo, visitor } from "./visitor.mjs";

let gateway, browser;
before(async () => {
    gateway = await startGateway();
    browser = await launch();
});
after(async () => (await browser?.close(), await gateway?.stop()));

test("keys are made, copied, found, rotated and deleted by keyboard alone", async () => {
    const { page, leave } = await visitor(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
    const hasFocus = async (locator, said) => assert.ok(await locator.evaluate((found) => found === document.activeElement), said);

    await page.goto(gateway.admin);
    await page.getByRole("heading", { name: "Sign in to keygate" }).waitFor();
    await hasFocus(page.getByLabel("Admin token"), "the token's field");
    await page.keyboard.type(gateway.token);
    await press("Enter");
    await page.getByRole("heading", { name: "Make the first key" }).waitFor();

    const make = page.getByRole("button", { name: "New key" }).first();
    await tabTo(page, make);
    await press("Enter");
    await hasFocus(page.getByLabel("Name", { exact: true }), "the name's field");
    await page.keyboard.type("By hand");
    await press("Enter");
    const secret = await page.getByLabel("Secret key").inputValue();
    await press("Escape");
    await page.getByText("The key has not been copied.").waitFor();
    await tabTo(page, page.getByRole("button", { name: "Copy", exact: true }));
    await press("Enter");
    await page.getByRole("button", { name: "Copied" }).waitFor();
    assert.equal(await page.getByText("The key has not been copied.").count(), 0);
    await press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await hasFocus(make, "the button that opened the dialog");
    assert.equal(await curl(gateway, secret), 200);

    const menu = row(page, "By hand").getByRole("button", { name: /^Actions for/ });
    await tabTo(page, menu);
    await press("Enter");
    await hasFocus(page.getByRole("menuitem", { name: "Edit" }), "the first entry");
    await press("Escape");
    await hasFocus(menu, "the menu's button");
    await press("ArrowDown", "ArrowDown");
    await hasFocus(page.getByRole("menuitem", { name: "Rotate" }), "the second entry");
    await press("Enter");
    await hasFocus(page.getByLabel("24 h"), "the usual grace");
    await press("ArrowLeft", "ArrowLeft", "ArrowLeft");
    assert.ok(await page.getByLabel("Now").isChecked());
    await press("Enter");
    const next = await page.getByLabel("Secret key").inputValue();
    await press("Enter");
    await page.getByRole("button", { name: "Copied" }).waitFor();
    await tabTo(page, page.getByRole("button", { name: "Done" }));
    await press("Enter");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await hasFocus(menu, "the menu's button");
    assert.deepEqual([await curl(gateway, secret), await curl(gateway, next)], [401, 200]);

    await page.reload();
    await tabTo(page, menu);
    await press("ArrowUp", "Enter");
    await hasFocus(page.getByRole("button", { name: "Cancel" }), "Cancel");
    await tabTo(page, page.getByRole("alertdialog").getByRole("textbox"), "Shift+Tab");
    await page.keyboard.type("By hand");
    await press("Enter");
    await page.getByRole("status").filter({ hasText: "was deleted" }).waitFor();
    assert.equal(await curl(gateway, next), 401);
    await hasFocus(page.getByRole("heading", { level: 1 }), "what opened the dialog is gone: the heading");

    await tabTo(page, page.getByRole("link", { name: "Status" }));
    await press("Enter");
    await hasFocus(page.getByRole("heading", { level: 1, name: "Status" }), "the new page's heading");
    await tabTo(page, page.getByRole("button", { name: "Sign out" }));
    await press("Enter");
    await page.getByRole("heading", { name: "Sign in to keygate" }).waitFor();
    await leave();
});

test("what has the focus is seen to have it", async () => {
    const { page, leave } = await visitor(browser);
    await signIn(page, gateway);
    await page.keyboard.press("Tab");
    const link = page.getByRole("link", { name: "Skip to content" });
    assert.ok((await link.boundingBox()).y >= 0, "the way past the side shows itself");
    for (let step = 0; step < 14; step += 1) {
        const shown = await page.evaluate(() => {
            const { activeElement: element } = document;
            const drawn = (it) => it && getComputedStyle(it).outlineStyle !== "none" && parseFloat(getComputedStyle(it).outlineWidth) >= 2;
            return element === document.body || drawn(element) || drawn(element.nextElementSibling) || element.outerHTML.slice(0, 120);
        });
        assert.equal(shown, true);
        await page.keyboard.press("Tab");
    }
    await leave();
});
