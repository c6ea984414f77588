// Where the operator has secrets kept: they can be shown again, and each time is noted.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startGateway } from "./gateway.mjs";
import { create, curl, launch, open, portalLink, row, signIn, visitor } from "./visitor.mjs";

let gateway, browser;
before(async () => {
    gateway = await startGateway("", { keepsSecrets: true });
    browser = await launch();
});
after(async () => (await browser?.close(), await gateway?.stop()));

test("a secret that is kept is shown again to its owner, and the audit log tells", async () => {
    const { page, leave } = await visitor(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(await portalLink(gateway));
    const secret = await create(page, "Kept");
    await page.getByText("It can be shown again on the key’s page.").waitFor();
    assert.equal(await page.getByText("This is the only time it is shown.").count(), 0);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await row(page, "Kept").getByRole("link").click();
    await page.getByRole("button", { name: "Reveal" }).click();
    assert.equal(await page.getByLabel("Secret key").inputValue(), secret);
    assert.equal(await curl(gateway, secret), 200);
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    await leave();

    const operator = await visitor(browser);
    await signIn(operator.page, gateway);
    await open(operator.page, "audit");
    await operator.page.getByRole("row").filter({ hasText: "Secret revealed" }).filter({ hasText: "portal:acme" }).waitFor();
    await operator.leave();
});
