// Files handed to other programs, where the browser has a sheet for that.

/** Let `button` share `file`, and show it; hide it without a sheet that takes such a file. Returns whether there is one. */
export function offer(button, file, complain) {
  const data = { files: [file] };
  const able = Boolean(navigator.share && navigator.canShare?.(data));
  button.hidden = !able;
  button.onclick = async () => {
    try {
      await navigator.share(data);
    } catch (error) {
      // Whoever closes the sheet has made up their mind.
      if (error.name !== 'AbortError') complain('This file could not be shared. Download it.');
    }
  };
  return able;
}
