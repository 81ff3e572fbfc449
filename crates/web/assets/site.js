// What pages do by themselves. Everything here makes something easier that works without it.
"use strict";

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.value ?? source.textContent);
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 2000);
  } catch {
    // Without permission, the text is at least selected for the person to copy.
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }
});

// Moments are sent in UTC and shown in the reader's own time.
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.getAttribute("datetime"));
    if (!Number.isNaN(moment.getTime())) {
      const style = "clock" in time.dataset ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
      time.textContent = moment.toLocaleString(undefined, style);
    }
  }
}
localTimes(document);
document.addEventListener("htmx:after:swap", () => localTimes(document));

// Pictures that are taken anew every few seconds, while somebody looks.
function refreshPictures() {
  if (document.hidden) return;
  for (const image of document.querySelectorAll("img[data-refresh]")) {
    const next = new Image();
    const separator = image.dataset.refresh.includes("?") ? "&" : "?";
    // A picture that does not come leaves the one before where it is.
    next.onload = () => { image.src = next.src; };
    next.src = `${image.dataset.refresh}${separator}at=${Date.now()}`;
  }
}
if (document.querySelector("img[data-refresh], [data-live]")) {
  setInterval(refreshPictures, 5000);
}

// A Live Link that has ended becomes another page.
document.querySelector("[data-ended]")?.addEventListener("ended", () => window.location.reload());
