// Trades the one-time code behind the # for a cookie. The code leaves the address bar first, so that no history keeps it.
"use strict";

async function logIn() {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", "/login");
  const answer = await fetch("/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ code }),
  });
  if (answer.status === 204) {
    location.replace("/");
    return;
  }
  const problem = await answer.json().catch(() => ({}));
  say(`${problem.summary || "The login failed"}. ${problem.nextStep || "Run `fleetctl ui` again."}`);
}

function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.hidden = false;
}

addEventListener("hashchange", logIn);
logIn().catch(() => say("The manager does not answer. Run `fleetctl ui` again."));
