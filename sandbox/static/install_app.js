import { post } from "./api.js";

const frame = document.querySelector("#frame");
const state = document.querySelector("#state");

document.querySelector("#install").addEventListener("submit", (event) => {
  event.preventDefault();
  state.textContent = "The application's page is open; it has not said that it is done.";
  frame.src = `/install-app/open?user=${document.querySelector("#user").value}`;
});
window.addEventListener("message", async (event) => {
  if (event.source !== frame.contentWindow || event.data?.sandbox !== "installFinish") return;
  await post("/sandbox/installed");
  state.textContent = "It is installed.";
});
