// SPDX-License-Identifier: Apache-2.0
// Keys choose an answer, Enter sends it; the time counts from when all pictures are there.
"use strict";
const form = document.getElementById("answer");
let since = performance.now();
window.addEventListener("load", () => { since = performance.now(); });
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const input = form.querySelector(`input[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (input) {
    input.checked = true;
    input.focus();
    event.preventDefault();
  } else if (event.key === "Enter") {
    form.requestSubmit();
    event.preventDefault();
  }
});
form.addEventListener("submit", () => {
  form.elements.seconds.value = ((performance.now() - since) / 1000).toFixed(2);
});
