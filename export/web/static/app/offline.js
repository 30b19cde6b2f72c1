// Use without a connection, by the service worker in sw.js.

/**
 * Let the page be kept with `files`, what this device runs of those that not every device does; say in the element
 * `where` when it is.
 */
export async function keep(where, files) {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return; // Pages that are neither local nor https have none.
  try {
    await serviceWorker.register(new URL('../sw.js', import.meta.url));
    await serviceWorker.ready;
    if (!serviceWorker.controller) {
      await new Promise((resolve) => serviceWorker.addEventListener('controllerchange', resolve, { once: true }));
    }
    // They were loaded before anyone was there to keep them; asked for again, they pass through its hands.
    await Promise.all(files.map((file) => fetch(new URL(file, import.meta.url))));
    where.textContent = 'Works offline.';
  } catch (error) {
    console.warn('The page cannot be kept for use offline.', error);
  }
}
