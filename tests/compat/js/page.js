// What a page of another origin does with the server: its body is told as JSON in the page's title.
const { server, key, size } = JSON.parse(document.getElementById("wish").textContent);

async function call(method, url, body, headers = {}) {
  const reply = await fetch(url, { method, body, headers, mode: "cors" });
  if (!reply.ok) throw new Error(`${method} ${url}: ${reply.status} ${await reply.text()}`);
  return reply;
}
const json = { "content-type": "application/json" };
const authorised = { ...json, authorization: `Key ${key}` };
const wish = (name, type) => JSON.stringify({ file_name: name, content_type: type });

function bytes(length) {
  const data = new Uint8Array(length);
  for (let at = 0; at < length; at += 1) data[at] = (at * 7 + (at >> 12)) & 255;
  return data;
}

async function same(url, data, headers) {
  const got = new Uint8Array(await (await call("GET", url, undefined, headers)).arrayBuffer());
  return got.length === data.length && got.every((byte, at) => byte === data[at]);
}

async function single() {
  const initiate = `${server}/storage/upload/initiate?storage_type=fal-cdn-v3`;
  const lifecycle = { "x-fal-object-lifecycle": '{"expiration_duration_seconds":3600}' };
  const { file_url, upload_url } = await (
    await call("POST", initiate, wish("clip é.mp4", "video/mp4"), { ...authorised, ...lifecycle })
  ).json();
  const data = bytes(50_000);
  await call("PUT", upload_url, new Blob([data], { type: "video/mp4" }));
  const part = await call("GET", file_url, undefined, { range: "bytes=10-19" });
  return { url: file_url, same: await same(file_url, data), range: part.status, seen: part.headers.get("content-range") };
}

async function multipart() {
  const initiate = `${server}/storage/upload/initiate-multipart?storage_type=fal-cdn-v3`;
  const { file_url, upload_url } = await (await call("POST", initiate, wish("big.bin", "a/b"), authorised)).json();
  const data = bytes(size);
  const { origin, pathname, search } = new URL(upload_url);
  const parts = [];
  for (let number = 1; (number - 1) * 1_000_000 < size; number += 1) {
    const piece = data.slice((number - 1) * 1_000_000, number * 1_000_000);
    const reply = await call("PUT", `${origin}${pathname}/${number}${search}`, new Blob([piece]));
    const told = await reply.json();
    if (reply.headers.get("etag") !== `"${told.etag}"`) throw new Error("the ETag header is not exposed");
    parts.push({ partNumber: told.partNumber, etag: told.etag });
  }
  const listed = await (await call("GET", upload_url)).json();
  await call("POST", `${origin}${pathname}/complete${search}`, JSON.stringify({ parts: parts.reverse() }), json);
  return { url: file_url, same: await same(file_url, data), listed: listed.parts.length };
}

async function refused() {
  const reply = await fetch(`${server}/storage/upload/initiate`, { method: "POST", body: wish("a", "a/b"), headers: json });
  return { status: reply.status, code: (await reply.json()).code, id: Boolean(reply.headers.get("x-request-id")) };
}

Promise.all([single(), multipart(), refused()])
  .then(([one, many, none]) => ({ one, many, none }))
  .catch((error) => ({ error: String(error) }))
  .then((told) => {
    document.getElementById("told").textContent = JSON.stringify(told);
    document.title = "done";
  });
