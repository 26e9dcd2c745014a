// Keeps the page live. A verdict that cannot be vouched for any more is taken back: a stale PASS is a false one.
"use strict";

const EVERY_MS = 2000;
const ANSWER_MS = 4000;
const root = document.documentElement;
const events = `${location.origin}/v1/migrations/${encodeURIComponent(root.dataset.migration)}/events`;

let stream = null;
let asking = false;
let askAgain = false;
let heard = { wall: performance.timeOrigin, steady: 0, holds: Number(root.dataset.remaining) * 1000 };

// The clock on the wall goes on while a machine sleeps, the steady one does not jump: the later of both counts.
function elapsed() {
  return Math.max(Date.now() - heard.wall, performance.now() - heard.steady);
}

function expired() {
  return !(elapsed() >= 0 && elapsed() < heard.holds);
}

function live() {
  return document.getElementById("live");
}

function show() {
  const shown = live().dataset;
  root.dataset.state = "live";
  document.title = shown.title;
  document.getElementById("favicon").href = shown.icon;
  document.getElementById("pulse").textContent = `live, as of ${shown.shown}`;
  announce(shown.verdict);
}

function takeBack() {
  if (root.dataset.state === "lost") return;
  const since = live().dataset.shown;
  root.dataset.state = "lost";
  document.title = `NOT KNOWN, not live since ${since} - ${root.dataset.migration}`;
  document.getElementById("favicon").href = root.dataset.lostIcon;
  document.getElementById("pulse").textContent = `not live since ${since}`;
  announce("not known: the page is not live");
}

function announce(verdict) {
  const announced = document.getElementById("announced");
  const words = `Verdict: ${verdict}`;
  if (announced.textContent !== words) announced.textContent = words;
}

// Changes in place what differs, so that focus, scroll, selection and a reader's place stay where they are.
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || from.id !== to.id) {
    from.replaceWith(to);
  } else if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data !== to.data) from.data = to.data;
  } else if (!from.isEqualNode(to)) {
    morphAttributes(from, to);
    const wanted = [...to.childNodes];
    const present = [...from.childNodes];
    wanted.forEach((node, index) => (present[index] ? morph(present[index], node) : from.append(node)));
    present.slice(wanted.length).forEach((node) => node.remove());
  }
}

function morphAttributes(from, to) {
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
}

async function ask() {
  if (asking) {
    askAgain = true;
    return;
  }
  asking = true;
  const asked = { wall: Date.now(), steady: performance.now() };
  try {
    const answer = await fetch(`${location.origin}/console/fragment`, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    if (answer.status === 401) location.reload();
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    const remaining = Number(answer.headers.get("X-Remaining-Seconds"));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
    heard = { ...asked, holds: remaining * 1000 };
    morph(live(), fresh);
    judge();
  } catch {
    takeBack();
  } finally {
    asking = false;
    if (askAgain) {
      askAgain = false;
      ask();
    }
  }
}

function judge() {
  if (expired() || stream === null || stream.readyState !== EventSource.OPEN) takeBack();
  else show();
}

function listen() {
  stream = new EventSource(events);
  stream.addEventListener("verdict", ask);
  stream.addEventListener("error", () => {
    stream.close();
    takeBack();
    setTimeout(listen, EVERY_MS);
  });
}

// A page that was frozen, cached or asleep may be seen before its timers run: nothing old may stand on it then.
document.addEventListener("freeze", takeBack);
window.addEventListener("pagehide", takeBack);
window.addEventListener("pageshow", ask);
document.addEventListener("visibilitychange", () => {
  if (expired()) takeBack();
  ask();
});

setInterval(() => {
  if (expired()) takeBack();
}, 250);
setInterval(ask, EVERY_MS);
root.dataset.state = expired() ? "lost" : "live";
announce(live().dataset.verdict);
listen();
