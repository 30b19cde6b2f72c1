// Use without a connection, by the service worker in sw.js.

/** Let the page be kept, once, and say in the element `where` when it is. */
export async function register(where) {
  if (where.textContent || !navigator.serviceWorker) return; // Pages that are neither local nor https have none.
  try {
    await navigator.serviceWorker.register(new URL('../sw.js', import.meta.url));
    await navigator.serviceWorker.ready;
    where.textContent = 'Works offline.';
  } catch (error) {
    console.warn('The page cannot be kept for use offline.', error);
  }
}
