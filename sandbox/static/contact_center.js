import { post } from "./api.js";

const slider = document.querySelector("#slider");
const frame = document.querySelector("#frame");
const line = document.querySelector("#line");
const user = document.querySelector("#user");
let connector = "";
let lines = {};

for (const tile of document.querySelectorAll("[data-connector]")) {
  tile.addEventListener("click", () => {
    connector = tile.dataset.connector;
    lines = JSON.parse(tile.dataset.lines);
    document.querySelector("#slider-title").textContent =
      tile.querySelector(".tile-name").textContent;
    const connected = Object.keys(lines)[0];
    if (connected) line.value = connected;
    slider.showModal();
    if (lines[line.value]) open("0");
  });
}

function open(active) {
  const query = new URLSearchParams({ connector, line: line.value, user: user.value, active });
  frame.src = `/contact-center/open?${query}`;
}

document.querySelector("#connect").addEventListener("submit", (event) => {
  event.preventDefault();
  open("1");
});
document.querySelector("#settings-button").addEventListener("click", () => open("0"));
document.querySelector("#disconnect-button").addEventListener("click", async () => {
  await post("/sandbox/disconnect", { connector, line: Number(line.value) }).catch(() => null);
  location.reload();
});
document.querySelector("#slider-close").addEventListener("click", () => slider.close());
slider.addEventListener("close", () => location.reload());
window.addEventListener("message", async (event) => {
  if (event.source !== frame.contentWindow) return;
  if (event.data?.sandbox === "installFinish") {
    await post("/sandbox/installed");
    location.reload();
  }
  if (event.data?.sandbox === "close") slider.close();
});
