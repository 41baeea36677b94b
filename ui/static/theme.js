// Before the first paint: the theme a person chose, else the system's.
try {
  const chosen = localStorage.getItem("snorri-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage is off: the system's theme holds */ }
