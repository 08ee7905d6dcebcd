// Keeps a page current and adds shortcuts. Everything works without it.
"use strict";
(() => {
  const main = document.getElementById("main");
  const pause = document.getElementById("pause");
  let etag = null, failures = 0, paused = false, lastGood = Date.now();

  const span = (s) => s < 60 ? `${s} s` : s < 7200 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : s < 63115200 ? `${Math.floor(s / 86400)} d` : `${Math.floor(s / 31557600)} y`;
  const ages = () => {
    for (const element of document.querySelectorAll("[data-at]")) {
      const seconds = Math.round((Date.now() - Date.parse(element.dataset.at)) / 1000);
      element.textContent = seconds === 0 ? "now" : seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
    }
  };

  // While someone writes or has something open, the page stays as it is.
  const busy = () => paused || document.hidden || main.querySelector("details[open]") ||
    (document.activeElement && document.activeElement.closest("form"));

  const alarm = (text) => {
    let bar = document.getElementById("unreachable");
    if (!text) { if (bar) bar.remove(); return; }
    if (!bar) {
      bar = document.createElement("p");
      bar.id = "unreachable";
      bar.className = "alarm bad";
      bar.setAttribute("role", "alert");
      main.prepend(bar);
    }
    bar.textContent = text;
    // Nothing of what is shown is known any more. The page that follows is new.
    etag = null;
    main.className = "old";
    for (const said of main.querySelectorAll("#summary h1, #problems > .quiet")) said.textContent = text;
    if (!document.title.startsWith("(!) ")) document.title = `(!) ${document.title}`;
  };

  const show = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const next = fresh.getElementById("main");
    if (!next) return;
    const active = document.activeElement;
    const link = main.contains(active) && active.getAttribute("href");
    // Only what changed is replaced, so that focus, scroll and selection stay elsewhere.
    const ids = [...next.children].map((child) => child.id);
    for (const child of [...main.children]) {
      if (child.id !== "unreachable" && !ids.includes(child.id)) child.remove();
    }
    let before = null;
    for (const child of [...next.children]) {
      const old = child.id && document.getElementById(child.id);
      if (old && old.outerHTML.replace(/<span class="age".*?<\/span>/g, "") === child.outerHTML.replace(/<span class="age".*?<\/span>/g, "")) {
        before = old;
      } else if (child.id === "as-of") {
        old.querySelector("time").replaceWith(child.querySelector("time"));
        old.querySelector(".age").replaceWith(child.querySelector(".age"));
        before = old;
      } else if (old) {
        if (child.id === "live" && old.textContent === child.textContent) { before = old; continue; }
        if (child.id === "live") { old.textContent = child.textContent; before = old; continue; }
        old.replaceWith(child);
        before = child;
      } else {
        before ? before.after(child) : main.prepend(child);
        before = child;
      }
    }
    main.className = next.className;
    document.title = fresh.title;
    document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").href;
    if (link) {
      const same = [...main.querySelectorAll("a")].find((a) => a.getAttribute("href") === link);
      if (same) same.focus({ preventScroll: true });
    }
    ages();
  };

  const refresh = async () => {
    if (busy()) return;
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const response = await fetch(location.href, { headers, signal: AbortSignal.timeout(10000) });
      if (response.status === 503) {
        // The page that follows is new.
        etag = null;
        show(await response.text());
      } else if (response.status === 200) {
        etag = response.headers.get("ETag");
        show(await response.text());
      } else if (response.status !== 304) {
        throw new Error(response.status);
      }
      failures = 0;
      lastGood = Date.now();
      alarm(null);
    } catch {
      failures += 1;
      if (failures >= 2) alarm(`Tidegate has not responded for ${span(Math.round((Date.now() - lastGood) / 1000))}; this page is old.`);
    }
  };

  const active = () => document.querySelector("#now table, .state.active") ? 10000 : 30000;
  const loop = () => setTimeout(async () => { await refresh(); loop(); }, active());
  if (document.body.dataset.still === undefined) loop();
  setInterval(ages, 10000);
  ages();

  if (pause && document.body.dataset.still === undefined) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      pause.textContent = paused ? "Resume updates" : "Pause updates";
      if (!paused) refresh();
    });
  }

  // The browser's own zone.
  const zone = document.getElementById("zone");
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && own && ![...zone.options].some((option) => option.value === own)) zone.add(new Option(`yours: ${own}`, own));

  // `/` goes to the search; letters with Ctrl, Alt or Meta belong to the browser.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "/" && localStorage.getItem("shortcuts") !== "off") {
      event.preventDefault();
      document.getElementById("q").focus();
    }
  });
})();
