// Keeps the page for use without a connection. What lies in the folder APP never changes under its name, so it is
// taken from the cache first; the page itself is asked for again whenever there is a connection.

const APP = '__APP__';
const CORE = __CORE__;

const scope = new URL('./', self.location).href;

// With these the page may share memory between threads, and no worker may talk to strangers, also where the server
// does not send them.
const HEADERS = {
  'Content-Security-Policy': "__POLICY__",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

self.addEventListener('install', (event) => {
  const keep = async () => (await caches.open(APP)).addAll([scope, ...CORE.map((name) => `${scope}${APP}/${name}`)]);
  event.waitUntil(keep());
});

self.addEventListener('activate', (event) => {
  const tidy = async () => {
    const stale = (await caches.keys()).filter((name) => name.startsWith('app-') && name !== APP);
    await Promise.all(stale.map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET') return;
  if (request.url.split(/[?#]/)[0] === scope) event.respondWith(page(request));
  else if (request.url.startsWith(`${scope}${APP}/`)) event.respondWith(part(request));
});

async function page(request) {
  try {
    return isolated(await fetch(request));
  } catch {
    return isolated((await caches.match(scope)) ?? Response.error());
  }
}

async function part(request) {
  const kept = await caches.match(request);
  if (kept) return isolated(kept);
  const response = await fetch(request);
  if (response.ok) await (await caches.open(APP)).put(request, response.clone());
  return isolated(response);
}

function isolated(response) {
  if (!response.ok || response.redirected) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) if (!headers.has(name)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
