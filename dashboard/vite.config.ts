import { defineConfig } from "vite";

// The page may load nothing but its own files, and no inline script or style: see internal/httpapi/dashboard.go.
export default defineConfig({
  build: {
    outDir: "dist/app",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": "http://127.0.0.1:8080" } },
});
