// Uploads with the stock client: reads {origin, key, files: [{path, name, type, lifecycle}]} and prints the URLs.
import { openAsBlob, readFileSync } from "node:fs";
import { createFalClient } from "@fal-ai/client";

const { origin, key, files, input } = JSON.parse(readFileSync(0, "utf8"));
const asked = [];
const client = createFalClient({
  credentials: key,
  // The hosts are constants of the client; what it dispatches passes here (docs/protocol.md 1.4).
  requestMiddleware: async (request) => ({ ...request, url: request.url.replace("https://rest.fal.ai", origin) }),
  fetch: (url, init) => {
    asked.push([init.method, new URL(url).pathname.replace(/^\/files\/b\/.*?(\/multipart\/.*)?$/, "/files/b/$1")]);
    return fetch(url, init);
  },
});

const urls = [];
for (const { path, name, type, lifecycle } of files) {
  const blob = path ? await openAsBlob(path, { type }) : new Blob([new Uint8Array(0)], { type });
  urls.push(await client.storage.upload(name ? new File([blob], name, { type }) : blob, { lifecycle }));
}
const walked = input
  ? await client.storage.transformInput({ list: [new File(["walked"], "w.txt", { type: "text/plain" })], n: 1 })
  : null;
console.log(JSON.stringify({ urls, asked, walked }));
