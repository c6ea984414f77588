// Lighthouse on the sign-in and on the page of keys: accessibility and best practices.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import lighthouse from "lighthouse";
import { chromium } from "playwright-core";

import { freePort, startGateway } from "./gateway.mjs";
import { signIn } from "./visitor.mjs";

const LEAST = 95;

let gateway, context, port, folder;
before(async () => {
    gateway = await startGateway();
    await gateway.call("POST", "/v1/keys", { name: "Looked at", owner: "acme" });
    port = await freePort();
    folder = mkdtempSync(join(tmpdir(), "keygate-lighthouse-"));
    const args = [`--remote-debugging-port=${port}`, ...(process.getuid() === 0 ? ["--no-sandbox"] : [])];
    context = await chromium.launchPersistentContext(folder, { executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
});
after(async () => {
    await context?.close();
    await gateway?.stop();
    rmSync(folder, { recursive: true, force: true });
});

for (const state of ["sign-in", "keys"]) {
    test(`lighthouse gives the page at least ${LEAST}: ${state}`, async (t) => {
        if (state === "keys") await signIn(await context.newPage(), gateway);
        const flags = { port, output: "json", logLevel: "error", disableStorageReset: true, onlyCategories: ["accessibility", "best-practices"] };
        const { lhr } = await lighthouse(`${gateway.admin}/`, flags, { extends: "lighthouse:default", settings: { formFactor: "desktop", screenEmulation: { disabled: true }, throttlingMethod: "provided" } });
        for (const category of Object.values(lhr.categories)) {
            const failed = category.auditRefs.map(({ id }) => lhr.audits[id]).filter(({ score }) => score !== null && score < 1).map(({ title }) => title);
            t.diagnostic(`${state}: ${category.title} ${category.score * 100}${failed.length ? ` (${failed.join("; ")})` : ""}`);
            assert.ok(category.score * 100 >= LEAST, `${category.title} ${category.score * 100}: ${failed.join("; ")}`);
        }
    });
}
