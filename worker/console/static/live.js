// Keeps the regions marked with data-live up to date: fetches the same page now and then and puts them in place.
// Without this script every page works and is as it was when it was loaded.
"use strict";
(() => {
  const seconds = Number(document.body.dataset.liveSeconds);
  if (!seconds) return;
  const main = document.querySelector("main");
  const line = document.createElement("p");
  line.className = "live";
  const button = document.createElement("button");
  button.type = "button";
  const updated = document.createElement("span");
  const announcer = document.createElement("p");
  announcer.className = "hidden";
  announcer.setAttribute("role", "status");
  line.append(button, updated);
  main.querySelector("h1").after(line, announcer);

  let paused = false;
  const label = () => { button.textContent = paused ? "Continue updates" : "Pause updates"; };
  button.addEventListener("click", () => { paused = !paused; label(); });
  label();

  // What somebody reads with the keyboard, or has opened or marked, stays as it is.
  const inUse = (region) => region.contains(document.activeElement)
    || region.querySelector("details[open]") !== null
    || (!document.getSelection().isCollapsed && document.getSelection().containsNode(region, true));

  // A region with forms says in data-version what it offers, as their tokens differ each time.
  const same = (region, other) => other.dataset.version === undefined
    ? region.innerHTML === other.innerHTML : region.dataset.version === other.dataset.version;

  const replace = (fresh) => {
    for (const region of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(region.id);
      if (other === null || same(region, other) || inUse(region)) continue;
      const told = other.dataset.announce;
      if (told && told !== region.dataset.announce) announcer.textContent = told;
      region.replaceWith(document.adoptNode(other));
    }
  };

  const look = async () => {
    if (paused || document.hidden) return;
    let answer;
    try {
      answer = await fetch(window.location.href, {
        headers: { "X-Looks-By-Itself": "1", Accept: "text/html" }, redirect: "manual",
      });
    } catch {
      updated.textContent = "The console does not answer.";
      return;
    }
    if (answer.status === 401 || answer.type === "opaqueredirect") {
      window.location.reload();
      return;
    }
    if (!answer.ok) {
      updated.textContent = "The console could not be asked.";
      return;
    }
    replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
    updated.textContent = `Updated ${new Date().toLocaleTimeString()}`;
  };

  const again = async () => {
    await look();
    window.setTimeout(again, seconds * 1000);
  };
  window.setTimeout(again, seconds * 1000);
})();
