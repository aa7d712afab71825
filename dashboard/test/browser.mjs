// Uses the dashboard as a person does, in headless Chromium against a running server: cmd/keypulse's TestDashboard starts both.
//
//   KEYPULSE_URL=… KEYPULSE_API_KEY=… node browser.mjs    the key needs all scopes and no limit
//
// It asks for a restart of the server by a line "restart" on its output, and goes on when a line comes back.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const base = process.env.KEYPULSE_URL;
const key = process.env.KEYPULSE_API_KEY;
const patience = 60_000; // a loaded machine is slow, not wrong
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// What a sandbox without a GPU, another user or an outside network needs.
const flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage";
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: flags.split(" ") });
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light" });
context.setDefaultTimeout(patience);
const page = await context.newPage();
const wrong = []; // what the browser complains of: scripts' errors, and what the page's policy forbids
page.on("pageerror", (e) => wrong.push(String(e)));
page.on("console", (m) => m.type() === "error" && !m.text().startsWith("Failed to load resource") && wrong.push(m.text()));

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const waitFor = (selector, options) => page.locator(selector).first().waitFor(options);
const open = async (hash, ready) => {
  await page.goto(`${base}/${hash}`);
  await waitFor(ready);
};

async function post(path, body) {
  const r = await fetch(base + path, { method: "POST", headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await r.json();
  assert.equal(r.status, 201, JSON.stringify(answer));
  return answer;
}
const send = (key_id, more = {}) => post("/api/events", { key_id, event_type: "signing_request", severity: "nominal", ...more });

async function step(name, f) {
  const begin = performance.now();
  const note = await f();
  console.log(`ok ${name}: ${Math.round(performance.now() - begin)} ms${note ? `; ${note}` : ""}`);
}

// accessible has axe look at the page in both themes, and wants no sideways scrolling on a telephone.
async function accessible(name) {
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.waitForFunction((theme) => document.documentElement.dataset.theme === theme, colorScheme);
    const found = await page.evaluate(`${axe}; axe.run({ resultTypes: ["violations"] })`);
    const grave = found.violations.filter((v) => ["serious", "critical"].includes(v.impact));
    assert.deepEqual(grave.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(" ")}`), [], `${name}, ${colorScheme}`);
  }
  await page.setViewportSize({ width: 360, height: 740 });
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${name} is ${over} pixels too wide for a telephone`);
  await page.setViewportSize({ width: 1280, height: 800 });
}

try {
  await step("signs in", async () => {
    await open("", "#api_key");
    await accessible("signing in");
    await page.fill("#api_key", "kp_live_nonsense");
    await page.keyboard.press("Enter");
    await waitFor("#why");
    await page.fill("#api_key", key);
    await page.keyboard.press("Enter");
    await waitFor(".connection.live");
    const kept = await page.evaluate(() => JSON.stringify([location.href, document.cookie, { ...localStorage }, { ...sessionStorage }]));
    assert.ok(!kept.includes("kp_live_"), `the page can read the key: ${kept}`);
    const [cookie] = await context.cookies();
    assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/"]);
  });

  const text = '<img src=x onerror="document.title=1">';
  await step("sees an event", async () => {
    await waitFor(".empty");
    const begin = performance.now();
    await send("first-key", { actor: text, details: { asset: "BTC", html: text } });
    await waitFor(".tail .id:text-is('first-key')");
    const seen = Math.round(performance.now() - begin);
    await page.locator(".tail button").first().click();
    await waitFor(".drawer .json:has-text('onerror')");
    await waitFor(".drawer dd:has-text('= 0 for the severity')");
    assert.equal(await page.locator(".drawer img").count(), 0);
    await accessible("an event");
    await page.keyboard.press("Escape");
    await waitFor(".drawer", { state: "detached" });
    await accessible("live");
    return `there ${seen} ms after it was sent`;
  });

  await step("pauses and filters", async () => {
    await page.getByRole("button", { name: "Pause" }).click();
    for (let i = 0; i < 3; i++) await send("paused-key");
    await page.getByRole("button", { name: "Resume · 3 waiting" }).click();
    await page.waitForFunction(() => document.querySelectorAll(".tail tbody tr").length === 4);
    await page.fill("[name=key_id]", "another-key");
    await page.keyboard.press("Enter");
    await page.waitForURL(/key_id=another-key/);
    await waitFor(".empty:has-text('No event has passed')");
    await waitFor(".connection.live");
    await send("first-key");
    await send("another-key");
    await waitFor(".tail .id:text-is('another-key')");
    assert.equal(await page.locator(".tail .id:text-is('first-key')").count(), 0);
  });

  await step("makes a rule", async () => {
    await open("#/rules", ".empty");
    await page.getByRole("link", { name: "New rule" }).click();
    await page.getByLabel("Id", { exact: true }).fill("exports");
    await page.getByLabel("Name").fill("Two exports");
    await page.locator("#when").pressSequentially("event_typo == 1");
    await waitFor(".errors:has-text('line 1, column 1')");
    await waitFor(".behind-text mark:text-is('event_typo')");
    await accessible("a rule with an error");
    await page.fill("#when", "");
    await page.locator("#when").pressSequentially("event_ty");
    await waitFor(".words [aria-selected=true]:has-text('event_type')");
    await page.keyboard.press("Enter");
    await page.locator("#when").pressSequentially(' == "exp');
    await page.keyboard.press("Tab");
    await page.locator("#when").pressSequentially(" && coun");
    await page.keyboard.press("Enter");
    await page.locator("#when").pressSequentially('event_type == "exp');
    await page.keyboard.press("Tab");
    await page.locator("#when").press("End");
    await page.locator("#when").pressSequentially(" > 1");
    assert.equal(await page.inputValue("#when"), 'event_type == "export" && count("10m", event_type == "export") > 1');
    await page.getByLabel("Severity of its alerts").selectOption("critical");
    await waitFor("p:has-text('At worst')");
    await page.getByRole("button", { name: "Run the trial" }).click();
    await waitFor(".outcomes li:has-text('raises an alert')");
    await page.getByRole("button", { name: "Create" }).click();
    await page.waitForURL(/#\/rules\/exports$/);
    await waitFor("button:has-text('Save')");
    await accessible("a rule");
    await open("#/rules", "td:has-text('Two exports')");
    await accessible("rules");
  });

  await step("sees its alert, and acknowledges it", async () => {
    for (const end = Date.now() + patience; ; ) {
      const { alerts_triggered } = await send("exported-key", { event_type: "export", severity: "warning" });
      if (alerts_triggered > 0) break; // a rule judges what is accepted 2 s after it
      assert.ok(Date.now() < end, "the rule raises no alert");
      await new Promise((r) => setTimeout(r, 200));
    }
    await open("#/alerts", "td:has-text('Two exports')");
    await accessible("alerts");
    await page.getByRole("link", { name: "Two exports" }).click();
    await waitFor(".drawer .values code:has-text('count(')");
    await page.getByLabel("Comment").fill("known");
    await page.getByRole("button", { name: "Acknowledge" }).click();
    await waitFor(".drawer .quote:text-is('known')");
    await waitFor(".drawer .state.acked");
    await accessible("an alert");
    await page.getByRole("button", { name: "Close" }).click();
    await waitFor(".empty:has-text('Nothing is open')");
    await page.getByRole("link", { name: "acked" }).click();
    await waitFor("td:has-text('Two exports')");
  });

  await step("looks at keys and the overview", async () => {
    await open("#/keys", "td .spark");
    await accessible("keys");
    await page.fill("[type=search]", "exported");
    await page.waitForFunction(() => document.querySelectorAll(".rows tbody tr").length === 1);
    await page.getByRole("link", { name: "exported-key" }).click();
    await waitFor(".chart canvas");
    await waitFor(".top:has-text('export')");
    await waitFor("td:has-text('Two exports')");
    await accessible("a key");
    await open("#/overview", ".behind");
    await waitFor(".chart canvas");
    await accessible("overview");
    return page.locator(".behind").innerText();
  });

  await step("makes, rotates and revokes an API key", async () => {
    await open("#/api-keys", "td:has-text('this session')");
    await accessible("API keys");
    await page.getByLabel("Name").fill("signer");
    await page.getByRole("button", { name: "Make it" }).click();
    const first = await page.locator(".secret code").innerText();
    assert.match(first, /^kp_live_\w{40}$/);
    await accessible("a new API key");
    await page.getByRole("button", { name: "Rotate signer" }).click();
    await page.getByRole("button", { name: "Rotate", exact: true }).click();
    await page.waitForFunction((before) => document.querySelector(".secret code")?.textContent !== before, first);
    await page.getByRole("button", { name: "Revoke signer" }).click();
    await page.getByRole("button", { name: "Revoke for good" }).click();
    await waitFor("tr.over:has-text('signer')");
    await page.reload();
    await waitFor("tr.over");
    assert.equal(await page.locator(".secret").count(), 0, "a key is shown twice");
  });

  await step("connects again after a restart", async () => {
    await open("#/live", ".connection.live");
    await send("before");
    await waitFor(".tail .id:text-is('before')");
    console.log("restart");
    await waitFor(".connection.waiting, .connection.connecting");
    await input.next();
    const begin = performance.now();
    await waitFor(".connection.live");
    const took = Math.round(performance.now() - begin);
    await send("after");
    await waitFor(".tail .id:text-is('after')");
    assert.equal(await page.locator(".tail .id:text-is('before')").count(), 1);
    assert.equal(await page.locator(".tail .gap").count(), 0);
    return `live ${took} ms after the server was`;
  });

  await step("goes by keyboard, and out", async () => {
    await page.locator("h1").focus(); // where a page's reader begins; the navigation stands before it
    for (let i = 0; ; i++) {
      await page.keyboard.press("Shift+Tab");
      if ((await page.evaluate(() => document.activeElement.textContent)) === "Keys") break;
      assert.ok(i < 20, "Shift and Tab do not come to the page of keys");
    }
    await page.keyboard.press("Enter");
    await waitFor("h1:text-is('Keys')");
    await page.getByRole("button", { name: "Sign out" }).click();
    await waitFor("#api_key");
    assert.deepEqual(await context.cookies(), []);
  });

  assert.deepEqual(wrong, [], "what the browser complained of");
} catch (e) {
  console.log(`the page was ${page.url()}:\n${await page.locator("body").innerText().catch(String)}\n${wrong.join("\n")}`);
  throw e;
} finally {
  await browser.close();
  process.stdin.destroy(); // or the process would wait for more lines
}
