// Pictures for the documents: `make console-screenshots` writes them to docs/images.

import { mkdirSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { startGateway } from "./gateway.mjs";
import { stubUsage } from "./usage-stub.mjs";
import { choose, create, curl, launch, open, settled, signIn, visitor } from "./visitor.mjs";

const FOLDER = resolve(dirname(fileURLToPath(import.meta.url)), "../../docs/images");
const NAMES = [
    ["Checkout service", "acme", "pro"],
    ["Acme production", "acme", "pro"],
    ["Acme staging", "acme", "free"],
    ["Nightly import", "globex", "free"],
    ["Mobile app (iOS)", "globex", "pro"],
    ["Partner webhooks", "contoso", "free"],
    ["CI pipeline", "initech", "free"],
];

const [gateway, browser] = await Promise.all([startGateway(), launch()]);
try {
    mkdirSync(FOLDER, { recursive: true });
    const keys = await populate();
    for (const theme of ["light", "dark"]) await take(theme, keys);
} finally {
    await browser.close();
    await gateway.stop();
}

async function populate() {
    const keys = [];
    for (const [name, owner, plan] of NAMES.toReversed()) {
        const { content } = await gateway.call("POST", "/v1/keys", { name, owner, plan, ...(name === "Nightly import" && { expires: "9d" }) });
        keys.unshift(content.key.id);
        if (name === "CI pipeline") await gateway.call("POST", `/v1/keys/${content.key.id}/disable`);
        else await curl(gateway, content.secret);
        if (name === "Partner webhooks") await gateway.call("POST", `/v1/keys/${content.key.id}/rotate`, { grace: "24h" });
    }
    return keys;
}

async function take(theme, keys) {
    const { page, leave } = await visitor(browser, { theme, width: 1280, height: 760, deviceScaleFactor: 1 });
    const shoot = (name) => page.screenshot({ path: `${FOLDER}/console-${name}-${theme}.png` });
    await stubUsage(page, keys.slice(0, -1));
    await signIn(page, gateway);
    await settled(page);
    await shoot("keys");
    await open(page, `keys/${keys[0]}`);
    await page.locator(".chart canvas").waitFor();
    await shoot("key");
    if (theme === "light") {
        await open(page, "keys");
        await choose(page, "Checkout service", "Delete");
        await shoot("delete");
        await page.keyboard.press("Escape");
        await create(page, "Reporting");
        await shoot("create");
    }
    await leave();
}
