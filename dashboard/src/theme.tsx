import { useState } from "preact/hooks";

// The theme is the system's until somebody chooses another; only that choice is kept in the browser.
type Theme = "system" | "light" | "dark";
const themes: Theme[] = ["system", "light", "dark"];
const place = "keypulse.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

function chosen(): Theme {
  try {
    const theme = localStorage.getItem(place) as Theme;
    return themes.includes(theme) ? theme : "system";
  } catch {
    return "system"; // the browser keeps nothing
  }
}

export function applyTheme() {
  const theme = chosen();
  const isDark = theme === "dark" || (theme === "system" && dark.matches);
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  for (const f of listeners) f();
}
dark.addEventListener("change", applyTheme);

// onTheme calls f whenever colours change, for what is drawn and not styled.
export function onTheme(f: () => void): () => void {
  listeners.add(f);
  return () => void listeners.delete(f);
}

export const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function ThemeSwitch() {
  const [theme, setTheme] = useState(chosen);
  const choose = (next: Theme) => {
    try {
      localStorage.setItem(place, next);
    } catch {
      // Then it holds until the page is loaded again.
    }
    setTheme(next);
    applyTheme();
  };
  return (
    <select class="quiet" aria-label="Theme" value={theme} onChange={(e) => choose(e.currentTarget.value as Theme)}>
      <option value="system">System</option>
      <option value="light">Light</option>
      <option value="dark">Dark</option>
    </select>
  );
}
