// Before anything is drawn: the choice of last time, else the system's.
const chosen = localStorage.getItem("xdream-theme");
if (chosen) document.documentElement.dataset.theme = chosen;
