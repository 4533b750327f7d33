// On a phone the contents open and close; in the sidebar a page's sections do.
"use strict";
const button = document.getElementById("content-open-button");
button?.addEventListener("click", () => {
  const open = document.getElementById("content-drawer").classList.toggle("content-drawer-container--open");
  button.setAttribute("aria-expanded", String(open));
});
for (const arrow of document.querySelectorAll("span.toctree-expand")) {
  arrow.addEventListener("click", (event) => {
    event.preventDefault();
    arrow.closest("li").classList.toggle("current");
  });
}
