import { defineConfig } from "vite";

/** The server that `npm run dev` passes API calls on to. */
const SERVER_URL = process.env["FLAMEWIRE_SERVER_URL"] ?? "http://localhost:4040";

export default defineConfig({
  // Relative addresses: the page works under any path prefix of a reverse proxy.
  base: "./",
  build: {
    outDir: "../src/flamewire_server/_ui",
    emptyOutDir: true,
    // What has light-dark() and @property; older browsers would need both twice.
    target: ["chrome123", "firefox128", "safari17.5"],
    // The page's policy is `default-src 'self'`: no data: addresses, no inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/querier.v1.QuerierService": SERVER_URL } },
});
